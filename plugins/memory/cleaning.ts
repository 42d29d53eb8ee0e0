import type { PluginContext } from "agent-runtime";

export interface Cleaning {
  /** Known secrets, what looks like a key and what is named one, replaced. */
  redact(text: string): string;
}

/** `context`: as it is when a text comes. Nobody works with what is remembered, so it may lose a word: the strict way. */
export const cleaningOf = (context: () => Pick<PluginContext, "redact">): Cleaning => ({ redact: (text) => context().redact(text, { strict: true }) });
