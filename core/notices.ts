import type { AgentEvent, EventFacts } from "./events.ts";
import type { HookRunner } from "./hooks.ts";

export interface Notices {
  tell(facts: EventFacts): void;
  attach(hooks: HookRunner, send: (event: AgentEvent) => void): () => void;
  /** What no prompt has been told. */
  left(): EventFacts[];
}

/** What happens outside of any step: told to the prompts that run, or kept for the next one. */
export function createNotices(): Notices {
  const waiting: EventFacts[] = [];
  const listeners = new Set<(facts: EventFacts) => void>();
  return {
    tell(facts) {
      if (listeners.size === 0) waiting.push(facts);
      for (const listener of [...listeners].slice(0, 1)) listener(facts);
    },
    attach(hooks, send) {
      const listener = (facts: EventFacts) => {
        const event = { ...facts, sessionId: "", at: Date.now() } as AgentEvent;
        // An observer of plugin errors that fails itself would be told of that for ever.
        if (facts.type !== "plugin.error" || facts.hook !== "on.plugin.error") hooks.observe(event);
        send(event);
      };
      listeners.add(listener);
      for (const facts of waiting.splice(0)) listener(facts);
      return () => listeners.delete(listener);
    },
    left: () => waiting.splice(0),
  };
}
