import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { structuredPatch } from "diff";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { applyHunks } from "../../../plugins/files/patch-hunks.ts";
import { parsePatch } from "../../../plugins/files/patch-text.ts";
import { cpuMsOf } from "../../fixtures/timing.ts";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const at = (path: string) => join(world.cwd, path);
const text = (path: string) => readFile(at(path), "utf8");
const framed = (body: string) => `*** Begin Patch\n${body}\n*** End Patch`;
const patch = (body: string, over = {}) => world.call("patch", { patchText: framed(body) }, over);
const refusal = (body: string, over = {}) => world.fail("patch", { patchText: framed(body) }, over);

/** Everything below the workspace: kind, mode, time and content of each entry. */
async function tree(): Promise<Record<string, string>> {
  const names = await readdir(world.cwd, { recursive: true });
  const entries = names.sort().map(async (name) => {
    const stats = await lstat(at(name), { bigint: true });
    const content = stats.isFile() ? `${stats.mtimeNs} ${stats.ino} ${(await readFile(at(name))).toString("base64")}` : "";
    return [name, `${stats.mode.toString(8)} ${content}`];
  });
  return Object.fromEntries(await Promise.all(entries));
}

describe("a patch", () => {
  test("updates, moves, adds and deletes files, and says so", async () => {
    await world.put("m.py", "def a():\n    return 1\n\ndef b():\n    return 1\n");
    await world.put("old.txt", "one\r\ntwo\r\n");
    await chmod(at("old.txt"), 0o755);
    await world.put("gone.txt", "x\ny\n");
    await world.put("name.bin", Buffer.from([0, 1, 255, 254]));
    const result = await patch(
      [
        "*** Update File: m.py\n@@ def b():\n-    return 1\n+    return 2",
        "*** Update File: old.txt\n*** Move to: sub/dir/new.txt\n@@\n one\n+$&\n two",
        "*** Add File: made.txt\n+hello\n+\n+world",
        "*** Delete File: gone.txt",
        "*** Update File: name.bin\n*** Move to: other.bin",
      ].join("\n"),
    );
    expect(result.output).toBe(
      [
        "M m.py (+1 -1 lines)",
        "M old.txt -> sub/dir/new.txt (+1 -0 lines)",
        "A made.txt",
        "D gone.txt",
        "M name.bin -> other.bin",
        "--- m.py\n@@ -3,3 +3,3 @@\n \n def b():\n-    return 1\n+    return 2",
        "--- sub/dir/new.txt\n@@ -1,2 +1,3 @@\n one\r\n+$&\r\n two",
      ].join("\n"),
    );
    expect(result.title).toBe("5 files");
    expect(result.metadata).toEqual({
      files: [
        { path: "m.py", kind: "update", additions: 1, deletions: 1 },
        { path: "sub/dir/new.txt", from: "old.txt", kind: "move", additions: 1, deletions: 0 },
        { path: "made.txt", kind: "add", additions: 3, deletions: 0 },
        { path: "gone.txt", kind: "delete", additions: 0, deletions: 2 },
        { path: "other.bin", from: "name.bin", kind: "move", additions: 0, deletions: 0 },
      ],
    });
    expect(await text("m.py")).toBe("def a():\n    return 1\n\ndef b():\n    return 2\n");
    expect(await text("sub/dir/new.txt")).toBe("one\r\n$&\r\ntwo\r\n");
    expect((await stat(at("sub/dir/new.txt"))).mode & 0o777).toBe(0o755);
    expect(await text("made.txt")).toBe("hello\n\nworld\n");
    expect(await readFile(at("other.bin"))).toEqual(Buffer.from([0, 1, 255, 254]));
    expect((await readdir(world.cwd)).sort()).toEqual(["m.py", "made.txt", "other.bin", "sub"]);
  });

  test("replaces a file that it deletes and then adds, as one that is changed", async () => {
    await world.put("a.sh", "old\n");
    await chmod(at("a.sh"), 0o755);
    expect((await patch("*** Delete File: a.sh\n*** Add File: a.sh\n+new\n+er")).output).toBe("M a.sh (+2 -1 lines)\n@@ -1,1 +1,2 @@\n-old\n+new\n+er");
    expect([await text("a.sh"), (await stat(at("a.sh"))).mode & 0o777]).toEqual(["new\ner\n", 0o755]);
    expect(await refusal("*** Add File: a.sh\n+x\n*** Delete File: a.sh")).toMatch(/Line 4 of the patch: a\.sh is named twice/);
    expect(await refusal("*** Delete File: b.sh\n*** Add File: b.sh\n+x")).toMatch(/Line 3 of the patch: File not found: b\.sh/);
  });

  test("shows its diffs as far as they are worth it", async () => {
    const paths = Array.from({ length: 6 }, (_, index) => `${index}.txt`);
    for (const path of paths) await world.put(path, "alpha\n");
    const { output } = await patch(paths.map((path) => `*** Update File: ${path}\n@@\n alpha\n${"+line\n".repeat(1000)}`).join("\n"));
    expect(output.split("\n").slice(0, 6)).toEqual(paths.map((path) => `M ${path} (+1000 -0 lines)`));
    expect(output).toMatch(/\(The diffs of 3 more files are left out\.\)$/);
    expect(output.length).toBeLessThan(9_500);
  });

  test("counts as read, so that the same session goes on with edit and write", async () => {
    await world.put("a.txt", "alpha\n");
    await world.call("read", { filePath: "a.txt" });
    await patch("*** Update File: a.txt\n@@\n-alpha\n+beta\n*** Add File: b.txt\n+x");
    await world.call("edit", { filePath: "a.txt", oldString: "beta", newString: "gamma" });
    await world.call("write", { filePath: "b.txt", content: "y\n" });
    await patch("*** Update File: b.txt\n@@\n-y\n+z");
    expect([await text("a.txt"), await text("b.txt")]).toEqual(["gamma\n", "z\n"]);
  });

  test("keeps every file before it is changed, made or deleted", async () => {
    await world.put("a.txt", "a\n");
    await world.put("b.txt", "b\n");
    await world.put("c.txt", "c\n");
    const kept: string[] = [];
    const snapshot = async (path: string) => {
      kept.push(`${path.slice(world.cwd.length + 1)}: ${await readFile(path, "utf8").catch(() => "none")}`);
    };
    await patch("*** Update File: a.txt\n@@\n-a\n+A\n*** Update File: b.txt\n*** Move to: d.txt\n*** Delete File: c.txt\n*** Add File: e.txt\n+e", {
      snapshot,
    });
    expect(kept).toEqual(["a.txt: a\n", "d.txt: none", "b.txt: b\n", "c.txt: c\n", "e.txt: none"]);
    await world.call("edit", { filePath: "a.txt", oldString: "A", newString: "AA" }, { snapshot });
    await world.call("multiedit", { filePath: "a.txt", edits: [{ oldString: "AA", newString: "A" }] }, { snapshot });
    await world.call("write", { filePath: "f.txt", content: "f" }, { snapshot });
    expect(kept.slice(5)).toEqual(["a.txt: A\n", "a.txt: AA\n", "f.txt: none"]);
  });

  test("of the same files at the same time waits for its turn, and no two wait for each other", async () => {
    const [left, right] = ["a.txt", "z.txt"];
    await world.put(left, "0\n");
    await world.put(right, "0\n");
    const step = (first: string, second: string, n: number) => patch(`*** Update File: ${first}\n@@\n 0\n+${n}\n*** Update File: ${second}\n@@\n 0\n+${n}`);
    await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? step(left, right, n + 1) : step(right, left, n + 1))));
    expect((await text(left)).split("\n")).toHaveLength(22);
    expect(await text(left)).toBe(await text(right));
  });

  test("that was aborted before it wrote leaves nothing behind", async () => {
    await world.put("a.txt", "a\n");
    const before = await tree();
    const stop = new AbortController();
    const snapshot = async () => stop.abort(new Error("stopped"));
    const body = "*** Update File: a.txt\n@@\n-a\n+b\n*** Add File: new/dir/b.txt\n+b";
    await expect(patch(body, { signal: stop.signal, snapshot })).rejects.toThrow("stopped");
    expect(await tree()).toEqual(before);
  });
});

describe("nothing is changed", () => {
  /** Refused as a whole: the first file of the patch is always a good one. */
  async function refusedWhole(body: string, over = {}): Promise<string> {
    await world.put("good.txt", "good\n");
    const before = await tree();
    const message = await refusal(`*** Update File: good.txt\n@@\n-good\n+better\n${body}`, over);
    expect(await tree()).toEqual(before);
    return message;
  }

  test("when one file is missing, exists already or is none", async () => {
    await world.put("b.txt", "b\n");
    await world.put("dir/c.txt", "c\n");
    execFileSync("mkfifo", [at("pipe")]);
    expect(await refusedWhole("*** Update File: c.txt\n@@\n-a")).toBe(
      "Nothing was changed. Line 6 of the patch: File not found: c.txt\nDid you mean one of these?\nb.txt\ngood.txt",
    );
    expect(await refusedWhole("*** Delete File: nope/x")).toBe("Nothing was changed. Line 6 of the patch: File not found: nope/x");
    expect(await refusedWhole("*** Add File: b.txt\n+x")).toBe(
      'Nothing was changed. Line 6 of the patch: b.txt: it exists.\nChange it with "*** Update File", or choose another path.',
    );
    expect(await refusedWhole("*** Update File: b.txt\n*** Move to: dir/c.txt")).toBe(
      "Nothing was changed. Line 6 of the patch: dir/c.txt: it exists, and nothing is moved over it.\nDelete it in a patch before this one, or choose another path.",
    );
    for (const heading of ["*** Delete File: dir", "*** Update File: dir\n@@\n-a"])
      expect(await refusedWhole(heading)).toBe("Nothing was changed. Line 6 of the patch: dir: it is a directory.\nGive the path of a file.");
    expect(await refusedWhole("*** Delete File: pipe")).toBe(
      "Nothing was changed. Line 6 of the patch: pipe: it is not a regular file.\nGive the path of a file.",
    );
  });

  test("when one path leads outside", async () => {
    await writeFile(join(world.outside, "x"), "a\n");
    await symlink(world.outside, at("link"));
    await world.put("b.txt", "b\n");
    for (const heading of ["*** Add File: ../outside/y\n+y", "*** Delete File: link/x", "*** Update File: b.txt\n*** Move to: link/y"])
      expect(await refusedWhole(heading)).toMatch(/is outside the workspace/);
    expect(await readdir(world.outside)).toEqual(["x"]);
  });

  test("when one file changed since it was read", async () => {
    for (const heading of ["*** Update File: b.txt\n@@\n-changed\n+c", "*** Delete File: b.txt", "*** Update File: b.txt\n*** Move to: c.txt"]) {
      await world.put("b.txt", "b\n");
      await world.call("read", { filePath: "b.txt" });
      await world.put("b.txt", "changed\n");
      expect(await refusedWhole(heading)).toBe("Nothing was changed. Line 6 of the patch: b.txt: it changed since it was read.\nRead it again, then edit it.");
    }
  });

  test("when one file changes in this very moment", async () => {
    for (const heading of ["*** Update File: b.txt\n@@\n-b\n+c", "*** Delete File: b.txt", "*** Update File: b.txt\n*** Move to: c.txt"]) {
      await world.put("good.txt", "good\n");
      await world.put("b.txt", "b\n");
      const snapshot = async () => writeFile(at("b.txt"), "theirs\n");
      const message = await refusal(`*** Update File: good.txt\n@@\n-good\n+better\n${heading}`, { snapshot });
      expect(message).toBe("Nothing was changed. Line 6 of the patch: b.txt: it changed in this very moment.\nRead it again, then try again.");
      expect([await text("good.txt"), await text("b.txt")]).toEqual(["good\n", "theirs\n"]);
      expect((await readdir(world.cwd)).sort()).toEqual(["b.txt", "good.txt"]);
    }
  });

  test("when a file is named twice, also by a link", async () => {
    await world.put("b.txt", "b\n");
    await symlink("b.txt", at("same.txt"));
    const advice = "Name each file once, with all of its hunks in the order of the file.";
    for (const heading of ["*** Delete File: ./good.txt", "*** Update File: b.txt\n@@\n-b\n*** Delete File: same.txt"])
      expect(await refusedWhole(heading)).toMatch(new RegExp(`^Nothing was changed\\. Line [69] of the patch: (good|b)\\.txt is named twice\\.\n${advice}$`));
  });

  test("when a link would be deleted or moved", async () => {
    await world.put("b.txt", "b\n");
    await mkdir(at("real"));
    await world.put("real/c.txt", "c\n");
    await symlink("b.txt", at("link.txt"));
    await symlink("real", at("folder"));
    for (const heading of ["*** Delete File: link.txt", "*** Update File: link.txt\n*** Move to: c.txt"])
      expect(await refusedWhole(heading)).toBe(
        "Nothing was changed. Line 6 of the patch: link.txt: it is a link to b.txt.\nName that file itself, or use bash for the link.",
      );
    await patch("*** Update File: link.txt\n@@\n-b\n+B\n*** Delete File: folder/c.txt");
    expect([await text("b.txt"), await readlink(at("link.txt")), await readdir(at("real"))]).toEqual(["B\n", "b.txt", []]);
  });

  test("when a later file cannot be written", async () => {
    await world.put("file", "x");
    expect(await refusedWhole("*** Add File: new/a.txt\n+a\n*** Add File: file/b.txt\n+b")).toBe(
      "Nothing was changed. Line 8 of the patch: file is not a directory, or a parent of it is not.",
    );
    expect(await refusedWhole(`*** Add File: new/${"n".repeat(256)}\n+a`)).toMatch(/too long/);
  });

  test("when taking its place fails for a file in the middle", async () => {
    await world.put("b.txt", "b\n");
    await world.put("c.txt", "c\n");
    const body = "*** Delete File: b.txt\n*** Update File: c.txt\n*** Move to: d.txt\n*** Add File: x\n+x\n*** Add File: x/y\n+y";
    expect(await refusedWhole(body)).toMatch(/^Nothing was changed\. Line 9 of the patch: x: /);
    await world.call("read", { filePath: "good.txt" });
    await refusal(`*** Update File: good.txt\n@@\n-good\n+better\n${body}`);
    // What was put back is the very file that was read.
    await world.call("edit", { filePath: "good.txt", oldString: "good", newString: "fine" });
  });

  test.runIf(process.getuid?.() !== 0)("when a directory is read-only", async () => {
    await world.put("dir/b.txt", "b\n");
    await chmod(at("dir"), 0o555);
    for (const heading of ["*** Add File: dir/c.txt\n+c", "*** Delete File: dir/b.txt", "*** Update File: dir/b.txt\n@@\n-b"])
      expect(await refusedWhole(heading)).toMatch(/permission denied/);
    await chmod(at("dir"), 0o755);
  });

  test("when a file is no text, is too large, or has other bytes than UTF-8 where the patch is not ASCII", async () => {
    await world.put("b.txt", Buffer.from("\uFEFFb\n", "utf16le"));
    expect(await refusedWhole("*** Update File: b.txt\n@@\n-b")).toBe(
      "Nothing was changed. Line 6 of the patch: b.txt: it is UTF-16 text, not UTF-8.\nConvert it first, for example with iconv -f UTF-16 -t UTF-8, and back afterwards.",
    );
    await world.put("b.txt", Buffer.from("caf\xe9\nb\n", "latin1"));
    expect(await refusedWhole("*** Update File: b.txt\n@@\n-b\n+ü")).toMatch(/only ASCII text can be edited/);
    await patch("*** Update File: b.txt\n@@\n-b\n+B");
    expect(await readFile(at("b.txt"), "latin1")).toBe("caf\xe9\nB\n");
    await world.put("large.txt", "b".repeat(11 * 1024 * 1024));
    expect(await refusedWhole("*** Update File: large.txt\n@@\n-b")).toMatch(/at most 10 MB can be edited/);
    await patch("*** Delete File: large.txt");
  });
});

describe("a hunk", () => {
  const put = (content: string, hunks: string) => {
    const [file] = parsePatch(framed(`*** Update File: f\n${hunks}`));
    return applyHunks("f", content, file?.kind === "update" ? file.hunks : []);
  };
  const result = (content: string, hunks: string) => put(content, hunks).text;
  const refusalOf = (content: string, hunks: string) => {
    try {
      return `It succeeded: ${result(content, hunks)}`;
    } catch (error) {
      return (error as Error & { text: string }).text;
    }
  };

  test("that fits several places is refused, but for the one behind the line that @@ names", () => {
    const twice = "class A:\n  def f():\n    x\n  def g():\n    x\nclass B:\n  def f():\n    x\n";
    expect(refusalOf(twice, "@@\n-    x\n+    y")).toBe(
      'Nothing was changed. Line 3 of the patch: this hunk fits f at 3 places.\nGive it more lines around the change, or name a line above it behind "@@".',
    );
    expect(result(twice, "@@ def g():\n-    x\n+    y")).toBe(twice.replace("g():\n    x", "g():\n    y"));
    expect(refusalOf(twice, "@@ def f():\n-    x\n+    y")).toMatch(/fits f at 2 places/);
    expect(result(twice, "@@ class B:\n@@ def f():\n-    x\n+    y")).toBe(twice.replace(/x\n$/, "y\n"));
    expect(result(twice, "@@ class A:\n@@   def f\n   def f():\n-    x\n+    y")).toBe(twice.replace("x", "y"));
    expect(result(twice, "@@ -3,1 +3,1 @@ class B:\n-    x\n+    y")).toBe(twice.replace(/x\n$/, "y\n"));
    expect(result(twice, "@@ def g(): @@\n-    x\n+    y")).toBe(twice.replace("g():\n    x", "g():\n    y"));
    expect(result(twice, "@@ class B:\n-    x\n*** End of File")).toBe(twice.replace(/ {4}x\n$/, ""));
  });

  test("is looked for behind the one before", () => {
    const content = "x\na\nx\nb\nx\n";
    expect(result(content, "@@\n-a\n+A\n@@\n-b\n+B\n@@\n-x\n+X")).toBe("x\nA\nx\nB\nX\n");
    expect(refusalOf(content, "@@\n-b\n@@\n-a")).toBe(
      "Nothing was changed. Line 5 of the patch: the lines of this hunk are in f, but not behind the hunk before.\nGive the hunks in the order of the file, without what does not hold there.",
    );
    expect(refusalOf(content, "@@ b\n-a")).toMatch(/but not behind the line that "@@" names/);
    expect(refusalOf(content, "@@\n-a\n*** End of File")).toMatch(/but not at its end/);
  });

  test("whose lines are not there names the line", () => {
    expect(refusalOf("a\nb\n", "@@\n a\n-c\n+d")).toBe(
      'Nothing was changed. Line 3 of the patch: f has no line "c", which this hunk names.\nRead the file again and copy the lines that stay or go as they are, each behind its space or -.',
    );
    expect(refusalOf("a\nx\nb\n", "@@\n a\n-b")).toMatch(/the lines of this hunk do not stand together in f\./);
    expect(refusalOf("a\n", "@@ class A\n-a")).toBe(
      'Nothing was changed. Line 3 of the patch: f has no line "class A", which "@@" names.\nRead the file and write a line of it behind @@, or none.',
    );
  });

  test("is found with other white space, says so, and keeps the lines that stay as they are", () => {
    expect(put("  a  \n  b\t\n", "@@\n   a\n-  b\n+  c")).toEqual({
      text: "  a  \n  c\n",
      additions: 1,
      deletions: 1,
      notes: [{ line: 3, overlooks: "white space at the ends of lines" }],
    });
    expect(put("\t\ta\n\t\tb\n", "@@\n a\n-b\n+if c:\n+\td")).toMatchObject({
      text: "\t\ta\n\t\tif c:\n\t\t\td\n",
      notes: [{ line: 3, overlooks: "white space around lines" }],
    });
  });

  test("of new lines only comes behind the line that @@ names, or at the end", () => {
    expect(result("a\nb\n", "@@\n+c")).toBe("a\nb\nc\n");
    expect(result("a\nb\n", "@@ a\n+c")).toBe("a\nc\nb\n");
    expect(result("a\nb\n", "@@ a\n+c\n*** End of File")).toBe("a\nb\nc\n");
    expect(result("", "@@\n+c")).toBe("c\n");
    expect(refusalOf("a\na\n", "@@ a\n+c")).toMatch(/fits f at 2 places/);
  });

  test("keeps line endings, a byte order mark and the lack of a final newline", () => {
    expect(result("\uFEFFa\r\nb\r\nc", "@@\n-a\n+A\n b\n-c\n+C\n+D")).toBe("\uFEFFA\r\nb\r\nC\r\nD");
    expect(result("a\nb", "@@\n a\n-b")).toBe("a");
    expect(result("a\r\nb\nc\n", "@@\n-b\n+B")).toBe("a\r\nB\nc\n");
  });

  test("never takes long to find", async () => {
    const ms = await cpuMsOf(() => expect(refusalOf("a\n".repeat(200_000), `@@\n${" a\n".repeat(20_000)}-b`)).toMatch(/finding this hunk in f takes too long/));
    expect(ms).toBeLessThan(3000);
  });
});

describe("what models write", () => {
  const update = "*** Update File: a.txt\n@@\n-a\n+b";
  const read = (patchText: string) => parsePatch(patchText);

  test.each([
    ["in a here-document", `<<'EOF'\n${framed(update)}\nEOF\n`],
    ["as a call of the program", `apply_patch <<"PATCH-1"\n${framed(update)}\nPATCH-1`],
    ["in a fence", `\n\`\`\`diff\n${framed(update)}\n\`\`\`\n`],
    ["in both", `\`\`\`sh\napply_patch <<EOF\n${framed(update)}\nEOF\n\`\`\``],
    ["with white space behind its lines", `\uFEFF  *** Begin Patch  \n*** Update File:   a.txt \t\n@@  \n-a\n+b\n*** End Patch \n\n`],
    ["with the line endings of Windows", framed(update).replaceAll("\n", "\r\n")],
    ["without the first @@", framed("*** Update File: a.txt\n\n-a\n+b\n")],
    ["with a word about the last newline", framed(`${update}\n\\ No newline at end of file`)],
  ])("is understood %s", (_, patchText) => {
    const hunk = {
      anchors: [],
      isAtEnd: false,
      lines: [
        { mark: "-", text: "a" },
        { mark: "+", text: "b" },
      ],
    };
    expect(read(patchText)).toMatchObject([{ kind: "update", path: "a.txt", moveTo: undefined, hunks: [hunk] }]);
  });

  test("is understood where blank lines have lost their first character, or part two files", () => {
    expect(read(framed("*** Add File: a\n+x\n\n+y\n\n\n*** Update File: b\n@@\n a\n\n-b\n\n*** Delete File: c\n"))).toMatchObject([
      { content: "x\n\ny\n" },
      { hunks: [{ lines: [{ text: "a" }, { mark: " ", text: "" }, { text: "b" }] }] },
      { path: "c" },
    ]);
  });

  const cut = '"*** End Patch", so it may have been cut off.\nSend it whole, or in several smaller ones.';
  const names = 'Begin each file with "*** Update File: PATH", "*** Add File: PATH" or "*** Delete File: PATH".';
  test.each([
    ["", 1, `it is empty.\nThe first line of a patch is "*** Begin Patch" and the last one "*** End Patch".`],
    ["diff --git a b", 1, `it begins with "diff --git a b".\nThe first line of a patch is "*** Begin Patch" and the last one "*** End Patch".`],
    [`*** Begin Patch\n${update}`, 5, `it does not end with ${cut}`],
    ["*** Begin Patch", 1, `it does not end with ${cut}`],
    [framed(""), 1, `it names no file.\n${names}`],
    [framed("@@\n-a"), 2, '"@@" is not expected here.\nName a file first: "*** Update File: PATH", "*** Add File: PATH" or "*** Delete File: PATH".'],
    [framed("*** Update File:"), 2, '"*** Update File:" is not expected here.\nWrite the path behind the colon.'],
    [framed("*** Update File: a"), 2, 'no change of a follows.\nGive hunks: "@@", then lines that begin with a space, - or +.'],
    [
      framed("*** Update File: a\n@@\n-a\nb"),
      5,
      '"b" is not expected here.\nBegin each line of a hunk with a space (stays), "-" (goes) or "+" (comes), and each hunk with "@@".',
    ],
    [
      framed("*** Update File: a\n@@\n-a\n*** End of File\n+b"),
      6,
      '"+b" is not expected here.\nBehind "*** End of File" only another hunk, begun by "@@", or another file may follow.',
    ],
    [framed("*** Update File: a\n@@\n a"), 3, 'this hunk changes nothing.\nGive it lines that begin with "-" (goes) or "+" (comes).'],
    [framed("*** Add File: a\nx"), 3, '"x" is not expected here.\nBegin each line of a new file with "+".'],
    [framed("*** Delete File: a\n-x"), 3, '"-x" is not expected here.\nNothing belongs to "*** Delete File"; the next line names another file.'],
    [
      framed("*** Rename File: a\n"),
      2,
      '"*** Rename File: a" is not expected here.\nName a file first: "*** Update File: PATH", "*** Add File: PATH" or "*** Delete File: PATH".',
    ],
    [framed(Array.from({ length: 101 }, (_, n) => `*** Delete File: ${n}`).join("\n")), 102, "it names more than 100 files.\nSend it in several smaller ones."],
    [framed(`*** Update File: a\n${"@@\n-a\n".repeat(501)}`), 1003, "it has more than 500 hunks.\nSend it in several smaller ones."],
    ["x".repeat(1024 * 1024 + 1), 1, "the patch has more than 1048576 characters.\nSend it in several smaller ones."],
  ])("is refused with the line and the way out: %#", async (patchText, line, message) => {
    expect(await world.fail("patch", { patchText })).toBe(`Nothing was changed. Line ${line} of the patch: ${message}`);
  });

  test("that changes nothing is refused", async () => {
    await world.put("a.txt", "a\n");
    expect(await refusal("*** Update File: a.txt\n@@\n-a\n+a")).toBe(
      "Nothing was changed. Line 2 of the patch: a.txt: the hunks change nothing in it.\nLeave them out, or give what shall be there.",
    );
  });
});

/** A patch of one file, as a model that knows both texts would write it. */
function hunksBetween(before: string, after: string, context: number): string {
  const { hunks } = structuredPatch("f", "f", before, after, undefined, undefined, { context });
  return hunks.map(({ lines }) => ["@@", ...lines].join("\n")).join("\n");
}

const line = fc.string({ unit: fc.constantFrom("a", "b", " ", "\t", "é", "😀", "+", "-", "@", "*"), maxLength: 4 });
const lines = fc.array(line, { maxLength: 12 });

describe("any texts", () => {
  const pair = fc.record({
    before: lines,
    after: lines,
    isTerminated: fc.boolean(),
    ending: fc.constantFrom("\n", "\r\n"),
    mark: fc.constantFrom("", "\uFEFF"),
  });
  const textOf = (of: string[], { isTerminated, ending }: { isTerminated: boolean; ending: string }) =>
    of.join(ending) + (isTerminated && of.length > 0 ? ending : "");
  const apply = (content: string, hunks: string) => {
    const [file] = parsePatch(framed(`*** Update File: f\n${hunks}`));
    return applyHunks("f", content, file?.kind === "update" ? file.hunks : []).text;
  };
  /** Two texts that a patch can lead from one to the other: it says nothing of the last newline, nor of the endings. */
  const given = ({ before, after, ...form }: { before: string[]; after: string[]; isTerminated: boolean; ending: string; mark: string }) => {
    const isComparable = form.isTerminated || (before.at(-1) !== "" && after.at(-1) !== "" && before.length > 0 && after.length > 0);
    fc.pre(isComparable && before.join("\n") !== after.join("\n") && (form.ending === "\n" || before.length > 1));
    const old = textOf(before, { ...form, ending: "\n" });
    const next = textOf(after, { ...form, ending: "\n" });
    return { old, next, from: form.mark + textOf(before, form), to: form.mark + textOf(after, form) };
  };

  test("lead from one to the other by a patch of all lines", () => {
    fc.assert(
      fc.property(pair, (pair) => {
        const { old, next, from, to } = given(pair);
        expect(apply(from, hunksBetween(old, next, 1_000))).toBe(to);
      }),
      { numRuns: 500 },
    );
  });

  test("lead from one to the other by a patch with little context, or it is refused", () => {
    let applied = 0;
    fc.assert(
      fc.property(pair, fc.integer({ min: 1, max: 3 }), (pair, context) => {
        const { old, next, from, to } = given(pair);
        try {
          expect(apply(from, hunksBetween(old, next, context))).toBe(to);
          applied += 1;
        } catch (error) {
          expect(String(error)).toMatch(/fits f at \d+ places/);
        }
      }),
      { numRuns: 1_000 },
    );
    expect(applied).toBeGreaterThan(300);
  });
});

describe("any patch of several files", () => {
  let session = 1;
  const step = fc.record({ kind: fc.constantFrom("add", "delete", "update", "move"), before: lines, after: lines, mode: fc.constantFrom(0o644, 0o755, 0o600) });
  const steps = fc.array(step, { minLength: 1, maxLength: 5 });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
  const content = (of: string[]) => of.map((text) => `${text}\n`).join("");

  /** Puts the files of the steps there; returns the sections of the patch and what shall be there afterwards. */
  async function prepare(all: Step[]): Promise<{ sections: string[]; expected: Record<string, string> }> {
    await rm(world.cwd, { recursive: true });
    await mkdir(world.cwd);
    const expected: Record<string, string> = {};
    const sections: string[] = [];
    for (const [index, { kind, mode, ...texts }] of all.entries()) {
      const path = `d${index % 2}/${index}.txt`;
      const before = content(["first", ...texts.before]);
      const after = content(["changed", ...texts.after]);
      if (kind !== "add") await chmod(await world.put(path, before), mode);
      const hunks = hunksBetween(before, after, 1_000);
      const shown = `${(mode | 0o100000).toString(8)} `;
      if (kind === "add") sections.push(`*** Add File: ${path}\n${after.replace(/^/gm, "+").slice(0, -1)}`);
      if (kind === "delete") sections.push(`*** Delete File: ${path}`);
      if (kind === "update") sections.push(`*** Update File: ${path}\n${hunks}`);
      if (kind === "move") sections.push(`*** Update File: ${path}\n*** Move to: moved/${index}.txt\n${hunks}`);
      if (kind === "add") expected[path] = `${(0o100666 & ~process.umask()).toString(8)} ${after}`;
      if (kind === "update" || kind === "move") expected[kind === "move" ? `moved/${index}.txt` : path] = shown + after;
    }
    return { sections, expected };
  }

  test("gives exactly the expected files", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const { sections, expected } = await prepare(all);
        await patch(sections.join("\n"), { sessionId: `ses_${++session}` });
        const files = Object.entries(await tree()).filter(([, entry]) => entry.startsWith("10"));
        const found = files.map(([path, entry]) => [path, `${entry.split(" ")[0]} ${Buffer.from(entry.split(" ")[3] ?? "", "base64")}`]);
        expect(Object.fromEntries(found)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  test("with one bad step changes nothing", async () => {
    const bad = fc.constantFrom(
      "*** Update File: bad\n@@\n-nowhere",
      "*** Update File: bad\n@@\n-twice\n+x",
      "*** Update File: missing\n@@\n-x",
      "*** Delete File: missing",
      "*** Add File: bad\n+x",
      "*** Add File: bad/below\n+x",
      "*** Add File: made\n+x\n*** Add File: made/below\n+x",
      "*** Add File: ../outside/x\n+x",
      "*** Update File: bad\n*** Move to: also\n@@\n-twice",
      "*** Add File: q/r/s\n-x",
    );
    await fc.assert(
      fc.asyncProperty(steps, bad, fc.nat(), async (all, section, position) => {
        const { sections } = await prepare(all);
        await world.put("bad", "twice\ntwice\n");
        const before = await tree();
        sections.splice(position % (sections.length + 1), 0, section);
        await refusal(sections.join("\n"), { sessionId: `ses_${++session}` });
        expect(await tree()).toEqual(before);
      }),
      { numRuns: 80 },
    );
    expect(await readdir(world.outside)).toEqual([]);
  });
});

describe("a patch as models write it", () => {
  test("may end a hunk with blank lines that the file has not", async () => {
    await world.put("a.txt", "a\nb\nc\n");
    const result = await patch("*** Update File: a.txt\n@@\n b\n-c\n+d\n \n \n*** End of File");
    expect(await text("a.txt")).toBe("a\nb\nd\n");
    expect(result.output).toContain("a.txt: the hunk at line 3 was found overlooking the blank lines at its end. Check the diff.");
    expect(await refusal("*** Update File: a.txt\n@@\n b\n-x\n+d\n ")).toMatch(/a\.txt has no line "x"/);
  });

  test("may have plain quotes and dashes where the file has those of a typesetter", async () => {
    await world.put("a.txt", "“one” – it’s\n  two\u00a0—\nthree\n");
    const result = await patch('*** Update File: a.txt\n@@ "one" - it\'s\n   two -\n-three\n+3');
    expect(await text("a.txt")).toBe("“one” – it’s\n  two\u00a0—\n3\n");
    expect(result.output).toContain("found overlooking white space around lines and which quotes and dashes they have");
  });

  test("may move a file to where it is", async () => {
    await world.put("a.txt", "one\n");
    expect((await patch("*** Update File: a.txt\n*** Move to: a.txt\n@@\n-one\n+two")).output).toMatch(/^M a\.txt \(\+1 -1 lines\)/);
    expect(await text("a.txt")).toBe("two\n");
  });

  test("may have a section for each change of a file, in any order", async () => {
    await world.put("a.txt", "one\ntwo\nthree\n");
    const result = await patch(
      "*** Update File: a.txt\n@@\n-three\n+3\n*** Update File: a.txt\n@@\n-one\n+1\n@@\n-3\n+drei\n*** Update File: a.txt\n*** Move to: b.txt",
    );
    expect(result.output).toMatch(/^M a\.txt -> b\.txt \(\+3 -3 lines\)/);
    expect(await text("b.txt")).toBe("1\ntwo\ndrei\n");
    expect(await refusal("*** Update File: b.txt\n@@\n-1\n+one\n*** Update File: b.txt\n@@\n-nine\n+9")).toMatch(
      /Line 7 of the patch: b\.txt has no line "nine"/,
    );
    expect(await text("b.txt")).toBe("1\ntwo\ndrei\n");
  });

  test("names no directory", async () => {
    await mkdir(at("sub"));
    expect(await refusal("*** Add File: sub\n+x")).toBe("Nothing was changed. Line 2 of the patch: sub: it is a directory.\nGive the path of a file.");
  });
});
