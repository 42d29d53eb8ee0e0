import { setMaxListeners } from "node:events";
import { AgentError } from "./errors.ts";

/** The promise, or a rejection with the signal's reason: what does not heed the signal must not hold the run. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Why a signal aborted, as an error of the table: what the host gave, or an interruption. */
export const abortError = (signal: AbortSignal): AgentError => (signal.reason instanceof AgentError ? signal.reason : new AgentError("INTERRUPTED"));

/** Node takes a longer time for none at all: 24 days. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Resolves after `ms`, never early; rejects when the signal aborts. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  // A timer may fire up to a millisecond before its time.
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(ms + 1, LONGEST_TIMER_MS));
  });
  return orAborted(elapsed, signal).finally(() => clearTimeout(timer));
}

export interface TimeLimit {
  ms: number;
  /** What the signal aborts with when the time is over. */
  error(): AgentError;
}

/** One signal of several and a time limit; `release` lets go of all of them. */
export function joinSignals(signals: (AbortSignal | undefined)[], limit: TimeLimit | undefined): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const parts = signals.filter((signal) => signal !== undefined);
  // Every prompt and every call that runs listens to one; many at once are no leak.
  setMaxListeners(0, controller.signal, ...parts);
  const timer = limit && setTimeout(() => controller.abort(limit.error()), Math.min(limit.ms, LONGEST_TIMER_MS));
  const listeners = parts.map((part) => {
    const abort = () => controller.abort(abortError(part));
    if (part.aborted) abort();
    part.addEventListener("abort", abort, { once: true });
    return () => part.removeEventListener("abort", abort);
  });
  return {
    signal: controller.signal,
    release() {
      clearTimeout(timer);
      for (const remove of listeners) remove();
    },
  };
}
