import assert from "node:assert/strict";
import type { LanguageModelV3StreamPart } from "@ai-sdk/provider";
import { silentLog } from "../log.ts";
import { PLUGIN_API, type Plugin, type PluginContext } from "../plugin.ts";
import type { Provider, ProviderOptions } from "../provider.ts";
import { LOAD_LIMIT_MS, setUp } from "../registry.ts";
import { check, toJsonSchema } from "../schema.ts";
import type { Tool } from "../tool.ts";

/** One promise of the contract, for any test runner: `for (const { name, run } of toolChecks(hello)) test(name, run);` */
export interface Check {
  name: string;
  run(): Promise<void>;
}

/** Characters of a description; it is sent with every request. */
const LONGEST_DESCRIPTION = 1_024;

/** What every tool must keep. */
export function toolChecks(tool: Tool): Check[] {
  const named = (name: string, run: () => Promise<void>): Check => ({ name: `${tool.name}: ${name}`, run });
  return [
    named("has a name that every provider takes", async () => assert.match(tool.name, /^[a-zA-Z0-9_-]{1,64}$/)),
    named("says what it does, briefly", async () => {
      assert.ok(tool.description.trim().length > 0, "the description is empty");
      assert.ok(tool.description.length <= LONGEST_DESCRIPTION, `the description has ${tool.description.length} characters`);
    }),
    named("declares its effect", async () => assert.ok(["read", "write", "run", "net", "ask"].includes(tool.effect))),
    named("takes an object that JSON Schema can describe", async () => assert.equal((await toJsonSchema(tool.input)).type, "object")),
    named("refuses input that is no object", async () => {
      for (const input of [null, "text", 7, ["list"]])
        assert.notEqual((await check(tool.input, input)).reason, undefined, `${JSON.stringify(input)} was accepted`);
    }),
    named("tells its patterns at once, as a list", async () => assert.ok(Array.isArray(patternsOf(tool)), "patterns is async, or gives no list")),
    named("gives the same schema each time", async () => assert.deepEqual(await toJsonSchema(tool.input), await toJsonSchema(tool.input))),
  ];
}

/** Of no input at all: many can tell nothing of that. */
function patternsOf({ patterns }: Tool): unknown {
  if (patterns === undefined) return [];
  try {
    const given: unknown = patterns({}, { cwd: process.cwd() });
    Promise.resolve(given).catch(() => {});
    return given;
  } catch {
    return [];
  }
}

/**
 * What every plugin must keep; the checks of its tools are among them. `context` fills in what its setup needs; its
 * `options` are checked by the plugin's schema, and get its defaults. Rejects where the runtime would refuse the plugin.
 */
export async function pluginChecks(plugin: Plugin, context: Partial<PluginContext> = {}): Promise<Check[]> {
  const contextOf = ({ options = {} }: { options?: Record<string, unknown> }) => testContext({ ...context, options });
  const start = () => setUp(plugin, { plugin, options: context.options ?? {} }, { contextOf, report: () => {} });
  const named = (name: string, run: () => Promise<void>): Check => ({ name: `${plugin.name}: ${name}`, run });
  const first = await start();
  return [
    named("has a name and the version of the contract", async () => {
      assert.ok(plugin.name.length > 0);
      assert.equal(plugin.api ?? PLUGIN_API, PLUGIN_API);
    }),
    named("can be set up twice, each time anew, in time", async () => {
      const startedAt = performance.now();
      const second = await start();
      assert.ok(performance.now() - startedAt < LOAD_LIMIT_MS);
      assert.notEqual(first, second);
      assert.deepEqual(namesOf(first.tools), namesOf(second.tools));
      await second.dispose?.();
    }),
    ...(first.tools ?? []).flatMap(toolChecks),
    named("can be disposed", async () => first.dispose?.()),
  ];
}

const namesOf = (tools: Tool[] = []): string[] => tools.map(({ name }) => name);

const refuseToWrite = async (): Promise<never> => {
  throw new Error("A setup must not write.");
};
const refuseNetwork = async (): Promise<never> => {
  throw new Error("A setup must not use the network.");
};

const testContext = (context: Partial<PluginContext>): PluginContext => ({
  cwd: process.cwd(),
  packageDirs: [],
  options: {},
  config: {},
  log: silentLog,
  fetch: refuseNetwork,
  startProcess: async () => {
    throw new Error("A setup must not start a process.");
  },
  dataDir: refuseToWrite,
  openStore: refuseToWrite,
  lock: refuseToWrite,
  ask: refuseNetwork,
  embed: refuseNetwork,
  redact: (text) => text,
  reload: async () => false,
  extensions: () => [],
  report: (message) => {
    throw new Error(`A setup has nothing to report: ${message}`);
  },
  lasting: (make) => make(),
  ...context,
});

export interface ProviderCheckOptions {
  /** Options that make it work against a server of the test. */
  options: ProviderOptions;
  /** A model id of that server; it answers with some text. */
  model: string;
  fetch: typeof globalThis.fetch;
}

/** What every provider must keep, shown against a server that answers with some text. */
export function providerChecks(provider: Provider, { options, model, fetch }: ProviderCheckOptions): Check[] {
  const named = (name: string, run: () => Promise<void>): Check => ({ name: `${provider.id}: ${name}`, run });
  const ask = async (signal: AbortSignal) => {
    const factory = await provider.create(options, { fetch, log: silentLog });
    const made = await factory(model);
    const { stream } = await made.doStream({ prompt: [{ role: "user", content: [{ type: "text", text: "hello" }] }], abortSignal: signal });
    const parts: LanguageModelV3StreamPart[] = [];
    for await (const part of stream as unknown as AsyncIterable<LanguageModelV3StreamPart>) parts.push(part);
    return parts;
  };
  return [
    named("has an id that can stand before a /", async () => assert.match(provider.id, /^[\w.-]+$/)),
    named("sends nothing before it is asked", async () => {
      const refuse = async () => assert.fail("create used the network");
      const factory = await provider.create(options, { fetch: refuse as never, log: silentLog });
      await factory(model);
    }),
    named("streams text and ends with a finish", async () => {
      const parts = await ask(new AbortController().signal);
      assert.ok(
        parts.some((part) => part.type === "text-delta" && part.delta.length > 0),
        "no text came",
      );
      assert.equal(parts.at(-1)?.type, "finish");
      assert.deepEqual(
        parts.filter((part) => part.type === "error"),
        [],
      );
    }),
    named("heeds the signal", async () => {
      await assert.rejects(ask(AbortSignal.abort(new Error("stopped"))));
    }),
  ];
}
