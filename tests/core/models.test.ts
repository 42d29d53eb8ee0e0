import { describe, expect, test } from "vitest";
import { formatModelId } from "../../core/model-id.ts";
import { type ChainDependencies, type ModelWish, resolveChain } from "../../core/models.ts";
import { provider } from "../../core/provider.ts";

const providers = ["demo", "ollama", "openrouter"];

async function resolve(wish: ModelWish, over: Partial<ChainDependencies> = {}) {
  const { ids, ...chain } = await resolveChain(wish, {
    config: {},
    configSource: "config",
    profile: undefined,
    untrusted: [],
    providerIds: () => providers,
    findProvider: async (id) =>
      providers.includes(id) ? provider({ id, defaultModel: { id: "vendor/default", date: "2026-01-01" }, create: () => () => ({}) as never }) : undefined,
    defaultModel: async () => ({ id: "vendor/default", source: "default" }),
    keyedProviders: async () => [],
    ...over,
  });
  return { ...chain, ids: ids.map(formatModelId) };
}

const codeOf = (...given: Parameters<typeof resolve>) =>
  resolve(...given).then(
    () => "",
    (error) => error.code,
  );

describe("the model of a prompt", () => {
  const config = { model: "ollama/config" };
  const profile = { model: "ollama/profile" };

  test("is the request's before all others", async () => {
    expect(await resolve({ model: "ollama/mine" }, { config, configSource: "cli", profile })).toMatchObject({
      ids: ["ollama/mine"],
      source: "input",
      requested: "ollama/mine",
    });
  });

  test("is the command line's or the environment's before the profile's", async () => {
    for (const configSource of ["cli", "env"] as const)
      expect(await resolve({}, { config, configSource, profile })).toMatchObject({ ids: ["ollama/config"], source: configSource });
  });

  test("is the profile's before the configuration's", async () => {
    expect(await resolve({}, { config, profile })).toMatchObject({ ids: ["ollama/profile"], source: "config" });
    expect(await resolve({}, { config })).toMatchObject({ ids: ["ollama/config"], source: "config" });
  });

  test("is the default of the only provider with a key where nobody says anything", async () => {
    const keyedProviders = async () => ["openrouter"];
    expect(await resolve({}, { keyedProviders })).toMatchObject({ ids: ["openrouter/vendor/default"], source: "default", requested: null });
  });

  test("is what a variable names, however many keys there are, and its short name is known", async () => {
    const keyedProviders = async () => ["demo", "openrouter"];
    const defaultModel: ChainDependencies["defaultModel"] = async (id) =>
      id === "openrouter" ? { id: "gpt-4o", source: "env" } : { id: "d", source: "config" };
    expect(await resolve({}, { keyedProviders, defaultModel })).toMatchObject({ ids: ["openrouter/openai/gpt-4o"], source: "env" });
  });

  test("is nobody's guess: without a key, and with several, it says how to get going", async () => {
    expect(await codeOf({})).toBe("KEY_MISSING");
    await expect(resolve({}, { keyedProviders: async () => ["demo", "ollama"] })).rejects.toThrow("Providers with a key: demo, ollama.");
    await expect(resolve({}, { keyedProviders: async () => ["demo"], defaultModel: async () => undefined })).rejects.toMatchObject({ code: "MODEL_UNSET" });
  });

  test("is never taken in the place of a name that was left empty", async () => {
    for (const model of ["", " , "]) expect(await codeOf({ model }, { config })).toBe("MODEL_INVALID");
    expect(await codeOf({}, { config: { model: "" } })).toBe("MODEL_INVALID");
  });

  test("of --provider alone is that provider's own default", async () => {
    expect(await resolve({}, { provider: "openrouter", config })).toMatchObject({ ids: ["openrouter/vendor/default"], source: "default" });
    const defaultModel: ChainDependencies["defaultModel"] = async () => ({ id: "openrouter/my/own", source: "config" });
    expect(await resolve({}, { provider: "openrouter", defaultModel })).toMatchObject({ ids: ["openrouter/my/own"], source: "config" });
    expect(await codeOf({}, { provider: "nobody" })).toBe("MODEL_NOT_FOUND");
  });

  test("gets --provider in front, where it is not there already, and aliases come first", async () => {
    const idsOf = async (model: string) => (await resolve({ model }, { provider: "openrouter" })).ids[0];
    expect(await idsOf("vendor/m")).toBe("openrouter/vendor/m");
    expect(await idsOf("openrouter/vendor/m")).toBe("openrouter/vendor/m");
    expect(await idsOf("gpt-4o")).toBe("openrouter/openai/gpt-4o");
  });

  test("needs no default of --provider, and a short name that leads elsewhere is that provider's own", async () => {
    const defaultModel = async () => undefined;
    expect((await resolve({}, { provider: "ollama", config: { model: "llama3.2" }, configSource: "cli", defaultModel })).ids).toEqual(["ollama/llama3.2"]);
    expect((await resolve({ model: "gpt-4o" }, { provider: "ollama", defaultModel })).ids).toEqual(["ollama/gpt-4o"]);
  });
});

describe("a chain", () => {
  test("has the models of a list, then the fallbacks, each once", async () => {
    expect((await resolve({ model: "ollama/a,ollama/b", fallback: ["ollama/b", "demo/c"] })).ids).toEqual(["ollama/a", "ollama/b", "demo/c"]);
  });

  test("takes the fallbacks of the request, else of the profile, else of the configuration", async () => {
    const config = { fallback: ["ollama/config"] };
    const profile = { fallback: ["ollama/profile"] };
    const fallbackOf = async (wish: ModelWish, over: Partial<ChainDependencies>) => (await resolve({ model: "demo/a", ...wish }, over)).ids[1];
    expect(await fallbackOf({ fallback: "ollama/mine" }, { config, profile })).toBe("ollama/mine");
    expect(await fallbackOf({}, { config, profile })).toBe("ollama/profile");
    expect(await fallbackOf({}, { config })).toBe("ollama/config");
    for (const fallbackSource of ["cli", "env"] as const) expect(await fallbackOf({}, { config, profile, fallbackSource })).toBe("ollama/config");
  });

  test("takes what the configuration says of its models before what it says of all, and after every nearer wish", async () => {
    const models = { a: { fallback: "demo/after-a, demo/b" }, b: { fallback: ["demo/after-b"] } };
    const config = { fallback: "ollama/config", provider: { demo: { models } } };
    const idsOf = async (wish: ModelWish, over: Partial<ChainDependencies> = {}) => (await resolve(wish, { config, ...over })).ids;
    expect(await idsOf({ model: "demo/a" })).toEqual(["demo/a", "demo/after-a", "demo/b"]);
    expect(await idsOf({ model: "demo/a,demo/b" })).toEqual(["demo/a", "demo/b", "demo/after-a", "demo/after-b"]);
    expect(await idsOf({ model: "demo/c" })).toEqual(["demo/c", "ollama/config"]);
    expect(await idsOf({ model: "demo/a", fallback: "ollama/mine" })).toEqual(["demo/a", "ollama/mine"]);
    expect(await idsOf({ model: "demo/a" }, { profile: { fallback: "ollama/profile" } })).toEqual(["demo/a", "ollama/profile"]);
    expect(await idsOf({ model: "demo/a" }, { fallbackSource: "cli" })).toEqual(["demo/a", "ollama/config"]);
  });

  test("with one unknown provider in it is refused as a whole", async () =>
    expect(await codeOf({ model: "ollama/a", fallback: "nobody/b" })).toBe("MODEL_NOT_FOUND"));
});

describe("an unknown provider", () => {
  const hintOf = (model: string) =>
    resolve({ model }).then(
      () => "",
      (error) => error.hint,
    );

  test("that is a vendor's name is looked for at openrouter", async () => {
    expect(await hintOf("z-ai/glm-4.7")).toBe("Did you mean openrouter/z-ai/glm-4.7? Known providers: demo, ollama, openrouter.");
  });

  test("that is nearly a known one is taken for a slip of the pen", async () => {
    expect(await hintOf("openroutr/x/y")).toMatch(/^Did you mean openrouter\/x\/y\?/);
    expect(await hintOf("olama/x")).toMatch(/^Did you mean ollama\/x\?/);
  });

  test("that an untrusted workspace configures is a matter of trust", async () => {
    await expect(resolve({ model: "mine/x" }, { untrusted: ["provider.mine.options.baseURL"] })).rejects.toMatchObject({ code: "UNTRUSTED", exit: 6 });
  });

  test("that the configuration switches off is not guessed at", async () => {
    const wish = resolve({ model: "nobody/x" }, { config: { disabled_providers: ["nobody"] } });
    await expect(wish).rejects.toMatchObject({ hint: expect.stringContaining("switches it off") });
  });

  test("is refused, as is a name that is neither id nor alias", async () => {
    expect(await codeOf({ model: "nobody/x" })).toBe("MODEL_NOT_FOUND");
    expect(await codeOf({ model: "some-name" })).toBe("MODEL_INVALID");
  });
});

describe("aliases", () => {
  test("of the configuration beat those that are known", async () => {
    expect((await resolve({ model: "gpt-4o" }, { config: { alias: { "gpt-4o": "ollama/mine" } } })).ids).toEqual(["ollama/mine"]);
    expect(await resolve({ model: "gpt-4o" })).toMatchObject({ ids: ["openrouter/openai/gpt-4o"], requested: "gpt-4o" });
  });

  test("may stand for aliases, but not in a circle", async () => {
    expect((await resolve({ model: "a" }, { config: { alias: { a: "b", b: "demo/x" } } })).ids).toEqual(["demo/x"]);
    expect(await codeOf({ model: "a" }, { config: { alias: { a: "b", b: "a" } } })).toBe("MODEL_INVALID");
    expect(await codeOf({ model: "constructor" })).toBe("MODEL_INVALID");
  });
});

test("a provider of the command line is put before its own ids, never before the fallbacks of a file", async () => {
  const given = { provider: "openrouter", config: { fallback: "ollama/b" } };
  expect((await resolve({ model: "acme/a" }, given)).ids).toEqual(["openrouter/acme/a", "ollama/b"]);
  expect((await resolve({ model: "acme/a" }, { ...given, config: { fallback: "acme/b" }, fallbackSource: "cli" })).ids).toEqual([
    "openrouter/acme/a",
    "openrouter/acme/b",
  ]);
});
