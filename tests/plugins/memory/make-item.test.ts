import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { capBytes, capField, capText } from "../../../plugins/memory/cap.ts";
import { createDuplicates, findEndLeftOut, findLeftOut } from "../../../plugins/memory/left-out.ts";
import { cleanPrompt, makeCallItem, makeEndItem, type SessionFacts, type ToolFinish } from "../../../plugins/memory/make-item.ts";
import { findBrought, isFromOutside, reachesNetwork } from "../../../plugins/memory/outside.ts";
import { createPrivateWords } from "../../../plugins/memory/private-text.ts";
import { workItemSchema } from "../../../plugins/memory/work-item.ts";

const KEY = "sk-or-v1-0123456789abcdef";
const cleaning = { redact: (text: string) => text.replaceAll(KEY, "[redacted]") };

const sessionOf = (facts: Partial<SessionFacts> = {}): SessionFacts => ({
  ...{ sessionId: "ses_1", prompt: 2, request: "Fix the parser", cwd: "/w", words: createPrivateWords(), hasOutside: false, brought: [] },
  ...facts,
});

type Given = Partial<Omit<ToolFinish, "state">> & { output?: string; error?: string; metadata?: Record<string, unknown> };

function finish({ output = "", error, metadata = {}, ...rest }: Given = {}): ToolFinish {
  const times = { startedAt: 1, endedAt: 2 };
  const state =
    error === undefined ? { status: "completed" as const, output, title: "", metadata, ...times } : { status: "error" as const, error, metadata, ...times };
  const source = { effect: "read" as const, patterns: ["src/a.ts"] };
  return {
    type: "tool.finish",
    sessionId: "ses_1",
    at: 5,
    messageId: "m",
    partId: "p",
    callId: "call_1",
    tool: "read",
    input: { filePath: "/w/src/a.ts" },
    source,
    ...rest,
    state,
  };
}

describe("a piece of work of a call", () => {
  test("fixes who, where, when and what, and keeps to its schema", () => {
    const item = makeCallItem(finish({ output: "<file>x</file>", metadata: { filePath: "src/a.ts" } }), sessionOf({ agent: "build" }), cleaning);
    expect(workItemSchema.parse(item)).toEqual(item);
    expect(item).toMatchObject({
      id: "ses_1/call_1",
      kind: "call",
      prompt: 2,
      request: "Fix the parser",
      agent: "build",
      cwd: "/w",
      at: 5,
      trust: "trusted",
      state: "pending",
      attempts: 0,
    });
    expect(item?.call).toMatchObject({
      tool: "read",
      effect: "read",
      patterns: ["src/a.ts"],
      input: '{"filePath":"/w/src/a.ts"}',
      status: "completed",
      filesRead: ["src/a.ts"],
      filesModified: [],
    });
  });

  test.each([
    ["what read has read", finish({ metadata: { filePath: "/w/src/a.ts" } }), { filesRead: ["src/a.ts"], filesModified: [] }],
    ["a directory is no file", finish({ metadata: { entries: 3 } }), { filesRead: [], filesModified: [] }],
    [
      "what write has written",
      finish({ tool: "write", source: { effect: "write", patterns: ["x"] }, metadata: { filePath: "src/new.ts" } }),
      { filesRead: [], filesModified: ["src/new.ts"] },
    ],
    [
      "what a patch has changed and moved",
      finish({ tool: "patch", source: { effect: "write", patterns: [] }, metadata: { files: [{ path: "b.ts", from: "a.ts" }, { path: "c.ts" }] } }),
      { filesRead: [], filesModified: ["b.ts", "a.ts", "c.ts"] },
    ],
    [
      "what another tool that writes was judged by",
      finish({ tool: "scaffold", source: { effect: "write", patterns: ["src/x.ts", "*"] } }),
      { filesRead: [], filesModified: ["src/x.ts"] },
    ],
    ["nothing, where it failed", finish({ tool: "write", source: { effect: "write", patterns: ["a.ts"] }, error: "no" }), { filesRead: [], filesModified: [] }],
    [
      "nothing, of a command",
      finish({ tool: "bash", source: { effect: "run", patterns: ["touch a"] }, metadata: { filePath: "a" } }),
      { filesRead: [], filesModified: [] },
    ],
    ["a file outside of the workspace by its whole path", finish({ metadata: { filePath: "/etc/hosts" } }), { filesRead: ["/etc/hosts"], filesModified: [] }],
  ])("proves files: %s", (_, event, files) => expect(makeCallItem(event, sessionOf(), cleaning)?.call).toMatchObject(files));

  test("holds no private text and no secret, in any of its fields, nor later in its session", () => {
    const session = sessionOf();
    const secret = "Canary-7781-Blue";
    const first = finish({
      tool: "bash",
      input: { command: `echo "<private>${secret}</private>" ${KEY}` },
      source: { effect: "run", patterns: [`echo "<private>${secret}</private>" ${KEY}`] },
      output: `${KEY} <PRIVATE>${secret}</PRIVATE> visible`,
      metadata: { exit: 0 },
    });
    const later = finish({
      input: { filePath: `/w/${secret}.txt` },
      source: { effect: "read", patterns: [`${secret}.txt`] },
      output: `it says ${secret}`,
      metadata: { filePath: `${secret}.txt` },
    });
    const all = JSON.stringify([
      makeCallItem(first, session, cleaning),
      makeCallItem(later, session, cleaning),
      makeEndItem({ text: `I told ${secret} and ${KEY}`, status: "success" } as never, 9, { session, cleaning }),
    ]);
    expect(all).not.toMatch(/Canary|sk-or/);
    expect(all).toContain("visible");
  });

  test("a tag that is opened in the input takes the output, too", () => {
    const item = makeCallItem(finish({ input: { pattern: "x <private> y" }, output: "SECRET" }), sessionOf(), cleaning);
    expect(JSON.stringify(item)).not.toContain("SECRET");
  });

  test("a tag that a terminal sequence disguises is one", () => {
    const hidden = "a <pri\u001b[1mvate>S3CRET</pri\u001b[1mvate> b";
    expect(makeCallItem(finish({ input: { text: hidden }, output: hidden }), sessionOf(), cleaning)?.call).toMatchObject({
      input: '{"text":"a  b"}',
      output: "a  b",
    });
    expect(cleanPrompt(hidden, createPrivateWords(), cleaning).text).toBe("a  b");
  });

  test("leaks nothing, wherever tags and texts are", () => {
    const part = fc.constantFrom("S3CRET", "<private>", "</private>", "<PRIVATE x>", "&lt;/private&gt;", "plain ", "<pri", "vate>");
    const texts = fc.array(part, { maxLength: 6 }).map((parts) => `<private>S3CRET</private>${parts.join("").replaceAll("S3CRET", "")}<private>S3CRET`);
    fc.assert(
      fc.property(texts, texts, fc.jsonValue({ maxDepth: 2 }), (input, output, more) => {
        const item = makeCallItem(finish({ input: { input, more, [input]: 1 }, output, source: { effect: "run", patterns: [input] } }), sessionOf(), cleaning);
        expect(JSON.stringify(item ?? "")).not.toContain("S3CRET");
      }),
    );
  });

  test("is none where all of it is private", () => {
    const source = { effect: "run" as const, patterns: [] };
    expect(makeCallItem(finish({ tool: "x", input: "<private>a", source, output: "b" }), sessionOf(), cleaning)).toBeUndefined();
  });

  test("takes an input that is nested without end", () => {
    const deep = JSON.parse("[".repeat(3_000) + "]".repeat(3_000));
    expect(makeCallItem(finish({ input: { deep } }), sessionOf(), cleaning)?.call?.input.length).toBeLessThan(300);
  });

  test("is capped at head and tail, with what was left out", () => {
    const { call } = makeCallItem(finish({ output: `HEAD${"x".repeat(100_000)}TAIL` }), sessionOf(), cleaning) ?? {};
    expect(call?.output.length).toBeLessThan(16_000);
    expect(call?.output).toMatch(/^HEAD[\s\S]*\[… 85608 of 100008 characters left out …\][\s\S]*TAIL$/);
  });
});

describe("a piece of work of the end of a prompt", () => {
  test("holds prompt and answer", () => {
    const item = makeEndItem({ text: "Done.", status: "success" } as never, 9, { session: sessionOf(), cleaning });
    expect(workItemSchema.parse(item)).toEqual(item);
    expect(item).toMatchObject({ id: "ses_1/#2", kind: "end", answer: "Done.", status: "success", trust: "trusted" });
    expect(makeEndItem({ text: "", status: "error" } as never, 9, { session: sessionOf({ hasOutside: true }), cleaning })).toMatchObject({
      trust: "untrusted",
    });
  });

  test("a prompt is cleaned, and says whether all of it was private", () => {
    const words = createPrivateWords();
    expect(cleanPrompt(`Use <private>Word-1234x</private> and ${KEY}`, words, cleaning)).toMatchObject({ text: "Use  and [redacted]", isPrivate: false });
    expect(cleanPrompt("again Word-1234x", words, cleaning).text).toBe("again [private]");
    expect(cleanPrompt("<private>all", words, cleaning)).toMatchObject({ text: "", isPrivate: true });
    expect(cleanPrompt("", words, cleaning)).toMatchObject({ text: "[media prompt]", isPrivate: false });
    expect(cleanPrompt("y".repeat(500_000), words, cleaning).text.length).toBeLessThan(4_100);
  });
});

describe("whose words a call has shown", () => {
  const outside = (given: Partial<Parameters<typeof isFromOutside>[0]>, session = {}) =>
    isFromOutside({ tool: "read", effect: "read", input: {}, patterns: [], output: "", ...given }, { hasOutside: false, brought: [], ...session });

  test("a stranger's: pages, servers of tools, code of others, what was put aside", () => {
    expect(outside({ tool: "webfetch", effect: "net" })).toBe(true);
    expect(outside({ tool: "docs__search", effect: "run" })).toBe(true);
    expect(outside({ patterns: ["node_modules/x/README.md"] })).toBe(true);
    expect(outside({ input: { filePath: "/data/tool-output/ses_1/3.txt" } })).toBe(true);
    expect(outside({ tool: "grep", output: "src/a.ts:1: x\nnode_modules/x/a.js:2: y" })).toBe(true);
    expect(outside({ tool: "bash", effect: "run", input: { command: "cat node_modules/x/README.md" } })).toBe(true);
    expect(outside({ tool: "task", effect: "read" }, { hasOutside: true })).toBe(true);
    expect(outside({ tool: "bash_output", effect: "read" }, { hasOutside: true })).toBe(true);
  });

  test("our own: files of the workspace and commands in it", () => {
    expect(outside({ patterns: ["src/a.ts"] })).toBe(false);
    expect(outside({ tool: "bash", effect: "run", input: { command: "npm test" } })).toBe(false);
    expect(outside({ tool: "task", effect: "read" })).toBe(false);
    expect(outside({ tool: "write", effect: "write", patterns: ["src/a.ts"] }, { hasOutside: true })).toBe(false);
  });

  test("a file that a command has brought is read as a stranger's", () => {
    const bring = (command: string) =>
      findBrought({ tool: "bash", effect: "run", input: { command }, patterns: [command], output: "" }, { hasOutside: false, brought: [] });
    expect(bring("curl -s https://x.org/a > notes/a.md")).toEqual(["notes/a.md"]);
    expect(bring("curl -o a.html https://x.org")).toEqual(["a.html"]);
    expect(bring("wget https://x.org/dir/b.tgz")).toEqual(["b.tgz"]);
    expect(bring("git clone https://x.org/y/repo.git")).toEqual(["repo"]);
    expect(bring("git clone --depth 1 https://x.org/y/repo.git vendor/it")).toEqual(["vendor/it"]);
    expect(bring("echo hi > a.txt")).toEqual([]);
    expect(outside({ patterns: ["repo/README.md"] }, { brought: ["repo"] })).toBe(true);
    expect(outside({ patterns: ["repository/README.md"] }, { brought: ["repo"] })).toBe(false);
  });

  test.each([
    ..."curl -s x|wget -q x|git clone u|git -C d fetch origin|npm install|npm i x|npx cowsay|pip install x|pip3 download x|python3 -m pip install x|cargo add x|go get x|sudo apt-get install x".split(
      "|",
    ),
    ..."cd a && curl x|FOO=1 curl x|timeout 10 curl x|bash -c 'curl x'|echo $(curl x)|xargs -n 1 curl|ssh h ls|gh pr view 3|docker pull x|cat < /dev/tcp/h/80|/usr/bin/curl x|yarn|if curl x; then ls; fi".split(
      "|",
    ),
    "python -c 'import urllib.request'",
    "node -e \"fetch('x')\"",
    "make \\\n && \\\n curl x",
    'echo "$(curl x)"',
    "find . -name a -exec sh -c 'curl x' +",
    `echo ${"a".repeat(30_000)}`,
  ])("reaches the network: %s", (command) => expect(reachesNetwork(command)).toBe(true));

  test.each([
    "npm test",
    "npm run build",
    "git status",
    "git commit -m 'use curl'",
    "git commit -m 'curl is used' -m \"http parser added\"",
    'rg "curl -s" src',
    "git log --oneline",
    "ls -la",
    "node script.js",
    "python3 -m pytest",
    "grep -rn curl src",
    "echo curl",
    "cargo test",
    "go test ./...",
    "make",
    "docker ps",
    "yarn test",
    "cat package.json",
    "",
  ])("does not: %s", (command) => expect(reachesNetwork(command)).toBe(false));
});

describe("what is left out", () => {
  const place = { cwd: "/w", memoryDir: "/data/memory", skipTools: [] as string[], isPrivatePrompt: false };
  const reason = (event: ToolFinish, more: Partial<typeof place> = {}) => findLeftOut(event, { ...place, ...more });
  const bash = (command: string, metadata: Record<string, unknown> = { exit: 0 }) =>
    finish({ tool: "bash", input: { command }, source: { effect: "run", patterns: [command] }, metadata });

  test.each([
    ["a tool without a name", finish({ tool: "" }), "no tool"],
    ["todos", finish({ tool: "todowrite" }), "tool"],
    ["a question", finish({ tool: "question" }), "tool"],
    ["the wrapper of a batch", finish({ tool: "batch" }), "tool"],
    ["a listing", finish({ tool: "list" }), "tool"],
    ["TodoWrite of another agent", finish({ tool: "TodoWrite" }), "tool"],
    ["a tool of the memory", finish({ tool: "memory_search" }), "memory"],
    ["a file of the memory", finish({ input: { filePath: "/data/memory/x/journal" } }), "memory"],
    ["a command on the memory", bash("cat /data/memory/p/inbox"), "memory"],
    ["a call that was not made", finish({ source: undefined as never }), "not made"],
    ["a directory", finish({ metadata: { entries: 4 } }), "low value"],
    ["a search without a match", finish({ tool: "grep", metadata: { matches: 0 } }), "low value"],
    ["a look around", bash("ls -la src"), "low value"],
  ])("%s", (_, event, expected) => expect(reason(event)).toBe(expected));

  test.each([
    ["a file", finish({ metadata: { filePath: "a" } })],
    ["a search", finish({ tool: "grep", metadata: { matches: 3 } })],
    ["a task", finish({ tool: "task" })],
    ["a command", bash("npm test")],
    ["a failed look around", bash("ls nowhere", { exit: 2 })],
    ["a listing that goes on", bash("ls && npm test")],
    ["a listing in a pipe", bash("ls | wc -l")],
    [
      "a page below a path like the memory's",
      finish({ tool: "webfetch", source: { effect: "net", patterns: ["https://x.org/data/memory/"] }, input: { url: "x" } }),
    ],
    ["a tool of a server", finish({ tool: "memory__search", source: { effect: "run", patterns: ["*"] }, input: {} })],
  ])("but not %s", (_, event) => expect(reason(event)).toBeUndefined());

  test("what the option names, with wildcards", () => {
    expect(reason(finish({ tool: "docs__read" }), { skipTools: ["docs__*"] })).toBe("option");
    expect(reason(finish(), { skipTools: ["docs__*"] })).toBeUndefined();
  });

  test("everything of a prompt that is private", () => {
    expect(reason(finish(), { isPrivatePrompt: true })).toBe("private");
    expect(findEndLeftOut({ request: "", answer: "x", isPrivatePrompt: true })).toBe("private");
  });

  test("ends of child sessions, of prompts without an answer, of a host's own prompts", () => {
    const end = { request: "r", answer: "a", isPrivatePrompt: false };
    expect(findEndLeftOut(end)).toBeUndefined();
    expect(findEndLeftOut({ ...end, parentId: "ses_0" })).toBe("child session");
    expect(findEndLeftOut({ ...end, answer: " " })).toBe("empty");
    expect(findEndLeftOut({ ...end, request: "<task-notification>x</task-notification>" })).toBe("empty");
  });

  test("the same call, and the same prompt within ten seconds", () => {
    const duplicates = createDuplicates();
    expect([duplicates.hasCall("s", "c"), duplicates.hasCall("s", "c"), duplicates.hasCall("t", "c")]).toEqual([false, true, false]);
    expect([duplicates.hasCall("s", ""), duplicates.hasCall("s", "")]).toEqual([false, false]);
    expect([duplicates.hasPrompt("s", "x", 0), duplicates.hasPrompt("s", "x", 9_999), duplicates.hasPrompt("s", "x", 30_000)]).toEqual([false, true, false]);
    duplicates.forget("s");
    expect(duplicates.hasCall("s", "c")).toBe(false);
  });
});

describe("a cap", () => {
  test("never cuts through a character", () => {
    for (let shift = 0; shift < 4; shift++) {
      const text = "a".repeat(shift) + "😀".repeat(200);
      expect(capText(text, 50 + shift), String(shift)).not.toMatch(/\p{Surrogate}/u);
      expect(capField(text, 20 + shift)).not.toMatch(/\p{Surrogate}/u);
      const bytes = capBytes(text, 21 + shift);
      expect(Buffer.byteLength(bytes)).toBeLessThanOrEqual(21 + shift);
      expect(text.startsWith(bytes)).toBe(true);
    }
  });

  test("leaves alone what fits", () => {
    expect([capText("abc", 3), capField("abc", 3), capBytes("äbc", 4)]).toEqual(["abc", "abc", "äbc"]);
  });
});
