import { describe, expect, test } from "vitest";
import { selectTools, type ToolChoice } from "../../core/select-tools.ts";
import { type Effect, type Tool, tool } from "../../core/tool.ts";

const make = (name: string, effect: Effect, optional = false): [string, Tool] => [
  name,
  tool({ name, description: name, effect, optional, input: { type: "object" }, run: () => "" }),
];
const all = new Map([make("read", "read"), make("write", "write"), make("bash", "run"), make("webfetch", "net"), make("websearch", "net", true)]);
const select = (choice: Partial<ToolChoice> = {}) => [...selectTools(all, { options: {}, config: {}, profile: undefined, ...choice }).keys()];

describe("the tools of a prompt", () => {
  test("are all but the optional ones, in the order of their plugins", () => expect(select()).toEqual(["read", "write", "bash", "webfetch"]));

  test("are exactly those of --tools, optional ones too", () => expect(select({ options: { tools: ["websearch", "read"] } })).toEqual(["read", "websearch"]));

  test("are without those of --disable-tools, whatever the configuration says", () => {
    expect(select({ options: { disableTools: ["bash"] }, config: { tools: { bash: true } }, profile: { tools: { "*": true } } })).toEqual([
      "read",
      "write",
      "webfetch",
      "websearch",
    ]);
  });

  test("only look with --read-only", () => expect(select({ options: { readOnly: true } })).toEqual(["read", "webfetch"]));

  test("are switched by the configuration, with wildcards, the last that fits", () => {
    expect(select({ config: { tools: { "web*": false } } })).toEqual(["read", "write", "bash"]);
    expect(select({ config: { tools: { "*": false, read: true, websearch: true } } })).toEqual(["read", "websearch"]);
  });

  test("are switched by the profile before the configuration", () => {
    expect(select({ config: { tools: { bash: false } }, profile: { tools: { bash: true, write: false } } })).toEqual(["read", "bash", "webfetch"]);
  });

  test("of a child are without those that its task withholds", () => expect(select({ withheld: ["write"] })).toEqual(["read", "bash", "webfetch"]));

  test("have names that exist, or the start fails", () => {
    expect(() => select({ options: { tools: ["reed"] } })).toThrow('There is no tool "reed" to switch on or off.');
    expect(() => select({ options: { disableTools: ["reed"] } })).toThrow(expect.objectContaining({ code: "TOOL_UNAVAILABLE", exit: 2 }));
  });

  test("are not chosen by a dot or a bracket as if it were a pattern", () =>
    expect(select({ config: { tools: { "r.ad": false, "[a-z]*": false } } })).toContain("read"));

  test("go with those whose work they do, unless they are named", () => {
    const patch: [string, Tool] = ["patch", { ...make("patch", "write")[1], insteadOf: ["write", "edit"] }];
    const tools = new Map([make("write", "write"), make("edit", "write"), patch, make("read", "read")]);
    const chosen = (choice: Partial<ToolChoice>) => [...selectTools(tools, { options: {}, config: {}, profile: undefined, ...choice }).keys()].join();
    const off = { tools: { edit: false, write: false } };
    expect(chosen({})).toBe("write,edit,patch,read");
    expect(chosen({ config: { tools: { edit: false } } })).toBe("write,patch,read");
    expect(chosen({ config: off })).toBe("read");
    expect(chosen({ config: { tools: { ...off.tools, patch: true } } })).toBe("patch,read");
    expect(chosen({ config: { tools: { edit: false } }, profile: { tools: { write: false } } })).toBe("read");
    expect(chosen({ options: { disableTools: ["edit", "write"] }, config: { tools: { patch: true } } })).toBe("read");
    expect(chosen({ options: { tools: ["patch"], disableTools: ["edit", "write"] } })).toBe("patch");
    expect(chosen({ withheld: ["edit", "write"] })).toBe("read");
    expect(chosen({ above: [off], profile: { tools: { patch: true } } })).toBe("read");
  });

  test("are offered at all times where they are named", () => {
    const sometimes = new Map([["notes", { ...make("notes", "read")[1], offer: () => false }]]);
    const offerOf = (choice: Partial<ToolChoice>) => selectTools(sometimes, { options: {}, config: {}, profile: undefined, ...choice }).get("notes")?.offer;
    expect(offerOf({})).toBeDefined();
    expect(offerOf({ options: { tools: ["notes"] } })).toBeUndefined();
    expect(offerOf({ config: { tools: { notes: true } } })).toBeUndefined();
  });
});
