import { AgentError, type PromptRequest } from "agent-runtime";
import { saysNothing } from "agent-runtime/host";
import { type Fields, isFields, readContent } from "./content.ts";

/**
 * How somebody answered a permission request or, in words, a question. `input`: what the call should run with, where the
 * answer names it. `failed`: the other end could ask nobody.
 */
export type FrameAnswer =
  | { decision: "once" | "always"; input?: unknown; answer?: string }
  | { decision: "answer"; answer: string }
  | { decision: "reject"; reason?: string; interrupt?: boolean; failed?: boolean };

/** One line of `--input-format stream-json`. */
export type Frame =
  | { kind: "prompt"; request: PromptRequest; steer: boolean; uuid?: string }
  | { kind: "system"; text: string }
  | { kind: "interrupt" }
  /** `mayBeLate`: the request may have been taken back meanwhile. */
  | { kind: "answer"; id: string; answer: FrameAnswer; mayBeLate?: true }
  | { kind: "control"; id: string; request: Record<string, unknown> }
  | { kind: "nothing" };

/** What a frame says. Throws INPUT_INVALID with its line. */
export function readFrame(value: Fields, line: number): Frame {
  const refuse = (reason: string) => new AgentError("INPUT_INVALID", { line, reason });
  const read = typeof value.type === "string" && Object.hasOwn(READERS, value.type) ? READERS[value.type] : undefined;
  if (read === undefined) throw refuse(`a frame has one of the types ${Object.keys(READERS).join(", ")}.`);
  const frame = read(value);
  if (typeof frame === "string") throw refuse(frame);
  if (frame.kind === "prompt" && saysNothing(frame.request.message)) throw new AgentError("INPUT_EMPTY", { line });
  return frame;
}

/** The frame, or what is wrong with it. */
const READERS: Record<string, (value: Fields) => Frame | string> = {
  user: (value) => readPrompt(value, isFields(value.message) ? value.message.content : value.message),
  user_prompt: (value) => readPrompt(value, value.content),
  system: ({ content }) => (typeof content === "string" ? { kind: "system", text: content } : "content must be a string."),
  interrupt: () => ({ kind: "interrupt" }),
  permission_response: readPermission,
  control_request: ({ request_id, request }) =>
    typeof request_id === "string" && isFields(request) ? { kind: "control", id: request_id, request } : "it needs request_id and request.",
  control_response: readControlAnswer,
  control_cancel_request: () => ({ kind: "nothing" }),
  keep_alive: () => ({ kind: "nothing" }),
};

function readPrompt(value: Fields, content: unknown): Frame | string {
  const { uuid, steer = false, shouldQuery } = value;
  if (typeof steer !== "boolean") return "steer must be true or false.";
  const read = readContent(content);
  if (typeof read === "string") return read;
  return { kind: "prompt", request: { ...read, ...(shouldQuery === false && { noReply: true }) }, steer, ...(typeof uuid === "string" && { uuid }) };
}

const DECISIONS: readonly unknown[] = ["once", "always", "reject"];

function readPermission({ id, permissionID, permission_id, response, message, answer }: Fields): Frame | string {
  const name = id ?? permissionID ?? permission_id;
  if (typeof name !== "string") return "it needs id: that of the permission_request.";
  if (answer !== undefined && typeof answer !== "string") return "answer must be a string.";
  if (response === undefined && answer !== undefined) return { kind: "answer", id: name, answer: { decision: "answer", answer } };
  if (!DECISIONS.includes(response)) return "response must be once, always or reject.";
  if (response !== "reject") return { kind: "answer", id: name, answer: { decision: response as "once" | "always", ...(answer !== undefined && { answer }) } };
  const reason = typeof message === "string" ? message : answer;
  return { kind: "answer", id: name, answer: { decision: "reject", ...(reason !== undefined && { reason }) } };
}

/** What the Agent SDK's `canUseTool` gave. */
function readControlAnswer({ response }: Fields): Frame | string {
  if (!isFields(response) || typeof response.request_id !== "string") return "it needs response.request_id.";
  const { request_id: id, error, response: given } = response;
  if (isFields(given) && given.behavior === "allow") return { kind: "answer", id, answer: { decision: "once", input: given.updatedInput }, mayBeLate: true };
  const reason = isFields(given) ? given.message : error;
  const interrupt = isFields(given) && given.interrupt === true;
  const answer = { decision: "reject" as const, ...(typeof reason === "string" && { reason }), interrupt, failed: !isFields(given) };
  return { kind: "answer", id, answer, mayBeLate: true };
}
