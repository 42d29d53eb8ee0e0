import { createHash } from "node:crypto";
import { z } from "agent-runtime";

/**
 * Who is behind what an observation says. `trusted`: a person, or work in the workspace. `untrusted`: text that came from
 * outside (a page, a server of tools, a download), or from a session that had read such text. It is shown in a fence and never
 * put into a system prompt.
 */
export const TRUST = ["trusted", "untrusted"] as const;

/** Where an observation comes from; `memory forget --source` looks here. */
export const sourceSchema = z.strictObject({
  /** `call`: a tool call; `session`: how a prompt ended; `save`: somebody said so; `import`: a file. */
  kind: z.enum(["call", "session", "save", "import"]),
  /** Of a call: the tool. */
  tool: z.string().optional(),
  /** What the call was about, or the file: paths, a URL, a command. */
  from: z.string().optional(),
});

/** The six fields of a session's summary; at least one of them says something. */
export const summarySchema = z.strictObject({
  request: z.string(),
  investigated: z.string(),
  learned: z.string(),
  completed: z.string(),
  nextSteps: z.string(),
  notes: z.string(),
});

/** An observation that this one has taken in: it said nearly the same. */
export const mergedSchema = z.strictObject({
  id: z.string(),
  title: z.string(),
  sessionId: z.string(),
  callId: z.string().optional(),
  createdAt: z.number(),
});

/** What the memory keeps of one thing that happened or is so. A session's summary is one of the type "summary". */
export const observationSchema = z.strictObject({
  /** See `observationId`. */
  id: z.string(),
  /** Of the mode: "bugfix", "decision", …; one that the mode does not know is kept as it is. */
  type: z.string(),
  title: z.string(),
  /** One sentence. */
  subtitle: z.string(),
  /** Each stands for itself. */
  facts: z.array(z.string()),
  narrative: z.string(),
  /** Of the mode: "gotcha", "how-it-works", … */
  concepts: z.array(z.string()),
  /** Paths relative to the workspace where they lie in it. */
  filesRead: z.array(z.string()),
  /** Only what a tool has proved to have written. */
  filesModified: z.array(z.string()),
  /** Symbols of code that it speaks of: functions, classes, flags. */
  symbols: z.array(z.string()),
  summary: summarySchema.optional(),
  sessionId: z.string(),
  callId: z.string().optional(),
  /** Which prompt of its session, from 1; 0 is none. */
  prompt: z.number(),
  /** Agent profile. */
  agent: z.string().optional(),
  /** ms since 1970: when it happened, not when it was stored. */
  createdAt: z.number(),
  source: sourceSchema,
  trust: z.enum(TRUST),
  /** Who wrote it: `provider/model`, "heuristic", "person", "agent" (the model, by a tool) or "import". */
  by: z.string(),
  /** 0 to 1; 0.5 where nobody says. */
  importance: z.number(),
  /** Later work has made it out of date; it is kept, and found only behind what has taken its place. */
  supersededBy: z.string().optional(),
  /** Says the contrary of these. */
  conflictsWith: z.array(z.string()).optional(),
  merged: z.array(mergedSchema).optional(),
  /** What a reply, or a file that was imported, said beyond this. */
  extra: z.record(z.string(), z.unknown()).optional(),
});

export type Observation = z.output<typeof observationSchema>;
export type Summary = z.output<typeof summarySchema>;

/** What an observation says, before the memory gives it an id, its time and its place. */
export type Content = Pick<Observation, "type" | "title" | "subtitle" | "facts" | "narrative" | "concepts" | "filesRead" | "filesModified" | "symbols"> &
  Pick<Observation, "summary" | "extra">;

export const EMPTY_CONTENT: Content = {
  type: "discovery",
  title: "",
  subtitle: "",
  facts: [],
  narrative: "",
  concepts: [],
  filesRead: [],
  filesModified: [],
  symbols: [],
};

/** The same words of the same session are one observation, whenever they are said: `obs_` and 16 hex digits of SHA-256. */
export function observationId({ sessionId, title, narrative }: Pick<Observation, "sessionId" | "title" | "narrative">): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([sessionId, title, narrative]))
    .digest("hex");
  return `obs_${hash.slice(0, 16)}`;
}
