import type { LanguageModelV3StreamPart } from "@ai-sdk/provider";
import { newId } from "./id.ts";

/** One tool call as the wire said it. */
export interface RawCall {
  id: string;
  name: string;
  /** The arguments exactly as they were sent, JSON or not. */
  input: string;
  /** `extra_content` of its first delta that has one. */
  extra?: unknown;
}

interface CallDelta {
  index?: number | null;
  id?: string | null;
  function?: { name?: string | null; arguments?: unknown } | null;
  extra_content?: unknown;
}

interface OpenCall extends RawCall {
  wireId: string;
  index: number | undefined;
  hasStarted: boolean;
}

export interface CallTracker {
  /** Takes one entry of `delta.tool_calls`. Returns the parts that begin or go on with its call. */
  push(delta: unknown): LanguageModelV3StreamPart[];
  /** In order of first appearance. */
  all(): RawCall[];
}

/**
 * Puts the deltas of tool calls together. Servers differ: some leave out `index` or `id`, repeat the name with each delta,
 * give every call the index 0 or the same id, or send the arguments as an object.
 */
export function createCallTracker(): CallTracker {
  const calls: OpenCall[] = [];
  return {
    all: () => calls,
    push(value) {
      if (typeof value !== "object" || value === null) return [];
      const delta = value as CallDelta;
      const known = findCall(calls, delta);
      const call = known ?? startCall(calls, delta);
      if (known === undefined) calls.push(call);
      call.name ||= delta.function?.name ?? "";
      call.wireId ||= delta.id ?? "";
      if (call.extra === undefined && delta.extra_content) call.extra = delta.extra_content;
      return growCall(call, textOf(delta.function?.arguments));
    },
  };
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value));

function growCall(call: OpenCall, text: string): LanguageModelV3StreamPart[] {
  const parts: LanguageModelV3StreamPart[] = [];
  if (!call.hasStarted && call.name !== "") {
    call.hasStarted = true;
    parts.push({ type: "tool-input-start", id: call.id, toolName: call.name });
    if (call.input !== "") parts.push({ type: "tool-input-delta", id: call.id, delta: call.input });
  }
  call.input += text;
  if (call.hasStarted && text !== "") parts.push({ type: "tool-input-delta", id: call.id, delta: text });
  return parts;
}

function startCall(calls: OpenCall[], { index, id, function: called }: CallDelta): OpenCall {
  const wireId = id ?? "";
  const isTaken = wireId.trim() === "" || calls.some((call) => call.id === wireId);
  const own = isTaken ? newId("call") : wireId;
  return { id: own, wireId, index: index ?? undefined, name: called?.name ?? "", input: "", hasStarted: false };
}

/** The call that a delta goes on with; undefined when it begins one. */
function findCall(calls: OpenCall[], delta: CallDelta): OpenCall | undefined {
  const { index } = delta;
  const id = delta.id ?? "";
  const same =
    typeof index === "number" ? calls.findLast((call) => call.index === index) : id !== "" ? calls.findLast((call) => call.wireId === id) : calls.at(-1);
  if (same === undefined) return undefined;
  const isOther = id !== "" && same.wireId !== "" && id !== same.wireId;
  return isOther || beginsAgain(same, delta) ? undefined : same;
}

/** A name that comes again is the same call, unless it is another name or whole arguments are followed by new ones. */
function beginsAgain(call: OpenCall, { function: called }: CallDelta): boolean {
  const name = called?.name ?? "";
  if (name === "" || call.name === "") return false;
  return name !== call.name || (/^\s*[{[]/.test(textOf(called?.arguments)) && isJson(call.input));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
