import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

interface Input {
  offset?: number;
  limit?: number;
  columnOffset?: number;
  columnLimit?: number;
}

/** Reads a file as one does who knows nothing but what the outputs say, and puts the pieces of each line together. */
async function readByTheOutputs(filePath: string): Promise<string[]> {
  const pieces: { line: number; column: number; text: string }[] = [];
  const asked = new Set<string>();
  const todo: Input[] = [{}];
  for (let input = todo.shift(); input !== undefined; input = todo.shift()) {
    expect(asked.has(JSON.stringify(input)), "it is told to read the same again").toBe(false);
    asked.add(JSON.stringify(input));
    const { output } = await world.call("read", { filePath, ...input });
    checkLimits(output);
    for (const line of output.split("\n")) todo.push(...follow(line, input, pieces));
  }
  const lines: string[] = [];
  for (const { line, column, text } of pieces.sort((a, b) => a.line - b.line || a.column - b.column)) {
    const known = lines[line - 1] ?? "";
    expect(column, `line ${line} has a gap, or a part of it twice`).toBe(known.length + 1);
    lines[line - 1] = known + text;
  }
  return lines;
}

function checkLimits(output: string): void {
  const shown = output.split("\n").filter((line) => /^\d{5,}\| /.test(line));
  expect(shown.length).toBeLessThanOrEqual(2000);
  expect(Buffer.byteLength(output)).toBeLessThanOrEqual(50 * 1024);
  for (const line of shown) expect(line.replace(/\[omitted columns [^\]]*\]/g, "").length).toBeLessThanOrEqual("00001|  ...  ... ".length + 2002);
  expect(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(output), "half a character").toBe(false);
  expect(output).not.toContain("\uFFFD");
}

const OMITTED = /\[omitted columns (\d+)\.\.(\d+) of line \d+\]/;

/** Takes what a line of the output shows, and says what it leaves to be read. */
function follow(line: string, input: Input, pieces: { line: number; column: number; text: string }[]): Input[] {
  const between = /^\.\.\. \[omitted lines (\d+)\.\.(\d+)\] \.\.\.$/.exec(line);
  if (between !== null) return [{ offset: Number(between[1]), limit: Number(between[2]) - Number(between[1]) + 1 }];
  const more = /^\(File has more lines\. Use 'offset' to read beyond line (\d+)\./.exec(line);
  if (more !== null) return readOn(Number(more[1]) + 1, input);
  const [, number, shown = ""] = /^(\d{5,})\| ([\s\S]*)$/.exec(line) ?? [];
  if (number === undefined) return [];
  const left: Input[] = [];
  let column = 1;
  for (const part of shown.split(/(?: \.\.\. |^)(?=\[omitted)|(?<=of line \d+\])(?: \.\.\. |$)/)) {
    const gap = OMITTED.exec(part);
    if (gap === null) {
      if (part !== "" || shown === "") pieces.push({ line: Number(number), column, text: part });
      column += part.length;
      continue;
    }
    const [from, to] = [Number(gap[1]), Number(gap[2])];
    expect(from).toBe(column);
    const last = input.columnLimit === undefined ? to : Math.min(to, input.columnOffset! + input.columnLimit);
    if (from > (input.columnOffset ?? 0) && from <= last) left.push({ offset: Number(number), limit: 1, columnOffset: from - 1, columnLimit: last - from + 1 });
    column = to + 1;
  }
  return left;
}

/** A window ends where it was asked to; what was left out of it by its size is read on. */
function readOn(offset: number, { offset: first, limit, columnOffset }: Input): Input[] {
  if (columnOffset !== undefined) return [];
  if (first === undefined || limit === undefined) return [{ offset }];
  const rest = first + limit - offset;
  return rest > 0 ? [{ offset, limit: rest }] : [];
}

const SHORT = ["a", "é", "😀", "漢字", " ", "\t", "\r", "👩‍👩‍👧", "word ".repeat(10)];
const LONG = [...SHORT, "x".repeat(700), "é€😀".repeat(900)];
const linesOf = (words: string[], maxLength: number) =>
  fc.array(
    fc.array(fc.constantFrom(...words), { maxLength: 8 }).map((all) => all.join("").replace(/\r+$/, "")),
    { minLength: 1, maxLength },
  );
const file = fc.record({
  lines: fc.oneof(
    linesOf(LONG, 12),
    fc
      .record({ lines: linesOf(SHORT, 30), times: fc.integer({ min: 1, max: 200 }) })
      .map(({ lines, times }) => Array.from({ length: times }, () => lines).flat()),
  ),
  newline: fc.constantFrom("\n", "\r\n"),
  mark: fc.constantFrom("", "\uFEFF"),
  isEnded: fc.boolean(),
});

test("whoever does what the outputs say reads every line and column once, and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(file, async ({ lines, newline, mark, isEnded }) => {
      await world.put("any.txt", mark + lines.join(newline) + (isEnded ? newline : ""));
      // What follows the last newline is no line when it is empty.
      const expected = isEnded || lines.at(-1) !== "" ? lines : lines.slice(0, -1);
      expect(await readByTheOutputs("any.txt")).toEqual(expected);
    }),
    { numRuns: 60 },
  );
}, 180_000);
