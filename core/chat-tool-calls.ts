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
  index: number | undefined;
  id: string;
  name: string;
  text: string;
  extra: unknown;
}

/** What is missing is empty; ids and indices may be numbers or text. */
function readDelta({ index, id, function: called, extra_content: extra }: Record<string, any>): CallDelta {
  const nameOf = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? String(value) : "");
  const place = nameOf(index);
  return { index: /^\d+$/.test(place) ? Number(place) : undefined, id: nameOf(id), name: nameOf(called?.name), text: textOf(called?.arguments), extra };
}

interface OpenCall extends RawCall {
  wireId: string;
  index: number | undefined;
  hasStarted: boolean;
  /** How often its arguments were looked at for whether they are complete. */
  looks: number;
}

/** Each look reads all arguments so far: an argument without end must not cost more and more. */
const MOST_LOOKS = 100;

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
      const delta = readDelta(value);
      const known = findCall(calls, delta);
      const call = known ?? startCall(calls, delta);
      if (known === undefined) calls.push(call);
      call.name ||= delta.name;
      call.wireId ||= delta.id;
      if (call.extra === undefined && delta.extra) call.extra = delta.extra;
      return growCall(call, delta.text);
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

function startCall(calls: OpenCall[], { index, id, name }: CallDelta): OpenCall {
  const isTaken = id.trim() === "" || calls.some((call) => call.id === id);
  const own = isTaken ? newId("call") : id;
  return { id: own, wireId: id, index, name, input: "", hasStarted: false, looks: 0 };
}

/** The call that a delta goes on with; undefined when it begins one. */
function findCall(calls: OpenCall[], delta: CallDelta): OpenCall | undefined {
  const { index, id } = delta;
  const same = index !== undefined ? calls.findLast((call) => call.index === index) : id !== "" ? calls.findLast((call) => call.wireId === id) : calls.at(-1);
  if (same === undefined) return undefined;
  const isOther = id !== "" && same.wireId !== "" && id !== same.wireId;
  return isOther || beginsAgain(same, delta) ? undefined : same;
}

/** A name that comes again is the same call, unless it is another name or whole arguments are followed by new ones. */
function beginsAgain(call: OpenCall, { name, text }: CallDelta): boolean {
  if (name === "" || call.name === "") return false;
  if (name !== call.name) return true;
  return /^\s*[{[]/.test(text) && ++call.looks <= MOST_LOOKS && isJson(call.input);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
