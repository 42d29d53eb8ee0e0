import { definePlugin, type Plugin, type Provider, type Tool, tool, z } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { boot, type Check, pluginChecks, providerChecks, say, toolChecks } from "agent-runtime/testing";
import { afterAll, describe, expect, test } from "vitest";
import { createFetch } from "../../core/http.ts";
import { startServer } from "../fixtures/server.ts";

const server = await startServer([{ text: "Hello." }]);
afterAll(() => server.close());

/** What an option of a provider must be to work against the scripted server. */
const options = { baseURL: server.url, apiKey: "key-of-the-test" };
const providers: Record<string, string> = { openrouter: "acme/model-1", openai: "model-1", demo: "echo" };

for (const builtin of builtins) {
  const plugin: Plugin = (await builtin.load()).default;
  const context = { options: {}, config: {}, lasting: <T>(make: () => T): T => make() };

  describe(`the built-in plugin ${builtin.name} keeps what is asked of a stranger`, async () => {
    for (const { name, run } of await pluginChecks(plugin, context)) test(name, run);

    test("refuses an option that it does not know", async () => {
      await expect(pluginChecks(plugin, { ...context, options: { envv: ["X"] } })).rejects.toThrow('its options are wrong: Unrecognized key: "envv"');
    });

    test("brings what its entry promises", async () => {
      const { providers = [], commands = [] } = await plugin.setup({ ...context, cwd: "/" } as never);
      const promised = (builtin.provides?.providers ?? []).filter((id) => id !== "*");
      expect(providers.map(({ id }: Provider) => id)).toEqual(expect.arrayContaining(promised));
      expect(commands.map(({ name }) => name)).toEqual(builtin.provides?.commands ?? []);
    });

    const { providers: made = [] } = await plugin.setup({ ...context, cwd: "/" } as never);
    for (const provider of made.filter(({ id }: Provider) => id in providers)) {
      for (const { name, run } of providerChecks(provider, { options, model: providers[provider.id] as string, fetch: createFetch() })) test(name, run);
    }
  });
}

describe("the checks for plugins", () => {
  const run = async (checks: Check[]) => {
    for (const check of checks) await check.run();
  };
  const speak = (name: string, more: Partial<Tool> = {}) => ({ ...tool({ name, description: "d", input: z.object({}), run: () => "" }), ...more });

  test("set a plugin up with its options as its schema gives them", async () => {
    const options = z.object({ words: z.array(z.string()).default(["one"]) });
    const plugin = definePlugin({ name: "p", options, setup: ({ options }) => ({ tools: options.words.map((word) => speak(`say_${word}`)) }) });
    await run(await pluginChecks(plugin));
    const checks = await pluginChecks(plugin, { options: { words: ["two"] } });
    expect(checks.map(({ name }) => name)).toContain("say_two: declares its effect");
    await expect(pluginChecks(plugin, { options: { words: 7 } as never })).rejects.toThrow("its options are wrong: words: ");
  });

  test("refuse what the runtime refuses", async () => {
    const misspelt = definePlugin({ name: "p", setup: () => ({ hooks: { on: { "tool.finnish": () => {} } as never } }) });
    await expect(pluginChecks(misspelt)).rejects.toThrow('there is no event "tool.finnish"');
  });

  test("see patterns that come too late", async () => {
    await run(toolChecks(speak("ok", { patterns: ({ path }) => [path.trim()] })));
    await expect(run(toolChecks(speak("late", { patterns: (async () => ["secret"]) as never })))).rejects.toThrow("patterns is async, or gives no list");
  });
});

test("all built-in plugins together leave room: the first request has at most 2,500 tokens of four bytes", async () => {
  await using agent = await boot({ plugins: builtins, script: [say("Hello.")] });
  await agent.prompt("hello");
  const { prompt, tools } = agent.requests[0]!;
  expect(tools?.map(({ name }) => name)).toEqual([
    "read",
    "write",
    "edit",
    "list",
    "glob",
    "grep",
    "bash",
    "webfetch",
    "batch",
    "task",
    "todowrite",
    "todoread",
  ]);
  expect(JSON.stringify({ prompt, tools }).length / 4).toBeLessThanOrEqual(2_500);
});
