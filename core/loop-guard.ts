import { AgentError } from "./errors.ts";
import { withoutIds } from "./id.ts";
import type { Message } from "./message.ts";
import { type AskedCall, parseInput } from "./turn.ts";

/** Repetitions at which the model is warned, and at which the run ends. */
export const WARN_AT = 3;
export const STOP_AT = 5;
/** Longest cycle of steps that is seen as a repetition. */
export const LONGEST_CYCLE = 4;

export interface LoopGuard {
  /** Notes the calls of a step with their results. Returns how often they came in a row. */
  watch(calls: AskedCall[], results: Message[]): number;
  /** Whether the model is to be told: from three times on, once for each count. */
  claimWarning(times: number): boolean;
  /** Throws LOOP_DETECTED once they came five times in a row. */
  check(): void;
}

/**
 * Sees the same calls with the same results come again and again, singly or in cycles of up to four steps; one guard
 * serves one prompt. A call whose result changes (polling) is no repetition; what is another each time anyway changes
 * nothing (see `withoutChance`), nor does the order of parallel calls.
 */
export function createLoopGuard(): LoopGuard {
  const history: Step[] = [];
  let found: AgentError | undefined;
  let warnedOf = 0;
  return {
    watch(calls, results) {
      history.push(createStep(calls, results));
      if (history.length > LONGEST_CYCLE * STOP_AT) history.shift();
      const times = Math.max(...Array.from({ length: LONGEST_CYCLE }, (_, index) => countRepeats(history, index + 1)));
      if (times >= STOP_AT) found = new AgentError("LOOP_DETECTED", { calls: calls.map(({ tool }) => tool).join(", "), times });
      if (times < WARN_AT) warnedOf = 0;
      return times;
    },
    claimWarning(times) {
      if (times < WARN_AT || times >= STOP_AT || times <= warnedOf) return false;
      warnedOf = times;
      return true;
    },
    check() {
      if (found !== undefined) throw found;
    },
  };
}

interface Step {
  calls: string;
  /** Made when the same calls come again: most never do. */
  results(): string;
}

function createStep(calls: AskedCall[], results: Message[]): Step {
  const outputs = new Map(results.flatMap((message) => (message.role === "tool" ? message.content : [])).flatMap((part) => answerOf(part)));
  const asked = calls.map(({ id, tool, input }) => ({ call: JSON.stringify([tool, parseInput(input) ?? input]), output: outputs.get(id) }));
  asked.sort((a, b) => (a.call < b.call ? -1 : a.call > b.call ? 1 : 0));
  let made: string | undefined;
  return {
    calls: asked.map(({ call }) => call).join("\n"),
    results: () => (made ??= withoutChance(JSON.stringify(asked.map(({ output }) => output)))),
  };
}

type AnswerPart = Extract<Message, { role: "tool" }>["content"][number];

const answerOf = (part: AnswerPart): [string, unknown][] => (part.type === "tool-result" ? [[part.toolCallId, part.output]] : []);

/*
 * What a program that did the same says otherwise: when it was, how long it took, which process and which temporary file
 * it had. Numbers that stand by themselves, percentages and ages ("5m3s", "for 12 s") count: a wait goes on by them.
 */
const CHANCE = new RegExp(
  [
    "\\d{4}-\\d\\d-\\d\\d(?:[T ]\\d\\d:\\d\\d(?::\\d\\d)?(?:[.,]\\d+)?(?:Z|[+-]\\d\\d:?\\d\\d)?)?",
    "(?<![\\d:])\\d\\d?:\\d\\d:\\d\\d(?:[.,]\\d+)?(?![\\d:])",
    "(?<=\\b(?:in|took|duration|real|user|sys)[ :=\\t]{1,8})\\d+(?:\\.\\d+)? ?(?:ms|µs|us|ns|s|sec|secs|seconds)\\b",
    "(?<=[([])\\d+(?:\\.\\d+)? ?(?:ms|µs|us|ns|s|sec|secs|seconds)(?=[)\\]])",
    "(?<![\\w.])\\d+\\.\\d+ ?(?:ms|s|sec|secs|seconds)\\b",
    "(?<=\\b(?:real|user|sys)(?:\\s|\\\\t){1,8})\\d+m\\d+\\.\\d+s",
    "(?<=\\bpid[ :=#]{1,3})\\d+",
    "\\b0x[0-9a-f]{6,16}\\b",
    "(?<=/tmp/[\\w./-]{0,100}?)[\\w-]*\\d[\\w-]*",
    "(?<=\\b(?:tmp|temp)[._-])[A-Za-z0-9]{6,20}\\b",
  ].join("|"),
  "gi",
);

const withoutChance = (text: string): string => withoutIds(text).replace(CHANCE, "");

/** How often the last `length` steps stand one after the other at the end of the history. */
function countRepeats(history: Step[], length: number): number {
  let times = 1;
  for (let start = history.length - 2 * length; start >= 0; start -= length, times++) {
    for (let offset = 0; offset < length; offset++) {
      if (!isSame(history[start + offset] as Step, history[history.length - length + offset] as Step)) return times;
    }
  }
  return times;
}

const isSame = (a: Step, b: Step): boolean => a === b || (a.calls === b.calls && a.results() === b.results());
