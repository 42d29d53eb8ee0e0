import { AgentError } from "./errors.ts";

/** Short names of models that people know, as full ids. `alias` of the configuration adds to them and beats them. */
export const ALIASES: Readonly<Record<string, string>> = {
  "gpt-4o": "openrouter/openai/gpt-4o",
  "gpt-4o-mini": "openrouter/openai/gpt-4o-mini",
  "gpt-4-turbo": "openrouter/openai/gpt-4-turbo",
  "claude-3.5-sonnet": "openrouter/anthropic/claude-3.5-sonnet",
  "claude-3-opus": "openrouter/anthropic/claude-3-opus",
  "claude-3-haiku": "openrouter/anthropic/claude-3-haiku",
  "gemini-pro": "openrouter/google/gemini-pro",
  "gemini-1.5-pro": "openrouter/google/gemini-pro-1.5",
  "gemini-1.5-flash": "openrouter/google/gemini-flash-1.5",
  "llama-3.1-70b": "openrouter/meta-llama/llama-3.1-70b-instruct",
  "llama-3.1-8b": "openrouter/meta-llama/llama-3.1-8b-instruct",
  "mistral-large": "openrouter/mistralai/mistral-large",
  "mixtral-8x7b": "openrouter/mistralai/mixtral-8x7b-instruct",
};

/**
 * The full id that a short name stands for, through as many aliases as it takes. What has a `/`, or is no alias, is
 * returned as it is: a full id is never replaced. Throws MODEL_INVALID where aliases name each other in a circle.
 */
export function resolveAlias(id: string, config: { alias?: Record<string, string> | undefined } = {}): string {
  const way = [id];
  for (let name = id; ; ) {
    const next = name.includes("/") ? undefined : nextOf(name, config.alias);
    if (next === undefined) return name;
    if (way.includes(next)) throw new AgentError("MODEL_INVALID", { id, reason: `its aliases go round in a circle: ${[...way, next].join(" → ")}.` });
    way.push(next);
    name = next;
  }
}

const nextOf = (name: string, own: Record<string, string> = {}): string | undefined =>
  Object.hasOwn(own, name) ? own[name] : Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined;
