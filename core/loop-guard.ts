import { AgentError } from "./errors.ts";
import { withoutIds } from "./id.ts";
import type { Message } from "./message.ts";
import type { AskedCall } from "./turn.ts";

/** Repetitions at which the model is warned, and at which the run ends. */
export const WARN_AT = 3;
export const STOP_AT = 5;
/** Longest cycle of steps that is seen as a repetition. */
export const LONGEST_CYCLE = 4;

export interface LoopGuard {
  /** Notes the calls of a step with their results. Returns how often they came in a row. */
  watch(calls: AskedCall[], results: Message[]): number;
  isWarning(times: number): boolean;
  /** Throws LOOP_DETECTED once they came five times in a row. */
  check(): void;
}

/**
 * Sees the same calls with the same results come again and again, singly or in cycles of up to four steps.
 * A call whose result changes (polling) is no repetition; ids that are made anew each time change nothing.
 */
export function createLoopGuard(): LoopGuard {
  const history: string[] = [];
  let found: AgentError | undefined;
  return {
    watch(calls, results) {
      history.push(fingerprint(calls, results));
      if (history.length > LONGEST_CYCLE * STOP_AT) history.shift();
      const times = Math.max(...Array.from({ length: LONGEST_CYCLE }, (_, index) => countRepeats(history, index + 1)));
      if (times >= STOP_AT) found = new AgentError("LOOP_DETECTED", { calls: calls.map(({ tool }) => tool).join(", "), times });
      return times;
    },
    isWarning: (times) => times >= WARN_AT && times < STOP_AT,
    check() {
      if (found !== undefined) throw found;
    },
  };
}

function fingerprint(calls: AskedCall[], results: Message[]): string {
  const outputs = results.flatMap((message) =>
    message.role === "tool" ? message.content.map((part) => (part.type === "tool-result" ? part.output : part)) : [],
  );
  // A task has another session each time, and a long output another file.
  return JSON.stringify(calls.map(({ tool, input }) => [tool, input])) + withoutIds(JSON.stringify(outputs));
}

/** How often the last `length` steps stand one after the other at the end of the history. */
function countRepeats(history: string[], length: number): number {
  let times = 1;
  for (let start = history.length - 2 * length; start >= 0; start -= length, times++) {
    for (let offset = 0; offset < length; offset++) {
      if (history[start + offset] !== history[history.length - length + offset]) return times;
    }
  }
  return times;
}
