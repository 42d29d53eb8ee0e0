import type { PermissionRequest, RuntimeOptions } from "agent-runtime";
import { isFields } from "./content.ts";
import type { FrameAnswer } from "./frames.ts";

export type Ask = NonNullable<RuntimeOptions["ask"]>;
type PermissionAnswer = Awaited<ReturnType<Ask>>;

interface Waiting {
  request: PermissionRequest;
  settle(answer: PermissionAnswer): void;
}

export interface AskerOptions {
  /** Told of a request that was ended before it was answered. */
  cancel(id: string): void;
  /** As the request was shown. */
  redact(text: string): string;
}

/** Asks the process at the other end of stdin and stdout, as long as it is there. */
export class Asker {
  #waiting = new Map<string, Waiting>();
  #isOver = false;
  readonly #options: AskerOptions;

  constructor(options: AskerOptions) {
    this.#options = options;
  }

  readonly ask: Ask = (request, signal) => {
    if (this.#isOver) return Promise.resolve("nobody");
    return new Promise((resolve) => {
      const cancel = () => {
        if (this.#waiting.delete(request.id)) this.#options.cancel(request.id);
      };
      signal.addEventListener("abort", cancel, { once: true });
      const settle = (answer: PermissionAnswer) => {
        signal.removeEventListener("abort", cancel);
        this.#waiting.delete(request.id);
        resolve(answer);
      };
      this.#waiting.set(request.id, { request, settle });
    });
  };

  /** What somebody is asked about, as long as the answer is awaited. */
  find(id: string): PermissionRequest | undefined {
    return this.#waiting.get(id)?.request;
  }

  /** False where nothing waits for this answer. */
  answer(id: string, answer: FrameAnswer): boolean {
    const waiting = this.#waiting.get(id);
    waiting?.settle(toAnswer(answer, waiting.request, this.#options.redact));
    return waiting !== undefined;
  }

  /** Nobody is there any more. */
  end(): void {
    this.#isOver = true;
    for (const { settle } of this.#waiting.values()) settle("nobody");
  }
}

function toAnswer(answer: FrameAnswer, { tool, input, question }: PermissionRequest, redact: AskerOptions["redact"]): PermissionAnswer {
  if (answer.decision === "reject" && answer.failed && question !== undefined) return "nobody";
  if (answer.decision === "reject") return answer.reason === undefined ? "reject" : { reject: answer.reason };
  if (answer.decision === "answer") return { answer: answer.answer };
  if (question !== undefined) {
    const words = answer.answer ?? wordsIn(answer.input);
    return words === undefined ? answer.decision : { answer: words };
  }
  if (isUnchanged(answer.input, toSortedJson(input), redact)) return answer.decision;
  // What is judged is what runs: another input goes the whole way again, as a call of its own.
  return { reject: `a person would allow this call of ${tool} with another input. Make it again with: ${JSON.stringify(answer.input)}` };
}

/** `{ answer }`, or the first of `answers`, a list or a map of questions; several choices are joined. */
function wordsIn(input: unknown): string | undefined {
  if (!isFields(input)) return undefined;
  const given = input.answer ?? (typeof input.answers === "object" ? Object.values(input.answers ?? {})[0] : input.answers);
  if (Array.isArray(given) && given.every((choice) => typeof choice === "string")) return given.join(", ");
  return typeof given === "string" ? given : undefined;
}

/** An answer without an input, or with an empty one, changes nothing; nor does one that gives back what was shown. */
function isUnchanged(answered: unknown, input: string, redact: AskerOptions["redact"]): boolean {
  if (answered === undefined || answered === null || JSON.stringify(answered) === "{}") return true;
  const given = toSortedJson(answered);
  return given === input || given === redact(input);
}

const toSortedJson = (value: unknown): string =>
  JSON.stringify(value, (_, entry) =>
    typeof entry === "object" && entry !== null && !Array.isArray(entry)
      ? Object.fromEntries(Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1)))
      : entry,
  );
