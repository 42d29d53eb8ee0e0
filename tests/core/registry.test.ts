import { describe, expect, test } from "vitest";
import { z } from "zod";
import * as zod3 from "zod/v3";
import { type Contribution, definePlugin, type LazyPlugin, type Plugin } from "../../core/plugin.ts";
import { provider } from "../../core/provider.ts";
import { createRegistry, type PluginEntry } from "../../core/registry.ts";
import { tool } from "../../core/tool.ts";

const makeTool = (name: string, output = "") => tool({ name, description: name, input: z.object({}), run: () => output });
const makeProvider = (id: string, name = id) => provider({ id, name, create: () => () => ({}) as never });
const plugin = (name: string, contribution: Contribution = {}, more: Partial<Plugin> = {}): Plugin =>
  definePlugin({ name, setup: () => contribution, ...more });

/** A lazy entry that counts how often it is loaded. */
function lazy(name: string, provides: LazyPlugin["provides"], contribution: Contribution) {
  const load = async () => {
    counted.count++;
    return { default: plugin(name, contribution) };
  };
  const counted = { count: 0, entry: { name, provides, load } as LazyPlugin };
  return counted;
}

async function registryOf(plugins: (Plugin | LazyPlugin | PluginEntry)[], limitMs = 5000) {
  const faults: string[] = [];
  const entries = plugins.map((given): PluginEntry => ("plugin" in given ? given : { plugin: given }));
  const contextOf = ({ name, options }: { name: string; options?: Record<string, unknown> }) => ({ name, options }) as never;
  const registry = await createRegistry(entries, { contextOf, report: ({ plugin, message }) => faults.push(`${plugin}: ${message}`), limitMs });
  return { registry, faults };
}

describe("names", () => {
  test("are unique: two tools of one name stop the start and name both plugins", async () => {
    await expect(registryOf([plugin("one", { tools: [makeTool("read")] }), plugin("two", { tools: [makeTool("read")] })])).rejects.toMatchObject({
      code: "PLUGIN_CONFLICT",
      exit: 2,
      text: 'Both one and two bring the tool "read".\nRemove one, or let the second say replaces: ["read"].',
    });
  });

  test("are taken over by a plugin that says so", async () => {
    const { registry } = await registryOf([
      plugin("one", { tools: [makeTool("read", "1")] }),
      plugin("two", { tools: [makeTool("read", "2")] }, { replaces: ["read"] }),
    ]);
    expect([...registry.tools.keys()]).toEqual(["read"]);
    expect(await registry.tools.get("read")?.run({}, {} as never)).toBe("2");
  });

  test("of a lazy plugin collide before it is loaded", async () => {
    const { entry, count } = lazy("one", { providers: ["x"] }, { providers: [makeProvider("x")] });
    await expect(registryOf([entry, plugin("two", { providers: [makeProvider("x")] })])).rejects.toThrow('Both one and two bring the provider "x".');
    expect(count).toBe(0);
  });

  test("of a lazy plugin stay replaced when it is loaded for another of its names", async () => {
    const presets = lazy("presets", { providers: ["x", "y"] }, { providers: [makeProvider("x", "preset"), makeProvider("y", "preset")] });
    const { registry } = await registryOf([presets.entry, plugin("mine", { providers: [makeProvider("x", "mine")] }, { replaces: ["x"] })]);
    expect((await registry.provider("y"))?.name).toBe("preset");
    expect((await registry.provider("x"))?.name).toBe("mine");
  });

  test("of one kind are no matter to those of another", async () => {
    await registryOf([
      plugin("one", { tools: [makeTool("x")] }),
      plugin("two", { providers: [makeProvider("x")] }),
      plugin("three", { commands: [{ name: "x", description: "", run: () => 0 }] }),
    ]);
  });
});

describe("a lazy plugin", () => {
  test("is not loaded before something of it is asked for, and then once", async () => {
    const counted = lazy(
      "presets",
      { providers: ["x"], commands: ["c"] },
      { providers: [makeProvider("x")], commands: [{ name: "c", description: "", run: () => 0 }], hooks: { system: () => "" } },
    );
    const { registry } = await registryOf([counted.entry]);
    expect(registry.providerIds()).toEqual(["x"]);
    expect(await registry.provider("other")).toBeUndefined();
    expect([counted.count, registry.hooks.length]).toEqual([0, 0]);
    await Promise.all([registry.provider("x"), registry.provider("x"), registry.command("c")]);
    expect([counted.count, registry.hooks.length]).toEqual([1, 1]);
  });

  test('with "*" is asked for every provider that nobody else brings, and is none itself', async () => {
    const any = lazy("any", { providers: ["*"] }, { providers: [makeProvider("mine")] });
    const { registry } = await registryOf([plugin("one", { providers: [makeProvider("x")] }), any.entry]);
    await registry.provider("x");
    expect(any.count).toBe(0);
    expect(registry.providerIds()).toEqual(["x"]);
    expect((await registry.provider("mine"))?.id).toBe("mine");
    expect(await registry.provider("nobody")).toBeUndefined();
    expect(any.count).toBe(1);
  });

  test("without names is loaded at the start", async () => {
    const counted = lazy("files", undefined, { tools: [makeTool("read")] });
    const { registry } = await registryOf([counted.entry]);
    expect([counted.count, registry.tools.has("read")]).toEqual([1, true]);
  });

  test("that cannot be loaded fails whoever asks for it", async () => {
    const { registry } = await registryOf([
      {
        name: "bad",
        provides: { providers: ["x"] },
        load: async () => {
          throw new Error("no such file");
        },
      },
    ]);
    for (let time = 0; time < 2; time++)
      await expect(registry.provider("x")).rejects.toMatchObject({ code: "PLUGIN_BROKEN", message: "The plugin bad cannot be loaded: no such file" });
  });
});

describe("a plugin that is broken", () => {
  const reasonOf = (given: Plugin | LazyPlugin, limitMs?: number) =>
    registryOf([given], limitMs).then(
      () => "",
      (error) => `${error.code}: ${error.message}`,
    );

  test("stops the start with its name and the reason", async () => {
    expect(
      await reasonOf(
        plugin(
          "p",
          {},
          {
            setup: () => {
              throw new Error("oops");
            },
          },
        ),
      ),
    ).toBe("PLUGIN_BROKEN: The plugin p cannot be loaded: oops");
    expect(await reasonOf(plugin("p", undefined, { setup: () => undefined as never }))).toContain("setup returned no contribution");
    expect(await reasonOf({ name: "p", api: 2, setup: () => ({}) })).toContain('"p" is written for version 2 of the plugin contract; this is version 1.');
    expect(await reasonOf({ name: "p", load: async () => ({}) as never })).toContain("it has no default export");
    expect(await reasonOf({ name: "p", load: async () => ({ default: (() => {}) as never }) })).toContain("its default export is a function");
  });

  test.each<[string, unknown, string]>([
    ["a tool that is nothing", { tools: [null] }, "one of its tools is not an object."],
    ["a provider that is nothing", { providers: [undefined] }, "one of its providers is not an object."],
    [
      "a part that does not exist",
      { tool: [] },
      'setup returned "tool", which is nothing known; it may return tools, lateTools, providers, hooks, commands, extensions, finish, dispose.',
    ],
    ["a hook beside its place", { permission: () => "deny" }, 'setup returned "permission", which is nothing known'],
    ["a list", [], "setup returned no contribution"],
    ["an end that is no function", { dispose: 5 }, "its dispose is not a function."],
    ["a list of hooks", { hooks: [] }, "its hooks are not an object."],
    ["a list of observers", { hooks: { on: [] } }, 'its hooks "on" are not an object.'],
    ["an event that does not exist", { hooks: { on: { "tool.finnish": () => {} } } }, 'there is no event "tool.finnish"; events are session.start, '],
    ["two tools of one name", { tools: [makeTool("read"), makeTool("read")] }, 'it brings the tool "read" twice.'],
    ["two commands of one name", { commands: ["c", "c"].map((name) => ({ name, description: "", run: () => 0 })) }, 'it brings the command "c" twice.'],
  ])("by contributing %s says so", async (_, contribution, reason) => {
    expect(await reasonOf(plugin("p", contribution as Contribution))).toContain(`PLUGIN_BROKEN: The plugin p cannot be loaded: ${reason}`);
  });

  test("by a schema that no model can be told is named with its tool, and left out where that is wanted", async () => {
    const mute = { "~standard": { version: 1, vendor: "mute", validate: (value: unknown) => ({ value }) } };
    for (const [input, vendor] of [
      [mute, '"mute"'],
      [zod3.z.object({ a: zod3.z.string() }), '"zod" 3'],
    ] as const) {
      const broken = plugin("p", { tools: [{ ...makeTool("read"), input: input as never }] });
      const reason = `The plugin p cannot be loaded: the input of the tool "read": a schema of ${vendor} cannot be given as JSON Schema; use the z of agent-runtime, zod 4, or write JSON Schema.`;
      expect(await reasonOf(broken)).toBe(`PLUGIN_BROKEN: ${reason}`);
      expect((await registryOf([{ plugin: broken, skipWhenBroken: true }])).faults).toEqual([`p: ${reason}`]);
    }
  });

  test("by wrong options says which", async () => {
    expect(await reasonOf(definePlugin({ name: "p", options: z.object({ port: z.number() }), setup: () => ({}) }))).toMatch(/its options are wrong: port: /);
  });

  test("in that it never comes back is given up after the limit", async () => {
    const never = new Promise<never>(() => {});
    expect(await reasonOf(plugin("p", {}, { setup: () => never }), 20)).toContain("it took longer than 0.02 s.");
    expect(await reasonOf({ name: "p", load: () => never }, 20)).toContain("it took longer than 0.02 s.");
    const options = z.object({}).refine(() => never);
    expect(await reasonOf(definePlugin({ name: "p", options, setup: () => ({}) }), 20)).toContain("it took longer than 0.02 s.");
  });

  test("is reported and left out where that is wanted, but a conflict still stops the start", async () => {
    const broken = plugin(
      "bad",
      {},
      {
        setup: () => {
          throw new Error("oops");
        },
      },
    );
    const { registry, faults } = await registryOf([{ plugin: broken, skipWhenBroken: true }, plugin("good", { tools: [makeTool("read")] })]);
    expect(faults).toEqual(["bad: The plugin bad cannot be loaded: oops"]);
    expect([...registry.tools.keys()]).toEqual(["read"]);
    const second = { plugin: plugin("two", { tools: [makeTool("read")] }), skipWhenBroken: true };
    await expect(registryOf([plugin("one", { tools: [makeTool("read")] }), second])).rejects.toMatchObject({ code: "PLUGIN_CONFLICT" });
  });
});

test("a plugin gets its options as its schema gives them", async () => {
  let options: unknown;
  const given = definePlugin({
    name: "p",
    options: z.object({ port: z.number().default(80) }),
    setup(context) {
      options = context.options;
      return {};
    },
  });
  await registryOf([{ plugin: given, options: {} }]);
  expect(options).toEqual({ port: 80 });
});

describe("disposing", () => {
  const disposed: string[] = [];
  const closing = (name: string, dispose: () => void | Promise<void> = () => void disposed.push(name)) => plugin(name, { dispose });

  test("goes in reverse order, once, and past a plugin that fails or hangs", async () => {
    disposed.length = 0;
    const plugins = [
      closing("a"),
      closing("bad", () => {
        throw new Error("oops");
      }),
      closing("stuck", () => new Promise(() => {})),
      closing("b"),
    ];
    const { registry, faults } = await registryOf(plugins, 20);
    await registry.dispose();
    await registry.dispose();
    expect(disposed).toEqual(["b", "a"]);
    expect(faults).toEqual(["stuck: dispose: it took longer than 0.02 s.", "bad: dispose: oops"]);
  });

  test("happens also to those that were set up before the one that stopped the start", async () => {
    disposed.length = 0;
    await expect(
      registryOf([
        closing("a"),
        closing("b"),
        plugin(
          "bad",
          {},
          {
            setup: () => {
              throw new Error("oops");
            },
          },
        ),
      ]),
    ).rejects.toThrow("oops");
    expect(disposed).toEqual(["b", "a"]);
  });
});
