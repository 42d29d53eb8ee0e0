import { execFileSync } from "node:child_process";
import { chmod, readdir, readFile, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { applyEdit } from "../../../plugins/files/apply-edit.ts";
import { cpuMsOf } from "../../fixtures/timing.ts";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const at = (path: string) => join(world.cwd, path);
const edit = (oldString: string, newString: string, more: Record<string, unknown> = {}) =>
  world.call("edit", { filePath: "a.txt", oldString, newString, ...more });
const refusal = (oldString: string, newString: string, more: Record<string, unknown> = {}) =>
  world.fail("edit", { filePath: "a.txt", oldString, newString, ...more });

let sessions = 1;

/** Edits a file of that content, in a session of its own, and gives what it holds afterwards. */
async function edited(content: string, oldString: string, newString: string, more: Record<string, unknown> = {}) {
  await world.put("a.txt", content);
  const sessionId = `ses_${++sessions}`;
  const { metadata } = await world.call("edit", { filePath: "a.txt", oldString, newString, ...more }, { sessionId });
  return { text: await readFile(at("a.txt"), "utf8"), strategy: metadata?.strategy };
}

describe("an edit", () => {
  test("replaces the one place and shows the difference", async () => {
    await world.put("a.txt", "alpha\nbeta\n");
    const result = await edit("beta", "gamma");
    expect(await readFile(at("a.txt"), "utf8")).toBe("alpha\ngamma\n");
    expect(result.output).toBe("Edited a.txt: 1 replacement (+1 -1 lines).\n@@ -1,2 +1,2 @@\n alpha\n-beta\n+gamma");
    expect(result.metadata).toMatchObject({ filePath: "a.txt", additions: 1, deletions: 1, strategy: "exact", replacements: 1 });
    expect(result.title).toBe("a.txt");
  });

  test("of several equal places is refused, with their number", async () => {
    await world.put("a.txt", "x\nx\nx\n");
    expect(await refusal("x", "y")).toBe(
      "a.txt was not changed: oldString was found 3 times.\nAdd surrounding lines to oldString until it is unique, or set replaceAll.",
    );
    expect(await refusal("x\nx", "y")).toMatch(/found 2 times/);
  });

  test("with replaceAll changes them all, and takes $ as it is", async () => {
    expect((await edited("a a a", "a", "$&$1$$", { replaceAll: true })).text).toBe("$&$1$$ $&$1$$ $&$1$$");
    expect((await edited("aaaa", "aa", "b", { replaceAll: true })).text).toBe("bb");
    expect((await edited("one", "one", "$&")).text).toBe("$&");
  });

  test("of text that is not there is refused", async () => {
    await world.put("a.txt", "alpha\n");
    expect(await refusal("delta", "x")).toBe(
      "a.txt was not changed: oldString was not found in it.\nRead the file again and copy the text exactly, without line numbers.",
    );
  });

  test("that changes nothing is refused", async () => {
    await world.put("a.txt", "alpha\n");
    expect(await refusal("alpha", "alpha")).toBe("a.txt was not changed: oldString and newString are the same.\nGive the text as it is and as it shall be.");
  });

  test("with an empty oldString only creates a file", async () => {
    expect((await world.call("edit", { filePath: "new/a.txt", oldString: "", newString: "x\n" })).output).toMatch(/^Created new\/a\.txt \(\+1 -0 lines\)\./);
    expect(await readFile(at("new/a.txt"), "utf8")).toBe("x\n");
    await world.put("a.txt", "text");
    expect(await refusal("", "x")).toBe(
      "a.txt was not changed: oldString is empty and the file is not.\nGive the text to replace, or use write for the whole file.",
    );
  });

  test("of a missing file names similar ones", async () => {
    await world.put("b.txt", "");
    expect(await refusal("x", "y")).toBe("File not found: a.txt\nDid you mean one of these?\nb.txt");
  });

  test("of a directory, a FIFO, a binary or a large file is refused", async () => {
    await world.put("dir/x", "");
    expect(await world.fail("edit", { filePath: "dir", oldString: "a", newString: "b" })).toBe(
      "dir was not changed: it is a directory.\nGive the path of a file.",
    );
    execFileSync("mkfifo", [at("pipe")]);
    expect(await world.fail("edit", { filePath: "pipe", oldString: "a", newString: "b" })).toBe(
      "pipe was not changed: it is not a regular file.\nGive the path of a file.",
    );
    await world.put("a.txt", "a\0b");
    expect(await refusal("a", "b")).toBe("a.txt was not changed: it is not UTF-8 text.\nUse a program that knows its format.");
    await truncate(await world.put("a.txt", "text"), 11 * 1024 * 1024);
    expect(await refusal("a", "b")).toBe("a.txt was not changed: it has 11.0 MB, and at most 10 MB can be edited.\nUse a program such as sed with bash.");
  });

  test("cannot make a file grow without bounds", async () => {
    await world.put("a.txt", "a".repeat(50_000));
    expect(await refusal("a", "b".repeat(1000), { replaceAll: true })).toMatch(/50000 replacements would make it too large/);
    await world.put("a.txt", "a".repeat(200_000));
    expect(await refusal("a", "b", { replaceAll: true })).toMatch(/found more than 100000 times/);
  });

  test("of a file that changed since it was read is refused until it is read again", async () => {
    await world.put("a.txt", "alpha\n");
    await world.call("read", { filePath: "a.txt" });
    await writeFile(at("a.txt"), "alpha beta\n");
    expect(await refusal("alpha", "x")).toBe("a.txt was not changed: it changed since it was read.\nRead it again, then edit it.");
    await world.call("read", { filePath: "a.txt" });
    await edit("alpha", "x");
    await edit("beta", "y");
    expect(await readFile(at("a.txt"), "utf8")).toBe("x y\n");
  });

  test("of the same file at the same time as others loses none of them", async () => {
    await world.put("a.txt", Array.from({ length: 20 }, (_, index) => `<${index}>`).join("\n"));
    await Promise.all(Array.from({ length: 20 }, (_, index) => edit(`<${index}>`, `done ${index}`)));
    expect(await readFile(at("a.txt"), "utf8")).toBe(Array.from({ length: 20 }, (_, index) => `done ${index}`).join("\n"));
  });

  test("goes through a link to a file inside, and through none to the outside", async () => {
    await world.put("real.txt", "alpha");
    await symlink("real.txt", at("a.txt"));
    await edit("alpha", "beta");
    expect(await readFile(at("real.txt"), "utf8")).toBe("beta");
    await writeFile(join(world.outside, "x"), "alpha");
    await symlink(join(world.outside, "x"), at("out"));
    expect(await world.fail("edit", { filePath: "out", oldString: "alpha", newString: "b" })).toMatch(/^out is outside the workspace/);
  });

  test("shows at most 2,000 characters of the difference", async () => {
    await world.put("a.txt", "alpha\n");
    const { output } = await edit("alpha", "line\n".repeat(1000));
    expect(output.length).toBeLessThan(2200);
    expect(output).toMatch(/more characters of the diff\)$/);
  });
});

describe("what is kept", () => {
  test("byte order mark, line endings, mode and a missing final newline", async () => {
    await world.put("a.txt", "\uFEFFone\r\ntwo\r\nthree");
    await chmod(at("a.txt"), 0o755);
    await edit("two\nthree", "2\n3");
    expect(await readFile(at("a.txt"), "utf8")).toBe("\uFEFFone\r\n2\r\n3");
    expect((await stat(at("a.txt"))).mode & 0o777).toBe(0o755);
    expect(await readdir(world.cwd)).toEqual(["a.txt"]);
  });

  test("new lines get the line ending of their place", async () => {
    expect((await edited("one\r\ntwo\r\n", "one", "1\n1b")).text).toBe("1\r\n1b\r\ntwo\r\n");
    expect((await edited("one\ntwo\n", "one\r\ntwo", "1\r\n2")).text).toBe("1\n2\n");
    expect((await edited("a\r\nb\r\nc\nd\n", "c\nd", "c\ne")).text).toBe("a\r\nb\r\nc\ne\n");
  });

  test("bytes that are not UTF-8, when the edit itself is ASCII", async () => {
    const before = Buffer.concat([Buffer.from("caf\xe9 ", "latin1"), Buffer.from("naïve\nalpha\n")]);
    await world.put("a.txt", before);
    await edit("alpha", "beta");
    expect(await readFile(at("a.txt"))).toEqual(Buffer.concat([before.subarray(0, -6), Buffer.from("beta\n")]));
    expect(await refusal("beta", "bêta")).toBe(
      "a.txt was not changed: it is not valid UTF-8, so only ASCII text can be edited in it.\nConvert it first, for example with iconv -f latin1 -t utf-8.",
    );
  });

  test("every byte that was not asked for, in any text", async () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", " ", "\t", "\n", "\r\n", "é", "😀", "\\n", '"'), minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(text, fc.nat(), fc.nat(), text, async (content, from, length, newString) => {
        const start = from % content.length;
        const oldString = content.slice(start, start + 1 + (length % (content.length - start)));
        fc.pre(content.split(oldString).length === 2 && content.indexOf(oldString, content.indexOf(oldString) + 1) < 0);
        fc.pre(oldString.replaceAll("\r\n", "\n") !== newString.replaceAll("\r\n", "\n"));
        const { text: after, strategy } = await applyEdit("x", content, { oldString, newString });
        expect(strategy.name).toBe("exact");
        const end = start + oldString.length;
        expect(after.startsWith(content.slice(0, start))).toBe(true);
        expect(after.endsWith(content.slice(end))).toBe(true);
        const inserted = after.slice(start, after.length - (content.length - end));
        expect(inserted.replaceAll("\r\n", "\n")).toBe(newString.replaceAll("\r\n", "\n"));
      }),
      { numRuns: 500 },
    );
  });

  test("with any strategy, all that lies before and after the found lines", async () => {
    const word = fc.stringMatching(/^[a-z]{4,8}$/);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(word, { minLength: 3, maxLength: 12 }),
        fc.nat(),
        fc.constantFrom("\n", "\r\n"),
        fc.constantFrom("", " ", "\t"),
        async (words, pick, ending, space) => {
          const index = pick % words.length;
          const content = words.map((each) => `  ${each} = 1;`).join(ending);
          const { text: after } = await applyEdit("x", content, { oldString: `${space}${words[index]}  =  1;`, newString: `${space}CHANGED` });
          const lines = content.split(ending);
          expect(after.split(ending).filter((_, line) => line !== index)).toEqual(lines.filter((_, line) => line !== index));
          expect(after.split(ending)[index]).toContain("CHANGED");
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("an edit that cannot be meant", () => {
  test("is refused where the file would stay as it is", async () => {
    await world.put("a.txt", "one\r\ntwo\r\n");
    expect(await refusal("one\r\ntwo", "one\ntwo")).toBe(
      "a.txt was not changed: it would stay as it is; its line endings are kept.\nGive what shall be there, or use bash for line endings.",
    );
    const edits = [
      { oldString: "two", newString: "2" },
      { oldString: "one\r\n2", newString: "one\n2" },
    ];
    expect(await world.fail("multiedit", { filePath: "a.txt", edits })).toMatch(/edit 2 of 2: it would stay as it is/);
  });

  test("is refused where it would tear a character", async () => {
    await world.put("a.txt", "a 😀 b\n");
    expect(await refusal("\ud83d", "x")).toMatch(/half of a character/);
    expect(await refusal("a", "\ude00")).toMatch(/half of a character/);
    expect(await readFile(at("a.txt"), "utf8")).toBe("a 😀 b\n");
  });

  test("is refused where the path is that of a directory", async () => {
    expect(await world.fail("write", { filePath: "new/", content: "x" })).toBe("new/ is not a usable path: it ends as that of a directory.");
    expect(await world.fail("edit", { filePath: "new/", oldString: "", newString: "x" })).toMatch(/it ends as that of a directory/);
    expect(await world.fail("write", { filePath: "", content: "x" })).toBe('"" is not a usable path: it is empty.');
    expect(await readdir(world.cwd)).toEqual([]);
  });
});

test("an edit within a very long line keeps that line out of the events", async () => {
  await world.put("a.txt", `${"x".repeat(1_000_000)} one\n`);
  const result = await edit(" one", " two");
  expect(result.output).toBe("Edited a.txt: 1 replacement.");
  expect(JSON.stringify(result.metadata).length).toBeLessThan(1_000);
});

test("a file that has nothing but a byte order mark is empty", async () => {
  expect((await edited("\ufeff", "", "one\n")).text).toBe("\ufeffone\n");
});

describe("an oldString that is not quite there", () => {
  const code = "class A {\n    run() {\n        const x = 1;\n        return x;\n    }\n}\n";

  test("is found by its trimmed lines, and the new text takes over the indentation", async () => {
    expect(await edited(code, "const x = 1;  \nreturn x;", "const y = 2;\nif (y) {\n  return y;\n}")).toEqual({
      text: "class A {\n    run() {\n        const y = 2;\n        if (y) {\n          return y;\n        }\n    }\n}\n",
      strategy: "line-trimmed",
    });
  });

  test("gives new lines the levels of indentation that the place has", async () => {
    const tabs = "func a() {\n\tif x {\n\t\treturn 1\n\t}\n}\n";
    const spaces = tabs.replaceAll("\t", "  ");
    const [old, changed] = ["if x {\n        return 1\n    }", "if x {\n        if y {\n            return 2\n        }\n    }\n    z()"];
    expect((await edited(tabs, `    ${old}`, `    ${changed}`)).text).toBe("func a() {\n\tif x {\n\t\tif y {\n\t\t\treturn 2\n\t\t}\n\t}\n\tz()\n}\n");
    const inTabs = (text: string) => `    ${text}`.replaceAll("    ", "\t");
    expect((await edited(spaces, inTabs(old), inTabs(changed))).text).toBe("func a() {\n  if x {\n    if y {\n      return 2\n    }\n  }\n  z()\n}\n");
    // Models leave the indentation of the first line out.
    expect((await edited("class A:\n    def f():  \n        return 1\n", "def f():\n        return 1", "def f():\n        return 2")).text).toBe(
      "class A:\n    def f():\n        return 2\n",
    );
  });

  test("shifts nothing where it is not the indentation that was overlooked", async () => {
    expect(await edited("x\n    a\n    b\ny\n", "\n\n    a\n    b\n\n", "\n\n    c\n    d\n\n")).toEqual({
      text: "x\n    c\n    d\ny\n",
      strategy: "trimmed-boundary",
    });
    expect(await edited("\tfoo()\n", "\\tfoo()", "\\tbar()")).toEqual({ text: "\tbar()\n", strategy: "escape-normalized" });
  });

  test("is reported as such", async () => {
    await world.put("a.txt", code);
    expect((await edit("  const x = 1; \n  return x;", "  return 1;")).output).toMatch(
      /^Edited a\.txt: 1 replacement \(\+1 -2 lines\)\.\noldString was not there exactly; found by line-trimmed, overlooking white space around lines\. Check the diff\.\n@@/,
    );
  });

  test("is found by its first and last line when the middle is alike", async () => {
    expect(await edited("begin\n  const value = compute(1);\nend\nrest\n", "begin\n  const value = compute(2);\nend", "replaced")).toEqual({
      text: "replaced\nrest\n",
      strategy: "block-anchor",
    });
    expect((await edited("if (a) {\n  one();\n  two();\n  }\n}\n", "if (a) {\n  one();\n  twoo();\n  }\n}", "x")).text).toBe("x\n");
    await world.put("a.txt", "begin\n  something else entirely\nend\n");
    expect(await refusal("begin\n  const value = compute(2);\nend", "x")).toMatch(/was not found/);
  });

  test("is found whatever the amount of white space", async () => {
    expect(await edited("  if  (a &&\tb) { go(); }\n", "if (a && b)", "if (c)")).toEqual({ text: "  if (c) { go(); }\n", strategy: "whitespace-normalized" });
    expect(await edited("f( a,  b );\ng( c );\n", "f( a, b );\ng(  c  );", "h();")).toEqual({ text: "h();\n", strategy: "whitespace-normalized" });
  });

  test("is found by relative indentation where trimmed lines are ambiguous", async () => {
    const content = "    if a:\n      b\n\n    if a:\n    b\n";
    expect(await edited(content, "if a:\n  b\n", "if c:\n  d\n")).toEqual({
      text: "    if c:\n      d\n\n    if a:\n    b\n",
      strategy: "indentation-flexible",
    });
  });

  test("is found without one layer of backslashes", async () => {
    expect(await edited('say("hi")\nend\n', 'say(\\"hi\\")\\nend', 'say(\\"ho\\")\\nend')).toEqual({ text: 'say("ho")\nend\n', strategy: "escape-normalized" });
  });

  test("is found without the white space around it", async () => {
    expect(await edited("let a=1;let b=2;\n", "\n a=1;let\n", "\n a=3;let\n")).toEqual({ text: "let a=3;let b=2;\n", strategy: "trimmed-boundary" });
  });

  test("keeps the end of a file without final newline", async () => {
    expect((await edited("one\n  two", "two\n", "2\n")).text).toBe("one\n  2");
  });

  test("stays refused when two places fit", async () => {
    await world.put("a.txt", "\ta = 1\n\tb\n\ta = 1\n\tb\n");
    expect(await refusal("  a = 1\n  b", "x")).toMatch(/found 2 times/);
  });

  test("may stand for several places with replaceAll", async () => {
    expect((await edited("\ta\n\tb\n--\n\t\ta\n\t\tb\n", " a\n b", " c", { replaceAll: true })).text).toBe("\tc\n--\n\t\tc\n");
  });

  test("never costs much time", async () => {
    const content = "{\n  x\n}\n".repeat(100_000);
    const ms = await cpuMsOf(async () => {
      await applyEdit("x", content, { oldString: "{\n  y\n}", newString: "z" }).catch(() => undefined);
      await applyEdit("x", "a\n".repeat(90_000), { oldString: "a", newString: "b", replaceAll: true });
      await applyEdit("x", "a b ".repeat(250_000), { oldString: "a  c", newString: "z" }).catch(() => undefined);
    });
    expect(ms).toBeLessThan(5000);
  });

  test("is found soon among lines that are all the same", async () => {
    const repeated = "x\n".repeat(300_000);
    const ms = await cpuMsOf(async () => {
      for (const last of ["x", "y"]) await applyEdit("x", repeated, { oldString: `${" x\n".repeat(5_000)}${last}`, newString: "z" }).catch(() => undefined);
    });
    expect(ms).toBeLessThan(5000);
  });
});

describe("write", () => {
  const write = (filePath: string, content: string) => world.call("write", { filePath, content });

  test("creates a file and its directories", async () => {
    const result = await write("dir/deep/b.txt", "one\ntwo\n");
    expect(result.output).toBe("Created dir/deep/b.txt (2 lines, 8 bytes).");
    expect(result.metadata).toEqual({ filePath: "dir/deep/b.txt", existed: false });
    expect(await readFile(at("dir/deep/b.txt"), "utf8")).toBe("one\ntwo\n");
    expect((await stat(at("dir/deep/b.txt"))).mode & 0o777).toBe(0o666 & ~process.umask());
  });

  test("overwrites what was read, keeps its mode and shows the difference in its metadata", async () => {
    await world.put("a.txt", "one\n");
    await chmod(at("a.txt"), 0o600);
    await world.call("read", { filePath: "a.txt" });
    const result = await write("a.txt", "two");
    expect(result.output).toBe("Overwrote a.txt (1 line, 3 bytes).");
    expect(result.metadata).toMatchObject({ existed: true, additions: 1, deletions: 1 });
    expect((await stat(at("a.txt"))).mode & 0o777).toBe(0o600);
    await write("a.txt", "three");
    expect(await readdir(world.cwd)).toEqual(["a.txt"]);
  });

  test("does not overwrite what was not read or changed since", async () => {
    await world.put("a.txt", "one\n");
    const advice = "Read it first, then write it, or change it with edit.";
    expect(await world.fail("write", { filePath: "a.txt", content: "x" })).toBe(
      `a.txt was not changed: it exists and was not read in this session.\n${advice}`,
    );
    await world.call("read", { filePath: "a.txt" });
    expect(await world.fail("write", { filePath: "a.txt", content: "x" }, { sessionId: "ses_2" })).toMatch(/not read in this session/);
    await utimes(at("a.txt"), new Date(), new Date(1_000_000));
    expect(await world.fail("write", { filePath: "a.txt", content: "x" })).toBe(`a.txt was not changed: it changed since it was read.\n${advice}`);
    expect(await readFile(at("a.txt"), "utf8")).toBe("one\n");
  });

  test("refuses what is no file, and parents that are none", async () => {
    await world.put("dir/x", "");
    expect(await world.fail("write", { filePath: "dir", content: "x" })).toBe("dir was not changed: it is a directory.\nGive the path of a file.");
    expect(await world.fail("write", { filePath: "dir/x/y", content: "x" })).toMatch(/^dir\/x is not a directory/);
    execFileSync("mkfifo", [at("pipe")]);
    expect(await world.fail("write", { filePath: "pipe", content: "x" })).toBe("pipe was not changed: it is not a regular file.\nGive the path of a file.");
  });

  test("creates nothing outside, not through links and not through dangling ones", async () => {
    await symlink(world.outside, at("link"));
    await symlink(join(world.outside, "new"), at("dangling"));
    for (const filePath of ["link/new", "dangling", "link/a/b/c"])
      expect(await world.fail("write", { filePath, content: "x" })).toMatch(/is outside the workspace/);
    expect(await readdir(world.outside)).toEqual([]);
  });

  test("never writes outside while a directory is exchanged for a link", async () => {
    await world.put("d/keep", "");
    const script = "i=0; while [ $i -lt 600 ]; do mv d e; ln -s ../outside d; rm d; mv e d; i=$((i+1)); done";
    const stop = new AbortController();
    const flipping = world.context.exec("sh", ["-c", script], { cwd: world.cwd, signal: stop.signal });
    for (let index = 0; index < 300; index += 1) await write(`d/sub${index}/${index}`, "x").catch(() => undefined);
    stop.abort();
    await flipping;
    expect(await readdir(world.outside)).toEqual([]);
  });
});

// Root may write everything.
test.skipIf(process.getuid?.() === 0)("a file that is read-only is not replaced", async () => {
  await world.put("a.txt", "one\n");
  await chmod(at("a.txt"), 0o444);
  expect(await refusal("one", "two")).toBe("a.txt was not changed: permission denied.");
  expect(await readFile(at("a.txt"), "utf8")).toBe("one\n");
  expect(await readdir(world.cwd)).toEqual(["a.txt"]);
});
