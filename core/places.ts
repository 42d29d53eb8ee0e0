import { orAborted } from "./abort.ts";

/** Takes a place; what it gives lets go of it, once. Rejects with the signal's reason. */
export type TakePlace = (signal: AbortSignal) => Promise<() => void>;

/** Lets `most` through at a time, in the order in which they came. */
export function createPlaces(most: number): TakePlace {
  const waiting: (() => void)[] = [];
  let free = most;
  const leave = () => {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  };
  return async (signal) => {
    if (free > 0) {
      free--;
      return leave;
    }
    let enter = () => {};
    const entered = new Promise<void>((resolve) => (enter = resolve));
    waiting.push(enter);
    await orAborted(entered, signal).catch((error: unknown) => {
      const at = waiting.indexOf(enter);
      if (at < 0) leave();
      else waiting.splice(at, 1);
      throw error;
    });
    return leave;
  };
}
