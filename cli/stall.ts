import { AgentError, type AgentEvent } from "agent-runtime";

/** When what runs is told to end, and when it is left because it did not. */
export interface Ending {
  signal: AbortSignal;
  late: AbortSignal;
}

/**
 * Node ends a process in which nothing is left to happen, also in the middle of a run: a plugin may wait for a promise
 * that nobody will settle. Then `signal` aborts with STALLED, which names `what()`, and where that does not help, `late`.
 */
export async function watchStall<T>({ signal, late }: Ending, what: () => string, run: (ending: Ending) => Promise<T>): Promise<T> {
  const stalled = new AbortController();
  const left = new AbortController();
  const notice = () => {
    // With nothing to do, Node would not ask a second time.
    setImmediate(() => {});
    if (stalled.signal.aborted) left.abort();
    else stalled.abort(new AgentError("STALLED", { what: what() }));
  };
  process.on("beforeExit", notice);
  try {
    return await run({ signal: AbortSignal.any([signal, stalled.signal]), late: AbortSignal.any([late, left.signal]) });
  } finally {
    process.off("beforeExit", notice);
  }
}

/** Follows the events of a run, to say what it waits for: the innermost call that has not ended, or else the model. */
export function createCulprit(): { see(event: AgentEvent): void; describe(): string } {
  const calls = new Map<string, string>();
  let model = "A plugin";
  return {
    see(event) {
      if (event.type === "tool.start") calls.set(event.callId, event.tool);
      else if (event.type === "tool.finish") calls.delete(event.callId);
      else if (event.type === "model.resolved") model = `The model ${event.selector}`;
      else if (event.type === "fallback") model = `The model ${event.to}`;
    },
    describe() {
      const tool = [...calls.values()].at(-1);
      return tool === undefined ? model : `The tool ${tool}`;
    },
  };
}
