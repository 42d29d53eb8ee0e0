import { describe, expect, test } from "vitest";
import { authorOf, formatModelId, parseModelId, splitModelList } from "../../core/model-id.ts";

describe("a model id", () => {
  test.each([
    ["openrouter/anthropic/claude-sonnet-4", "openrouter", "anthropic/claude-sonnet-4"],
    ["openrouter/z-ai/glm-4.7:free", "openrouter", "z-ai/glm-4.7:free"],
    ["openrouter/openrouter/auto", "openrouter", "openrouter/auto"],
    ["Ollama/Llama3.2:1B", "Ollama", "Llama3.2:1B"],
    ["p/a/b/c", "p", "a/b/c"],
  ])("%s is split at its first slash and verbatim after it", (id, provider, model) => {
    expect(parseModelId(id)).toEqual({ provider, model });
    expect(formatModelId({ provider, model })).toBe(id);
  });

  test.each(["gpt-4o", "", "/m", "p/", "p//m", "p/a/", "p/a b", "p/a\n", "//"])("%j is refused with exit code 2", (id) => {
    expect(() => parseModelId(id)).toThrow(expect.objectContaining({ code: "MODEL_INVALID", exit: 2 }));
  });
});

test("a list of models is one chain, each model once, without blanks", () => {
  expect(splitModelList("p/a, q/b ,,p/a")).toEqual(["p/a", "q/b"]);
  expect(splitModelList(["p/a", "q/b,r/c"])).toEqual(["p/a", "q/b", "r/c"]);
  expect(splitModelList(undefined)).toEqual([]);
  expect(splitModelList("")).toEqual([]);
});

test.each([
  ["openrouter/anthropic/claude", "openrouter/anthropic"],
  ["openrouter/a/b/c:free", "openrouter/a"],
  ["ollama/llama3.2", "ollama"],
  ["openrouter/auto", "openrouter"],
])("the author of %s is %s", (id, author) => expect(authorOf(id)).toBe(author));
