import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

type Edit = { oldString: string; newString: string; replaceAll?: boolean };
const at = (path: string) => join(world.cwd, path);
const multiedit = (edits: Edit[], over = {}) => world.call("multiedit", { filePath: "a.txt", edits }, over);
const refusal = (edits: Edit[], filePath = "a.txt") => world.fail("multiedit", { filePath, edits });
const change = (oldString: string, newString: string, more = {}): Edit => ({ oldString, newString, ...more });

test("applies edits one after the other and says how each was found", async () => {
  await world.put("a.txt", "\uFEFFone\r\n  two\r\nthree three");
  await chmod(at("a.txt"), 0o755);
  const result = await multiedit([change("one", "1"), change("1\ntwo", "1\n2\n$&"), change("three", "3", { replaceAll: true })]);
  expect(await readFile(at("a.txt"), "utf8")).toBe("\uFEFF1\r\n2\r\n$&\r\n3 3");
  expect((await stat(at("a.txt"))).mode & 0o777).toBe(0o755);
  expect(result.output.split("\n").slice(0, 6)).toEqual([
    "Edited a.txt: 3 edits (+4 -3 lines).",
    "1. 1 replacement, exact",
    "2. 1 replacement, found by line-trimmed, overlooking white space around lines",
    "3. 2 replacements, exact",
    "Not every oldString was there exactly. Check the diff.",
    "@@ -1,3 +1,4 @@",
  ]);
  expect(result.title).toBe("a.txt");
  expect(result.metadata).toMatchObject({
    filePath: "a.txt",
    additions: 4,
    deletions: 3,
    edits: [
      { strategy: "exact", replacements: 1 },
      { strategy: "line-trimmed", replacements: 1 },
      { strategy: "exact", replacements: 2 },
    ],
  });
  expect(await readdir(world.cwd)).toEqual(["a.txt"]);
});

test("creates a file by a first edit with an empty oldString", async () => {
  expect((await world.call("multiedit", { filePath: "dir/a.txt", edits: [change("", "a\nb\n"), change("b", "c")] })).output).toBe(
    "Created dir/a.txt (+2 -0 lines).\n1. 1 replacement, exact\n2. 1 replacement, exact\n@@ -0,0 +1,2 @@\n+a\n+c",
  );
  expect(await readFile(at("dir/a.txt"), "utf8")).toBe("a\nc\n");
});

test("changes nothing where one edit does not fit, and names it", async () => {
  await world.put("a.txt", "one\ntwo\ntwo\n");
  const good = change("one", "1");
  const only = "Only the first edit of a file that does not exist may leave it empty.";
  for (const [edits, message] of [
    [[good, change("nope", "x")], "edit 2 of 2: oldString was not found in it.\nRead the file again and copy the text exactly, without line numbers."],
    [[good, change("one", "x"), good], "edit 2 of 3: oldString was not found in it.\nRead the file again and copy the text exactly, without line numbers."],
    [[good, change("two", "x")], "edit 2 of 2: oldString was found 2 times.\nAdd surrounding lines to oldString until it is unique, or set replaceAll."],
    [[change("one", "one"), good], "edit 1 of 2: oldString and newString are the same.\nGive the text as it is and as it shall be."],
    [[change("", "x"), good], "edit 1 of 2: oldString is empty and the file is not.\nGive the text to replace, or use write for the whole file."],
    [[good, change("", "x")], `edit 2 of 2: oldString is empty.\n${only}`],
    [[change("nope", "x")], "oldString was not found in it.\nRead the file again and copy the text exactly, without line numbers."],
  ] as [Edit[], string][])
    expect(await refusal(edits)).toBe(`a.txt was not changed: ${message}`);
  expect(await readFile(at("a.txt"), "utf8")).toBe("one\ntwo\ntwo\n");
  expect(await refusal([change("", "x"), change("", "y")], "new.txt")).toBe(`new.txt was not changed: edit 2 of 2: oldString is empty.\n${only}`);
  expect(await refusal([good], "new.txt")).toMatch(/^File not found: new\.txt/);
  expect(await readdir(world.cwd)).toEqual(["a.txt"]);
});

test("takes 1 to 100 edits, which cannot make a file grow without bounds", async () => {
  await world.put("a.txt", "a".repeat(100));
  expect(await refusal([])).toMatch(/^The input of multiedit is invalid/);
  expect(await refusal(Array.from({ length: 101 }, () => change("a", "b")))).toMatch(/^The input of multiedit is invalid/);
  const all = (oldString: string, newString: string) => change(oldString, newString, { replaceAll: true });
  const growing = [all("a", "b".repeat(100)), all("b", "c".repeat(9)), all("c", "d".repeat(300))];
  expect(await refusal(growing)).toMatch(/edit 3 of 3: 90000 replacements would make it too large/);
});

test("is refused for a file that changed since it was read", async () => {
  await world.put("a.txt", "one\n");
  await world.call("read", { filePath: "a.txt" });
  await writeFile(at("a.txt"), "one, two\n");
  expect(await refusal([change("one", "1")])).toBe("a.txt was not changed: it changed since it was read.\nRead it again, then edit it.");
});

test("keeps bytes that are not UTF-8 where all edits are ASCII", async () => {
  await world.put("a.txt", Buffer.from("caf\xe9 one two", "latin1"));
  await multiedit([change("one", "1"), change("two", "2")]);
  expect(await readFile(at("a.txt"), "latin1")).toBe("caf\xe9 1 2");
  expect(await refusal([change("1", "one"), change("2", "zw\u00f6lf")])).toMatch(/only ASCII text can be edited in it/);
});

test("gives what the edits give one by one, or nothing", async () => {
  const piece = fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "\n", "\r\n", "😀", "$&"), maxLength: 5 });
  const edit = fc.record({ oldString: piece, newString: piece, replaceAll: fc.boolean() });
  let session = 1;
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "\n"), minLength: 1, maxLength: 30 }),
      fc.array(edit, { minLength: 1, maxLength: 4 }),
      async (content, edits) => {
        const sessionId = `ses_${++session}`;
        await world.put("a.txt", content);
        await world.put("b.txt", content);
        const isWhole = await multiedit(edits, { sessionId }).then(
          () => true,
          () => false,
        );
        let isEach = true;
        for (const each of edits)
          isEach &&= await world.call("edit", { filePath: "b.txt", ...each }, { sessionId }).then(
            () => true,
            () => false,
          );
        fc.pre(edits.slice(1).every(({ oldString }) => oldString !== ""));
        expect(isWhole).toBe(isEach);
        expect(await readFile(at("a.txt"), "utf8")).toBe(isEach ? await readFile(at("b.txt"), "utf8") : content);
      },
    ),
    { numRuns: 150 },
  );
});
