import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type CommandRun, isBuilt, JSON_OUT, MODEL, makeHomeWith, ofType, removeHomes, runCommand } from "./command.ts";
import { type Call, runTools, statesOf, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const ALL = ["--tools", "read,write,edit,multiedit,patch,bash,batch"];
const patchOf = (...lines: string[]): Call => ["patch", { patchText: ["*** Begin Patch", ...lines, "*** End Patch"].join("\n") }];
const edit = (filePath: string, oldString: string, newString: string, more: object = {}): Call => ["edit", { filePath, oldString, newString, ...more }];
const multiedit = (filePath: string, ...edits: [string, string][]): Call => [
  "multiedit",
  { filePath, edits: edits.map(([oldString, newString]) => ({ oldString, newString })) },
];
const write = (filePath: string, content: string): Call => ["write", { filePath, content }];
const read = (filePath: string): Call => ["read", { filePath }];
const workOf = (home: string) => {
  const at = (path: string) => join(home, "work", path);
  return { at, text: (path: string) => readFileSync(at(path), "utf8"), names: () => readdirSync(join(home, "work"), { recursive: true }).map(String).sort() };
};

/** Runs `agent` with a model that makes one call after the other, each in a turn of its own. */
async function runTurns(calls: Call[], { args = [], ...options }: CommandRun = {}) {
  const run = await runCommand({
    args: [...MODEL, ...JSON_OUT, "-p", "go", ...args],
    script: [...calls.map((call) => turn(call)), { text: "ok" }],
    ...options,
  });
  return { ...run, outputs: toolOutputsOf(run.requests.at(-1)) };
}

describe.skipIf(!isBuilt)("write, edit, multiedit and patch", { concurrent: true }, () => {
  test("change files, one after the other, and say what they did", async () => {
    const home = makeHomeWith({ "work/code.py": "def a():\r\n    return 1\r\n\r\ndef b():\r\n    return 1\r\n", "work/old.txt": "old\n" });
    const { at, text, names } = workOf(home);
    chmodSync(at("code.py"), 0o755);
    symlinkSync("code.py", at("link.py"));
    const run = await runTurns(
      [
        write("dir/new.txt", "one\ntwo\n"),
        edit("link.py", "def a():", "def a(x):"),
        edit("code.py", "def b():  \nreturn 1", "def b():\nreturn '$&'"),
        multiedit("dir/new.txt", ["one", "1"], ["two", "2"]),
        patchOf(
          "*** Update File: dir/new.txt",
          "*** Move to: moved.txt",
          "@@",
          " 1",
          "-2",
          "+3",
          "*** Delete File: old.txt",
          "*** Add File: made.txt",
          "+made",
        ),
        write("moved.txt", "1\n4\n"),
      ],
      { home, args: ALL },
    );
    expect(run.code).toBe(0);
    expect(run.outputs).toEqual([
      "Created dir/new.txt (2 lines, 8 bytes).",
      "Edited code.py: 1 replacement (+1 -1 lines).\n@@ -1,3 +1,3 @@\n-def a():\r\n+def a(x):\r\n     return 1",
      expect.stringMatching(
        /^Edited code\.py: 1 replacement .*\noldString was not there exactly; found by line-trimmed, overlooking white space around lines\./,
      ),
      "Edited dir/new.txt: 2 edits (+2 -2 lines).\n1. 1 replacement, exact\n2. 1 replacement, exact\n@@ -1,2 +1,2 @@\n-one\n-two\n+1\n+2",
      "M dir/new.txt -> moved.txt (+1 -1 lines)\nD old.txt\nA made.txt\n@@ -1,2 +1,2 @@\n 1\n-2\n+3",
      "Overwrote moved.txt (2 lines, 4 bytes).",
    ]);
    expect(text("code.py")).toMatch(/^def a\(x\):\r\n {4}return 1\r\n\r\ndef b\(\):\r\n\s*return '\$&'\r\n$/);
    expect([statSync(at("code.py")).mode & 0o777, text("moved.txt"), text("made.txt")]).toEqual([0o755, "1\n4\n", "made\n"]);
    expect(names()).toEqual(["code.py", "dir", "link.py", "made.txt", "moved.txt"]);
    const files = ofType(run, "tool_use").find(({ part }) => part.tool === "patch").part.state.metadata.files;
    expect(files.map(({ kind, path }: { kind: string; path: string }) => `${kind} ${path}`)).toEqual(["move moved.txt", "delete old.txt", "add made.txt"]);
  });

  test("say of every fault what it is and what to do", async () => {
    const home = makeHomeWith({ "work/a.txt": "x\nx\n", "work/b.txt": "b\n", "work/dir/c.txt": "c\n" });
    writeFileSync(join(home, "work/wide.txt"), Buffer.from("\uFEFFx\n", "utf16le"));
    const { names, text } = workOf(home);
    const before = names();
    const first = ["*** Update File: b.txt", "@@", "-b", "+B"];
    const run = await runTools(
      [
        edit("a.txt", "x", "y"),
        edit("a.txt", "z", "y"),
        edit("a.txt", "x", "x"),
        edit("a.txt", "", "y"),
        edit("nope/a", "x", "y"),
        edit("dir", "x", "y"),
        edit("wide.txt", "x", "y"),
        edit("../a.txt", "x", "y"),
        write("b.txt", "x"),
        multiedit("a.txt", ["x\nx", "y"], ["z", "y"]),
        multiedit("a.txt"),
        ["patch", { patchText: "--- a\n+++ b" }],
        patchOf(...first, "*** Update File: a.txt", "@@", "-x", "+y"),
        patchOf(...first, "*** Update File: a.txt", "@@", "-z", "+y"),
        patchOf(...first, "*** Add File: a.txt", "+y"),
        patchOf(...first, "*** Add File: b.txt/x", "+y"),
        patchOf(...first, "*** Add File: ../x", "+y"),
        ["patch", { patchText: `*** Begin Patch\n${first.join("\n")}` }],
        ["patch", { text: "" }],
      ],
      { home, args: ALL },
    );
    const copy = "Read the file again and copy the text exactly, without line numbers.";
    expect(run.outputs.slice(0, 18)).toEqual([
      "a.txt was not changed: oldString was found 2 times.\nAdd surrounding lines to oldString until it is unique, or set replaceAll.",
      `a.txt was not changed: oldString was not found in it.\n${copy}`,
      "a.txt was not changed: oldString and newString are the same.\nGive the text as it is and as it shall be.",
      "a.txt was not changed: oldString is empty and the file is not.\nGive the text to replace, or use write for the whole file.",
      "File not found: nope/a",
      "dir was not changed: it is a directory.\nGive the path of a file.",
      "wide.txt was not changed: it is UTF-16 text, not UTF-8.\nConvert it first, for example with iconv -f UTF-16 -t UTF-8, and back afterwards.",
      `../a.txt is outside the workspace.\nUse a path below ${join(home, "work")}.`,
      "b.txt was not changed: it exists and was not read in this session.\nRead it first, then write it, or change it with edit.",
      `a.txt was not changed: edit 2 of 2: oldString was not found in it.\n${copy}`,
      expect.stringMatching(/^The input of multiedit is invalid: edits/),
      'Nothing was changed. Line 1 of the patch: it begins with "--- a".\nThe first line of a patch is "*** Begin Patch" and the last one "*** End Patch".',
      'Nothing was changed. Line 7 of the patch: this hunk fits a.txt at 2 places.\nGive it more lines around the change, or name a line above it behind "@@".',
      'Nothing was changed. Line 7 of the patch: a.txt has no line "z", which this hunk names.\nRead the file again and copy the lines that stay or go as they are, each behind its space or -.',
      'Nothing was changed. Line 6 of the patch: a.txt: it exists.\nChange it with "*** Update File", or choose another path.',
      "Nothing was changed. Line 6 of the patch: b.txt is not a directory, or a parent of it is not.",
      `../x is outside the workspace.\nUse a path below ${join(home, "work")}.`,
      'Nothing was changed. Line 5 of the patch: it does not end with "*** End Patch", so it may have been cut off.\nSend it whole, or in several smaller ones.',
    ]);
    expect(run.outputs[18]).toMatch(/^The input of patch is invalid: patchText/);
    expect([names(), text("a.txt"), text("b.txt")]).toEqual([before, "x\nx\n", "b\n"]);
  });

  test("refuse a file that changed since it was read, until it is read again", async () => {
    const home = makeHomeWith({ "work/a.txt": "a\n", "work/b.txt": "b\n" });
    const touch: Call = ["bash", { command: "echo other >> a.txt" }];
    const patch = patchOf("*** Update File: b.txt", "@@", "-b", "+B", "*** Update File: a.txt", "@@", "-a", "+A");
    const stale = "was not changed: it changed since it was read.\nRead it again, then edit it.";
    const calls = [read("a.txt"), touch, edit("a.txt", "a", "A"), multiedit("a.txt", ["a", "A"]), write("a.txt", "A"), patch, read("a.txt"), patch];
    const run = await runTurns(calls, { home, args: ALL });
    expect(run.outputs.slice(2, 6)).toEqual([
      `a.txt ${stale}`,
      `a.txt ${stale}`,
      "a.txt was not changed: it changed since it was read.\nRead it first, then write it, or change it with edit.",
      "Nothing was changed. Line 6 of the patch: a.txt: it changed since it was read.\nRead it again, then edit it.",
    ]);
    const { text } = workOf(home);
    expect([run.outputs[7]?.slice(0, 45), text("a.txt"), text("b.txt")]).toEqual(["M b.txt (+1 -1 lines)\nM a.txt (+1 -1 lines)\n-", "A\nother\n", "B\n"]);
  });
});

describe.skipIf(!isBuilt)("permissions", { concurrent: true }, () => {
  const calls: Call[] = [
    write("new.txt", "x"),
    edit("a.txt", "a", "A"),
    multiedit("b.txt", ["b", "B"]),
    patchOf("*** Update File: c.txt", "@@", "-c", "+C", "*** Add File: secret/d.txt", "+d"),
    patchOf("*** Update File: d.txt", "*** Move to: secret/moved.txt"),
    patchOf("*** Delete File: secret/key.txt"),
    patchOf("*** Update File: e.txt", "@@", "-e", "+E"),
    ["batch", { tool_calls: [{ tool: "patch", parameters: { patchText: "*** Begin Patch\n*** Delete File: secret/key.txt\n*** End Patch" } }] }],
  ];
  const files = { "work/a.txt": "a\n", "work/b.txt": "b\n", "work/c.txt": "c\n", "work/d.txt": "d\n", "work/e.txt": "e\n", "work/secret/key.txt": "key\n" };
  const content = (home: string) => {
    const { names, text, at } = workOf(home);
    return names().flatMap((name) => (statSync(at(name)).isFile() ? [`${name}=${text(name).trim()}`] : []));
  };
  const UNTOUCHED = ["a.txt=a", "b.txt=b", "c.txt=c", "d.txt=d", "e.txt=e", "secret/key.txt=key"];
  const ALLOWED = ["a.txt=A", "b.txt=B", "c.txt=c", "d.txt=d", "e.txt=E", "new.txt=x", "secret/key.txt=key"];
  const secret = { edit: { "secret/*": "deny" } };
  const profile = { agent: { careful: { permission: { edit: "deny" } } } };

  test.each([
    ["mode readonly", ["--permission-mode", "readonly"], {}, UNTOUCHED],
    ["mode plan", ["--permission-mode", "plan"], {}, UNTOUCHED],
    ["a rule of the command line", ["--permission", JSON.stringify(secret)], {}, ALLOWED],
    ["a rule of the configuration in mode yolo", ["--permission-mode", "yolo"], { permission: secret }, ALLOWED],
    ["a profile", ["--agent", "careful"], profile, UNTOUCHED],
  ])("of %s hold for every file that a call names", async (_, args, config, expected) => {
    const home = makeHomeWith({ ...files, ".config/agent/agent.json": config });
    const run = await runTools(calls, { home, args: [...ALL, ...args] });
    expect(run.code).toBe(0);
    expect(content(home)).toEqual(expected);
    const denied = run.outputs.filter((output) => output.startsWith("Denied: "));
    expect(denied.length).toBe(expected === UNTOUCHED ? 7 : 3);
    if (expected === ALLOWED) expect(denied[0]).toMatch(/^Denied: the rule .*secret\/\*.* forbids "secret\/d\.txt"/);
  });

  test("of --read-only leave the tools out", async () => {
    const run = await runTools(calls.slice(0, 4), { home: makeHomeWith(files), args: ["--read-only"] });
    expect(run.outputs.every((output) => output.startsWith("There is no tool"))).toBe(true);
  });
});

describe.skipIf(!isBuilt)("a model that was trained on patches", { concurrent: true }, () => {
  const toolsOf = async (model: string, args: string[] = []) => {
    const run = await runCommand({ args: ["--model", model, ...JSON_OUT, "-p", "go", ...args] });
    const names: string[] = (run.requests[0]?.body.tools ?? []).map(({ function: { name } }: any) => name);
    return names.filter((name) => ["write", "edit", "multiedit", "patch"].includes(name));
  };

  test("is offered patch in the place of edit and write, unless somebody says otherwise", async () => {
    const [claude, gpt, named, without, named5] = await Promise.all([
      toolsOf("openrouter/anthropic/claude-opus-4"),
      toolsOf("openrouter/openai/gpt-5"),
      toolsOf("openrouter/anthropic/claude-opus-4", ["--tools", "patch,multiedit"]),
      toolsOf("openrouter/openai/gpt-5", ["--disable-tools", "patch"]),
      toolsOf("openrouter/openai/gpt-5", ["--tools", "edit,read"]),
    ]);
    expect([claude, gpt]).toEqual([["write", "edit"], ["patch"]]);
    expect([named, without, named5]).toEqual([["multiedit", "patch"], ["write", "edit"], ["edit"]]);
  });

  test("is answered when it calls edit all the same", async () => {
    const home = makeHomeWith({ "work/a.txt": "a\n" });
    const run = await runTools([edit("a.txt", "a", "A")], { home, args: ["--model", "openrouter/openai/gpt-5"] });
    expect([statesOf(run), workOf(home).text("a.txt")]).toEqual([["edit:completed"], "A\n"]);
  });
});

test.skipIf(!isBuilt)("a patch that is interrupted leaves all or nothing, and nothing else behind", async () => {
  const home = makeHomeWith({ "work/a.txt": "a\n" });
  const content = `${`+${"x".repeat(90)}\n`.repeat(100)}`.trimEnd();
  const files = Array.from({ length: 99 }, (_, index) => [`*** Add File: dir${index}/new.txt`, content]).flat();
  const onSpawn: CommandRun["onSpawn"] = (child) => {
    const watcher = watch(join(home, "work"), () => {
      watcher.close();
      child.kill("SIGINT");
    });
  };
  const run = await runTools([patchOf("*** Update File: a.txt", "@@", "-a", "+A", ...files)], { home, onSpawn });
  expect(run.code).toBe(130);
  const { names, text } = workOf(home);
  expect(names()).toHaveLength(text("a.txt") === "A\n" ? 199 : 1);
});
