import { expect, test } from "vitest";
import { z } from "../../core/index.ts";
import { type Contribution, definePlugin } from "../../core/plugin.ts";
import { boot, call, say } from "../../core/testing/index.ts";
import { type Tool, tool } from "../../core/tool.ts";

const make = (name: string, says = name): Tool => tool({ name, description: says, input: z.object({}), effect: "read", run: () => says });
const late = (list: NonNullable<Contribution["lateTools"]>["list"], prefixes = ["srv__"]) =>
  definePlugin({ name: "late", setup: () => ({ lateTools: { prefixes, list, sources: () => [{ name: "srv", status: "connected" }] } }) });
const namesIn = (request: any): string[] => request.tools.map(({ name }: any) => name);
const faultsOf = (events: any[]): string[] => events.filter(({ type }) => type === "plugin.error").map(({ message }) => message);

test("tools that come while a prompt runs join at its next step, and those that go leave", async () => {
  let tools: readonly Tool[] = [];
  const grow = tool({
    name: "grow",
    description: "",
    input: z.object({}),
    effect: "read",
    run() {
      tools = [...tools, make(`srv__${tools.length}`)];
      return "grown";
    },
  });
  const other = definePlugin({ name: "other", setup: () => ({ tools: [grow] }) });
  await using agent = await boot({ plugins: [late(() => tools), other], script: [call("grow"), call("srv__0"), call("grow"), say("ok"), say("ok")] });
  const { toolOutputs } = await agent.prompt("go");
  expect(toolOutputs).toEqual(["grown", "srv__0", "grown"]);
  expect(agent.requests.map(namesIn)).toEqual([["grow"], ["grow", "srv__0"], ["grow", "srv__0"], ["grow", "srv__0", "srv__1"]]);
  tools = [];
  expect(await agent.runtime.tools()).toEqual(["grow"]);
  expect(agent.runtime.toolSources()).toEqual([{ name: "srv", status: "connected" }]);
});

test("no late tool gets a name that is not its own, and who brings one is told once", async () => {
  const own = definePlugin({ name: "own", setup: () => ({ tools: [make("read", "mine"), make("srv__taken", "mine")] }) });
  const given = [
    make("read", "theirs"),
    make("srv__taken", "theirs"),
    make("srv__fine"),
    make("srv__fine", "twin"),
    { ...make("srv__odd"), name: "srv__odd name" },
    null as never,
  ];
  await using agent = await boot({ plugins: [own, late(() => given)], script: [call("read"), call("srv__taken"), call("srv__fine"), say("ok")] });
  const { toolOutputs, events } = await agent.prompt("go");
  expect(toolOutputs).toEqual(["mine", "mine", "srv__fine"]);
  expect(faultsOf(events)).toEqual([
    'the name of the tool "read" begins with none of srv__.',
    'there is a tool "srv__taken" already.',
    'there is a tool "srv__fine" already.',
    '"srv__odd name" is not a tool name: use 1 to 64 letters, digits, _ and -.',
    '"undefined" is not a tool name: use 1 to 64 letters, digits, _ and -.',
  ]);
  expect(faultsOf((await agent.prompt("again")).events)).toEqual([]);
});

test("tools that cannot be listed are told of, and the run goes on with those it has", async () => {
  await using agent = await boot({ plugins: [late(() => Promise.reject(new Error("no way")))], script: [say("ok")] });
  const { text, events } = await agent.prompt("go");
  expect([text, faultsOf(events)]).toEqual(["ok", ["its tools cannot be listed: no way"]]);
});

test("who names a tool that is yet to come is not refused, and patterns name many", async () => {
  const tools = [make("srv__a"), make("srv__b")];
  for (const [choice, names] of [
    [{ tools: ["srv__a", "srv__late"] }, ["srv__a"]],
    [{ tools: ["srv__*"] }, ["srv__a", "srv__b"]],
    [{ disableTools: ["srv__a", "srv__late"] }, ["srv__b"]],
    [{ disableTools: ["srv__*"] }, []],
  ] as [object, string[]][]) {
    await using agent = await boot({ plugins: [late(() => tools)], script: [say("ok")], ...choice });
    await agent.prompt("go");
    expect(namesIn({ tools: [], ...agent.requests[0] })).toEqual(names);
  }
});

test.each([
  [{ list: () => [] }, "its lateTools are not { prefixes, list }."],
  [{ prefixes: [""], list: () => [] }, "its lateTools are not { prefixes, list }."],
  [{ prefixes: ["a"], list: () => [], sources: 1 }, "the sources of its lateTools are not a function."],
])("what is of another shape is refused at the start: %j", async (lateTools, reason) => {
  await expect(boot({ plugins: [definePlugin({ name: "p", setup: () => ({ lateTools: lateTools as never }) })] })).rejects.toThrow(reason);
});
