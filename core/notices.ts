import type { EventFacts } from "./events.ts";

export interface Notices {
  tell(facts: EventFacts): void;
  /** Tells a prompt, from what waits on; returns how to stop that. */
  attach(listener: (facts: EventFacts) => void): () => void;
  /** What no prompt has been told. */
  left(): EventFacts[];
}

/** What happens outside of any step: told to the prompt that runs, or kept for the next one. `first` is known from the start. */
export function createNotices(first: EventFacts[]): Notices {
  const waiting = [...first];
  const listeners = new Set<(facts: EventFacts) => void>();
  return {
    tell(facts) {
      if (listeners.size === 0) waiting.push(facts);
      for (const listener of [...listeners].slice(0, 1)) listener(facts);
    },
    attach(listener) {
      listeners.add(listener);
      for (const facts of waiting.splice(0)) listener(facts);
      return () => void listeners.delete(listener);
    },
    left: () => waiting.splice(0),
  };
}
