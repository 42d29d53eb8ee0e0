import { readFile } from "node:fs/promises";
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

interface Place {
  /** Lines as they stand in the file. */
  block: string[];
  oldString: string;
  newString: string;
  /** What stands there afterwards, with \n. */
  expected: string;
}

/** Places that only this strategy finds, made of words that occur nowhere else. */
const PLACES: Record<string, (words: string[]) => Place> = {
  exact: ([a, b, c]) => ({
    block: [`\t${a}  ${b}`, `${c}`],
    oldString: `\t${a}  ${b}\n${c}`,
    newString: `${c}$&\n😀`.replace("😀", "$1"),
    expected: `${c}$&\n$1`,
  }),
  "line-trimmed": ([a, b, c]) => ({
    block: [`    ${a}`, `      ${b}`],
    oldString: `${a} \n  ${b}\t`,
    newString: `${c}\n  ${c}`,
    expected: `    ${c}\n      ${c}`,
  }),
  "block-anchor": ([a, b, c]) => ({
    block: [`${a} {`, `${b}${b}${b}1;`, `} ${c}`],
    oldString: `${a} {\n${b}${b}${b}2;\n} ${c}`,
    newString: `${c}\n${a}`,
    expected: `${c}\n${a}`,
  }),
  "whitespace-normalized": ([a, b, c]) => ({ block: [`${a}(  ${b},\t${c} )`], oldString: `${a}( ${b},  ${c} )`, newString: `${c}\n$$`, expected: `${c}\n$$` }),
  "indentation-flexible": ([a, b, c]) => ({
    block: [`    ${a}:`, `    ${b}`, "", `    ${a}:`, `      ${b}`],
    oldString: `${a}:\n  ${b}`,
    newString: `${c}:\n  ${c}`,
    expected: `    ${a}:\n    ${b}\n\n    ${c}:\n      ${c}`,
  }),
  "escape-normalized": ([a, b, c]) => ({ block: [`"${a}"`, `'${b}'`], oldString: `\\"${a}\\"\\n\\'${b}\\'`, newString: `\\"${c}\\"`, expected: `"${c}"` }),
  "trimmed-boundary": ([a, b, c]) => ({ block: [`(${a}.${b})${c}`], oldString: `\n ${a}.${b}\n`, newString: `\n ${c}\n`, expected: `(${c})${c}` }),
  "context-aware": ([a, b, c]) => ({
    block: [`${a} {`, `${b}`, `${a}${b}${c}`, `} ${c}`],
    oldString: `${a} {\n${b}\n${"#".repeat(20)}\n} ${c}`,
    newString: `${c}`,
    expected: `${c}`,
  }),
};

const word = fc.stringMatching(/^[a-z]{5,9}$/);
const utf8Line = fc.string({ unit: fc.constantFrom("A", "B", " ", "\t", "é", "😀", '"', "$", "\\"), maxLength: 12 }).map(Buffer.from);
const rawLine = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes.map((byte) => (byte < 32 ? 0xe9 : byte))));

const surroundings = (line: fc.Arbitrary<Buffer>) =>
  fc.record({
    words: fc.uniqueArray(word, { minLength: 3, maxLength: 3 }),
    before: fc.array(line, { minLength: 1, maxLength: 5 }),
    after: fc.array(line, { maxLength: 5 }),
    ending: fc.constantFrom("\n", "\r\n"),
    isMarked: fc.boolean(),
    isTerminated: fc.boolean(),
  });

describe.each(Object.keys(PLACES))("%s", (strategy) => {
  test.each([
    ["UTF-8", utf8Line],
    ["bytes that are not UTF-8", rawLine],
  ])("changes the place and not a byte around it, in %s", async (_, line) => {
    let session = 1;
    await fc.assert(
      fc.asyncProperty(surroundings(line), async ({ words, before, after, ending, isMarked, isTerminated }) => {
        const { block, oldString, newString, expected } = PLACES[strategy]!(words);
        // A text around it that holds one of the words would be another place.
        fc.pre(![...before, ...after].some((text) => words.some((each) => text.toString("latin1").includes(each))));
        const head = Buffer.concat([Buffer.from(isMarked ? "\uFEFF" : ""), ...before.flatMap((text) => [text, Buffer.from(ending)])]);
        const tail = Buffer.concat(after.flatMap((text) => [Buffer.from(ending), text]).concat(Buffer.from(isTerminated ? ending : "")));
        const bytes = (text: string) => Buffer.from(text.replaceAll("\n", ending));
        await world.put("a.txt", Buffer.concat([head, bytes(block.join("\n")), tail]));
        const result = await world.call("edit", { filePath: "a.txt", oldString, newString }, { sessionId: `ses_${++session}` });
        expect(result.metadata).toMatchObject({ strategy, replacements: 1 });
        expect(await readFile(join(world.cwd, "a.txt"))).toEqual(Buffer.concat([head, bytes(expected), tail]));
      }),
      { numRuns: 30 },
    );
  });

  test("is refused where two places fit", async () => {
    const { block, oldString, newString } = PLACES[strategy]!(["alpha", "bravo", "delta"]);
    const text = `${block.join("\n")}\n--\n${block.join("\n")}\n`;
    await expect(applyEdit("a.txt", text, { oldString, newString })).rejects.toThrow(/oldString was found \d times\.$/);
  });
});

test("an approximate place never counts where an earlier strategy found several", async () => {
  const text = "if x {\n  one\n  two\n}\n--\nif x {\n    one\n  two\n}\n--\nif x {\none\nother\n}\n";
  await expect(applyEdit("a.txt", text, { oldString: "if x {\none\ntwo\n}", newString: "y" })).rejects.toThrow("found 2 times");
});

test("half of the lines between the first and the last must be the same, and as many", async () => {
  const find = (content: string) => applyEdit("a.txt", content, { oldString: "begin\none\n\ntwo\nend", newString: "new" });
  expect((await find("x\nbegin\none\n\nsomething else\nend\n")).text).toBe("x\nnew\n");
  await expect(find("begin\nnothing\n\nof this kind\nend\n")).rejects.toThrow("not found");
  await expect(find("begin\none\nsomething else\nend\n")).rejects.toThrow("not found");
  await expect(find(`${"begin\none\n\nsomething else\nend\n".repeat(101)}`)).rejects.toThrow("not found");
});

test("a file of 1 MB is edited at once, whatever the strategy", async () => {
  const line = `${"x = 1; ".repeat(10)}\n`;
  const text = line.repeat(Math.floor(1_000_000 / line.length));
  await world.put("a.txt", `${text}  the place\n${text.slice(0, 20_000)}`);
  const exact = await cpuMsOf(() => world.call("edit", { filePath: "a.txt", oldString: "  the place", newString: "  this place" }));
  expect(exact).toBeLessThan(1000);
  const others = await cpuMsOf(async () => {
    await world.call("edit", { filePath: "a.txt", oldString: "the place".replace("the", "this "), newString: "that  place" });
    await world.fail("edit", { filePath: "a.txt", oldString: `${line}y\n${line}`, newString: "z" });
  });
  expect(others).toBeLessThan(4000);
});
