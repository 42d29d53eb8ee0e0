import { AgentError, type PromptRequest } from "agent-runtime";

type Check = (value: unknown) => string | undefined;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const expects =
  (kind: string, accepts: (value: unknown) => boolean): Check =>
  (value) =>
    accepts(value) ? undefined : kind;
const isNumber = (value: unknown, min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY) =>
  typeof value === "number" && Number.isFinite(value) && value >= min && value <= max;
const isTexts = (value: unknown) => Array.isArray(value) && value.every((entry) => typeof entry === "string");

const text = expects("a string", (value) => typeof value === "string");
const textOrTexts = expects("a string or a list of strings", (value) => typeof value === "string" || isTexts(value));
const isCall = (value: unknown) => isObject(value) && typeof value.name === "string" && (value.params === undefined || isObject(value.params));

/** What each key of a request must be. */
const CHECKS: Record<string, Check> = {
  message: text,
  prompt: text,
  model: textOrTexts,
  fallback: textOrTexts,
  system: text,
  appendSystem: text,
  agent: text,
  session: text,
  temperature: expects("a number of at least 0", (value) => isNumber(value, 0)),
  topP: expects("a number from 0 to 1", (value) => isNumber(value, 0, 1)),
  stop: textOrTexts,
  seed: expects("a whole number", Number.isSafeInteger),
  maxOutputTokens: expects("a whole number of at least 1", (value) => Number.isSafeInteger(value) && isNumber(value, 1)),
  files: expects("a list of paths", isTexts),
  outputSchema: expects("a JSON Schema (an object)", isObject),
  tools: expects('a list of {"name","params"}', (value) => Array.isArray(value) && value.every(isCall)),
  noReply: expects("true or false", (value) => typeof value === "boolean"),
};

export interface ReadRequest {
  request: PromptRequest;
  /** Keys that mean nothing here. */
  unknown: string[];
}

export const REQUEST_KEYS: readonly string[] = Object.keys(CHECKS);

/** A request object of the input as a prompt. Throws INPUT_INVALID, naming the key, and INPUT_EMPTY. */
export function readRequestObject(value: Record<string, unknown>, line: number): ReadRequest {
  const refuse = (reason: string) => new AgentError("INPUT_INVALID", { line, reason });
  const unknown: string[] = [];
  for (const [key, entry] of Object.entries(value)) {
    const check = Object.hasOwn(CHECKS, key) ? CHECKS[key] : undefined;
    const expected = check?.(entry);
    if (check === undefined) unknown.push(key);
    else if (expected !== undefined) throw refuse(`${key} must be ${expected}.`);
  }
  const { message, prompt, stop, ...rest } = Object.fromEntries(Object.entries(value).filter(([key]) => !unknown.includes(key)));
  if (message !== undefined && prompt !== undefined) throw refuse("it has both message and prompt.");
  const words = (message ?? prompt) as string | undefined;
  if (words === undefined && rest.noReply !== true) throw refuse("message is missing.");
  if (words?.trim() === "" && rest.tools === undefined) throw new AgentError("INPUT_EMPTY", { line });
  return { request: { ...rest, ...(stop !== undefined && { stop: [stop].flat() as string[] }), message: words ?? "" }, unknown };
}
