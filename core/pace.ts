import { orAborted, wait } from "./abort.ts";

/** Resolves when the next request may be sent; rejects when the signal aborts. */
export type Pace = (signal: AbortSignal) => Promise<void>;

const MINUTE_MS = 60_000;

/**
 * Lets so many through in any 60 s, in the order in which they came; `onWait` is told of each wait, in ms. `now`: ms on a
 * clock that never goes back. What a process cannot know is how many requests others send under the same account.
 */
export function createPace(perMinute: number, onWait: (ms: number) => void, now: () => number = () => performance.now()): Pace {
  /** When the last of them went, the oldest first. */
  const went: number[] = [];
  let last: Promise<void> = Promise.resolve();
  const pass = async (signal: AbortSignal) => {
    const waitMs = went.length < perMinute ? 0 : Math.ceil((went[0] as number) + MINUTE_MS - now());
    if (waitMs > 0) {
      onWait(waitMs);
      await wait(waitMs, signal);
    }
    went.push(now());
    if (went.length > perMinute) went.shift();
  };
  return (signal) => {
    const turn = last.then(() => {
      if (!signal.aborted) return pass(signal);
    });
    // Who gives up while it waits takes nobody's place.
    last = turn.catch(() => {});
    return orAborted(turn, signal);
  };
}
