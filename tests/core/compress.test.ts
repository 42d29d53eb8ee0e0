import { describe, expect, test } from "vitest";
import { compress, compressOutput, LONG_OUTPUT } from "../../core/compress.ts";
import { cpuMsOf } from "../fixtures/timing.ts";

const filler = (count: number) =>
  Array.from(
    { length: count },
    (_, i) => `plain words of line ${"abcdefghij"[i % 10]}${"klmnopqrst"[Math.floor(i / 10) % 10]}${"uvwxyz"[Math.floor(i / 100) % 6]} and more of them`,
  );
const build = (...important: string[]) => {
  const lines = filler(590);
  for (const [i, line] of important.entries()) lines.splice(200 + i * 40, 0, line);
  return lines.join("\n");
};

describe("a long text", () => {
  test.each([2, 4, 10])("comes down to 1/%i of its length, about", (ratio) => {
    for (const text of [build(), build(...Array.from({ length: 5 }, (_, i) => `error ${i}`)), "x".repeat(50_000), filler(3).join("").repeat(200)]) {
      const { text: short } = compress(text, ratio);
      expect(short.length).toBeLessThan((1.1 * text.length) / ratio + 100);
      expect(short.length).toBeGreaterThan(0);
    }
  });

  test("keeps its head and its tail, in order, and says where lines are missing", () => {
    const { text, leftOut } = compress(build(), 4);
    const lines = text.split("\n");
    const all = filler(590);
    expect(lines.slice(0, 5)).toEqual(all.slice(0, 5));
    expect(lines.slice(-5)).toEqual(all.slice(-5));
    const notes = lines.flatMap((line) => /^… \((\d+) lines? left out\)$/.exec(line)?.[1] ?? []);
    expect(notes.reduce((sum, count) => sum + Number(count), 0)).toBe(leftOut);
    expect(leftOut + lines.length - notes.length).toBe(590);
  });

  test.each([
    "Error: ENOENT: no such file",
    "TypeError at src/deep/file.ts:120:7",
    "Tests do not run without the flag",
    "only if the lock is free, and until it is released",
    "you must never delete this before the backup",
    "wrote 12,345 rows to /var/lib/data.db",
    "export function keepThis(value) {",
    "... (5000 bytes left out; the whole output is in /tmp/out/x.txt) ...",
  ])("keeps the line that matters, word by word: %s", (line) => {
    expect(compress(build(line), 4).text.split("\n")).toContain(line);
  });

  test("never takes a word out of a line", () => {
    const text = build("this is not safe", "it works only after the restart");
    for (const line of compress(text, 6).text.split("\n")) if (!line.startsWith("… (")) expect(text.split("\n")).toContain(line);
  });

  test("loses repeated lines first: neighbours that differ in their numbers, and equal lines anywhere", () => {
    const progress = Array.from({ length: 500 }, (_, i) => `downloading part ${i} of 500`);
    const mixed = [
      "start of the work",
      ...progress,
      ...Array.from({ length: 60 }, (_, i) => [`module ${"x".repeat(i)} compiled`, "the very same warning"]).flat(),
      "end",
    ];
    const { text } = compress(mixed.join("\n"), 2);
    const lines = text.split("\n");
    expect(lines.filter((line) => line.startsWith("downloading"))).toEqual(["downloading part 0 of 500", "downloading part 499 of 500"]);
    expect(lines.filter((line) => line === "the very same warning")).toHaveLength(1);
    expect(lines.filter((line) => line.startsWith("module"))).toHaveLength(60);
  });

  test("keeps errors apart that differ in their numbers", () => {
    const errors = Array.from({ length: 20 }, (_, i) => `src/a.ts:${i}: error: not assignable`);
    const { text } = compress(build(...errors.slice(0, 1)).replace(errors[0] as string, errors.join("\n")), 4);
    for (const error of errors) expect(text).toContain(error);
  });

  test("gives the same every time, and cuts no character in half", () => {
    const text = "🙂".repeat(30_001);
    const { text: short } = compress(text, 4);
    expect(compress(text, 4).text).toBe(short);
    expect(Buffer.from(short).toString()).toBe(short);
  });

  test.each(["", "short", "a\nb\nc"])("that is none stays as it is with the ratio 1: %j", (text) => expect(compress(text, 1)).toEqual({ text, leftOut: 0 }));

  test("of 40,000 lines takes no time to speak of", async () => {
    const text = Array.from({ length: 40_000 }, (_, i) => `line ${i} ${"ab".repeat(i % 7)}`).join("\n");
    expect(await cpuMsOf(() => compress(text, 4))).toBeLessThan(5_000);
  });
});

describe("the output of a tool", () => {
  const kept: string[] = [];
  const spill = async (text: string) => {
    kept.push(text);
    return "/data/tool-output/x.txt";
  };

  test("says where the whole is", async () => {
    const text = build();
    const short = await compressOutput(text, 4, spill);
    expect(kept).toEqual([text]);
    expect(short).toMatch(/\n\n\(Shortened: \d+ of 590 lines are left out, .* The whole is in \/data\/tool-output\/x\.txt: use grep, or read with offset\.\)$/);
  });

  test("stays as it is where it is short, gains nothing, or cannot be kept", async () => {
    const short = "x".repeat(LONG_OUTPUT);
    expect(await compressOutput(short, 4, spill)).toBe(short);
    expect(await compressOutput(build(), 1, spill)).toBe(build());
    expect(await compressOutput(build(), 4, async () => undefined)).toBe(build());
  });
});
