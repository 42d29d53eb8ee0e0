import { z } from "zod";

/*
 * The lines of `--output-format json`, for docs/events.schema.json and the tests; the command itself never loads this.
 * A new type or field raises nothing; a field that changes its meaning or goes away raises the version.
 */
export const EVENTS_VERSION = 1;

const text = z.string();
const time = z.object({ start: z.number(), end: z.number() });
const tokens = z.object({ input: z.number(), output: z.number(), reasoning: z.number(), cache: z.object({ read: z.number(), write: z.number() }) });
const cacheHitRate = z
  .number()
  .min(0)
  .max(1)
  .nullable()
  .describe("Share of the prompt's tokens that came from the provider's cache; null where no tokens are known.");
const costSource = z.enum(["provider", "catalogue", "unknown"]);
const anyMap = z.record(text, z.unknown());
const shortError = z.object({ code: text, message: text });
const fullError = z.object({ name: text, code: text, message: text, hint: text, data: anyMap });

const partOf = <T extends string, S extends z.ZodRawShape>(type: T, fields: S) =>
  z.object({ id: text, messageID: text, sessionID: text, type: z.literal(type), ...fields });

const event = <T extends string, S extends z.ZodRawShape>(type: T, description: string, fields: S) =>
  z
    .object({
      type: z.literal(type),
      timestamp: z.number().describe("ms since 1970"),
      sessionID: text.describe('"" where there is no session yet'),
      parentSessionID: text.optional().describe("Set on the events of a child session: the session that started it."),
      ...fields,
    })
    .describe(description);

const completed = z.object({ status: z.literal("completed"), input: z.unknown(), output: text, title: text, metadata: anyMap, time });
const failed = z.object({ status: z.literal("error"), input: z.unknown(), error: text, metadata: anyMap.optional(), time });
const started = z.object({ status: z.literal("running"), input: z.unknown() });
const going = z.object({ status: z.literal("running"), title: text.optional(), output: text.optional(), metadata: anyMap.optional() });
const call = { callID: text, tool: text };
const model = z.object({ providerID: text, requestedModelID: text, respondedModelID: text.nullable() });
const delta = { messageID: text, partID: text, delta: text };

/** What the protocol of frames says; it belongs to no session. */
const control = <T extends string, S extends z.ZodRawShape>(type: T, description: string, fields: S) =>
  z.object({ type: z.literal(type), ...fields }).describe(description);

export const eventSchema = z.discriminatedUnion("type", [
  event("model_resolved", "Once a prompt, before its first request.", {
    requested: text.nullable(),
    selector: text,
    providerID: text,
    modelID: text,
    source: z.enum(["cli", "input", "env", "config", "default"]),
    matchesRequest: z.boolean(),
  }),
  event("step_start", "A request to the model begins.", { part: partOf("step-start", {}) }),
  event("text", "A block of the answer, complete.", { part: partOf("text", { text, time }) }),
  event("reasoning", "A block of reasoning, complete.", { part: partOf("reasoning", { text, time }) }),
  event("tool_use", "Once a call, when it is completed or has failed.", {
    part: partOf("tool", { ...call, state: z.discriminatedUnion("status", [completed, failed]) }),
  }),
  event(
    "step_finish",
    "The step is over. `input` excludes cached tokens; `cost` is in USD, null where it is not known. `cached`: answered from the response cache, at no cost.",
    {
      part: partOf("step-finish", { reason: text, cost: z.number().nullable(), costSource, cached: z.literal(true).optional(), tokens, cacheHitRate, model }),
    },
  ),
  event("retry", "The request failed and is made again after a pause.", { attempt: z.number(), delayMs: z.number(), error: shortError, model: text }),
  event("text_void", "What was shown of this message does not count.", { messageID: text, reason: text }),
  event("fallback", "The next model of the chain takes over.", { from: text, to: text, error: shortError }),
  event("permission_request", "Somebody is asked: for a permission or, where there is a question, for words.", {
    id: text,
    callID: text,
    tool: text,
    patterns: z.array(text),
    title: text,
    always: z.array(text).optional(),
    question: text.optional(),
    options: z.array(text).optional(),
  }),
  event(
    "compaction",
    "The conversation was shortened: messages, and estimated tokens, before and after. `model`: who was asked for a summary, and what it used.",
    {
      reason: z.enum(["overflow", "nearly-full"]),
      before: z.number(),
      after: z.number(),
      tokensBefore: z.number(),
      tokensAfter: z.number(),
      model: text.optional(),
      tokens: tokens.optional(),
      cost: z.number().nullable().optional(),
    },
  ),
  event("cache_broken", "The beginning of the requests changed, so the provider's cache of it is lost. `by` is a plugin, or configuration.", {
    by: text,
    part: z.enum(["tools", "system", "request", "messages"]),
  }),
  event("loop_warning", "The model repeats itself.", { calls: text, times: z.number() }),
  event("plugin_error", "A plugin failed without changing the outcome.", { plugin: text, hook: text.optional(), message: text }),
  event("untrusted_config", "What the workspace says and is ignored until it is trusted; `changed`: it was, and a file has changed since.", {
    keys: z.array(text),
    files: z.array(text),
    reason: z.enum(["untrusted", "changed"]),
    hint: text,
  }),
  event("sandbox_unavailable", "The operating system offers no sandbox.", { reason: text }),
  event("store_degraded", "The session cannot be written; the run goes on.", { path: text, reason: text }),
  event("store_recovered", "A damaged file was read as far as it is whole.", { path: text, kept: z.number(), lost: z.number(), quarantine: text.optional() }),
  event("error", "What went wrong. `name` is opencode's where it has one.", { error: fullError }),
  event("result", "Last event of a prompt. `text` is that of the last step; `cost` in USD, null where it is not known.", {
    status: z.enum(["success", "error", "limit", "interrupted"]),
    text,
    model: text.nullable(),
    steps: z.number(),
    cost: z.number().nullable(),
    costSource,
    tokens,
    cacheHitRate,
    durationMs: z.number(),
    exitCode: z.number(),
    persisted: z.boolean(),
    output: z.unknown().optional(),
    error: fullError.optional(),
  }),
  event("text_delta", "With --stream: a piece of the answer.", delta),
  event("reasoning_delta", "With --stream: a piece of the reasoning.", delta),
  event("tool_start", "With --stream: a call begins.", { part: partOf("tool", { ...call, state: started }) }),
  control("control_cancel_request", "With --input-format stream-json: the permission_request of this id is taken back.", { request_id: text }),
  control("control_response", "With --input-format stream-json: the answer to a control_request.", {
    response: z.object({ subtype: z.enum(["success", "error"]), request_id: text, response: anyMap.optional(), error: text.optional() }),
  }),
  event("tool_progress", "With --stream: how far a call is.", { part: partOf("tool", { ...call, state: going }) }),
]);

/** The text of docs/events.schema.json. */
export function makeEventsSchema(): string {
  const schema = z.toJSONSchema(eventSchema, { io: "input", target: "draft-2020-12" });
  const head = { title: "Events of agent --output-format json", description: "Each line of stdout is one of these.", version: EVENTS_VERSION };
  return `${JSON.stringify({ ...head, ...schema }, null, 2)}\n`;
}
