import { expect, test } from "vitest";
import { OUTPUT_BYTES, OUTPUT_LINES, truncateOutput } from "../../core/truncate.ts";

async function cut(text: string, limit?: { lines?: number; bytes?: number }) {
  const kept: string[] = [];
  const keep = async (whole: string) => {
    kept.push(whole);
    return "/tmp/whole.txt";
  };
  const shown = await truncateOutput(text, keep, limit);
  return { shown, kept };
}

const lines = (count: number) => Array.from({ length: count }, (_, index) => `line ${index + 1}`).join("\n");

test("a tool's output has 2,000 lines and 50 KB", () => expect([OUTPUT_LINES, OUTPUT_BYTES]).toEqual([2000, 51_200]));

test("what fits is left alone and kept nowhere", async () => {
  for (const text of ["", lines(2000), "x".repeat(51_200)]) expect(await cut(text)).toEqual({ shown: text, kept: [] });
});

test("too many lines are cut after the last that fits, the whole is kept, and the text says how to read on", async () => {
  const { shown, kept } = await cut(lines(2500));
  expect(kept).toEqual([lines(2500)]);
  expect(shown.startsWith(`${lines(2000)}\n\n`)).toBe(true);
  expect(shown.split("\n").at(-1)).toBe(
    `(Lines 1-2000 of 2500, ${lines(2500).length} bytes in all. The whole is in /tmp/whole.txt: use read with offset 2001, or grep.)`,
  );
});

test("too many bytes are cut at the end of a line", async () => {
  const { shown } = await cut("aaaa\nbbbb\ncccc", { bytes: 12 });
  expect(shown.split("\n\n")[0]).toBe("aaaa\nbbbb");
  expect(shown).toContain("(Lines 1-2 of 3, 14 bytes in all.");
});

test("a single long line is cut between two characters", async () => {
  for (const bytes of [9, 10, 11, 12]) {
    const { shown } = await cut("🙂".repeat(100), { bytes });
    expect(shown.split("\n")[0]).toBe("🙂".repeat(Math.floor(bytes / 4)));
  }
});
