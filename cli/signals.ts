import { AgentError } from "agent-runtime";

/** Signals that end a run, and the exit code of each. */
const EXITS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface SignalOptions {
  /** The first signal: the run ends by itself, with its result written and its session saved. */
  abort(error: AgentError): void;
  /** A second signal: the process ends at once. */
  endNow(exitCode: number): void;
}

export function watchSignals({ abort, endNow }: SignalOptions): void {
  let seen = false;
  for (const [signal, exit] of Object.entries(EXITS)) {
    process.on(signal, () => {
      if (seen) return endNow(exit);
      seen = true;
      abort(new AgentError("INTERRUPTED", { exit, signal }));
    });
  }
}
