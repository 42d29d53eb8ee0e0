import { AgentError } from "./errors.ts";

export interface ModelId {
  provider: string;
  /** Everything after the first `/`, verbatim: case, further slashes and `:free` included. */
  model: string;
}

/**
 * `"openrouter/vendor/model:variant"` → `{ provider: "openrouter", model: "vendor/model:variant" }`.
 * Throws MODEL_INVALID where the provider, the rest or a segment of it is empty.
 */
export function parseModelId(id: string): ModelId {
  const slash = id.indexOf("/");
  const refuse = (reason: string) => new AgentError("MODEL_INVALID", { id, reason });
  if (slash < 0) throw refuse("there is no provider before a /.");
  if (/\s/.test(id)) throw refuse("it has white space.");
  const [provider, model] = [id.slice(0, slash), id.slice(slash + 1)];
  if (provider === "") throw refuse("the provider before the first / is empty.");
  if (model === "") throw refuse("the model after the first / is empty.");
  if (model.split("/").includes("")) throw refuse("a segment between two / is empty.");
  return { provider, model };
}

export const formatModelId = ({ provider, model }: ModelId): string => `${provider}/${model}`;

/**
 * Who trained a model, as far as its id says: `"openrouter/vendor/model"` → `"openrouter/vendor"`, `"ollama/model"` → `"ollama"`.
 * What one vendor's models have signed means nothing to another's, though the same provider leads to both.
 */
export function authorOf(model: string): string {
  const segments = model.split("/");
  return segments.slice(0, segments.length > 2 ? 2 : 1).join("/");
}

/** `"a, b,c"` or `["a", "b,c"]` → `["a", "b", "c"]`: the models of a fallback chain in order, each once. */
export function splitModelList(value: string | readonly string[] | undefined): string[] {
  const list = (Array.isArray(value) ? value : value === undefined ? [] : [value]) as string[];
  return [
    ...new Set(
      list
        .flatMap((entry) => entry.split(","))
        .map((entry) => entry.trim())
        .filter((entry) => entry !== ""),
    ),
  ];
}
