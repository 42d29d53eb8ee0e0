import { z } from "agent-runtime";
import { TRUST } from "./observation.ts";

/** Everything that the extraction of one thing needs, fixed when it happened: cleaned, without private text and secrets. */
export const workItemSchema = z.strictObject({
  /** Of a call "sessionId/callId", of the end of a prompt "sessionId/#n": the same thing is remembered once. */
  id: z.string(),
  kind: z.enum(["call", "end"]),
  sessionId: z.string(),
  callId: z.string().optional(),
  /** Which prompt of its session, from 1. */
  prompt: z.number(),
  /** The text of that prompt. */
  request: z.string(),
  agent: z.string().optional(),
  cwd: z.string(),
  /** ms since 1970 */
  at: z.number(),
  trust: z.enum(TRUST),
  /** Of a call. */
  call: z
    .strictObject({
      tool: z.string(),
      effect: z.string(),
      /** What it was judged by: paths, a command, a URL. */
      patterns: z.array(z.string()),
      /** JSON, capped. */
      input: z.string(),
      /** Capped. */
      output: z.string(),
      status: z.enum(["completed", "error"]),
      /** Exit code of a command, where there is one. */
      exitCode: z.number().optional(),
      filesRead: z.array(z.string()),
      filesModified: z.array(z.string()),
    })
    .optional(),
  /** Of an end: the answer, and how the run ended. */
  answer: z.string().optional(),
  status: z.enum(["success", "error", "limit", "interrupted"]).optional(),
  /** Where it stands. `leased`: a worker has it. `dead`: given up, with the reason; `memory retry` revives it. */
  state: z.enum(["pending", "leased", "dead"]),
  /** Unusable replies; failures of providers do not count. */
  attempts: z.number(),
  reason: z.string().optional(),
});

export type WorkItem = z.output<typeof workItemSchema>;
