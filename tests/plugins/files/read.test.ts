import { execFileSync } from "node:child_process";
import { mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cpuMsOf } from "../../fixtures/timing.ts";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `line ${index + 1}`).join("\n");
const read = async (input: Record<string, unknown>) => (await world.call("read", input)).output;
const linesOf = (output: string) => output.split("\n").filter((line) => /^\d{5,}\| /.test(line));

describe("a text file", () => {
  test("comes with line numbers and says where it ends", async () => {
    await world.put("a.txt", "alpha\nbeta\n");
    const result = await world.call("read", { filePath: "a.txt" });
    expect(result.output).toBe("<file>\n00001| alpha\n00002| beta\n\n(End of file - total 2 lines)\n</file>");
    expect(result.title).toBe("a.txt");
  });

  test("that is empty says so", async () => {
    await world.put("a.txt", "");
    expect(await read({ filePath: "a.txt" })).toBe("<file>\n\n(The file is empty.)\n</file>");
  });

  test("of 2,105 lines shows its first and last 1,000", async () => {
    await world.put("a.txt", numbered(2105));
    const output = await read({ filePath: "a.txt" });
    expect(output).toContain("00001| line 1\n");
    expect(output).toContain("01000| line 1000\n... [omitted lines 1001..1105] ...\n01106| line 1106");
    expect(output).toContain("02105| line 2105\n\n(Use 'offset' to read the omitted lines.)\n(End of file - total 2105 lines)");
  });

  test("says how to read on when offset or limit is given", async () => {
    await world.put("a.txt", numbered(30));
    const output = await read({ filePath: "a.txt", offset: 11, limit: 5 });
    expect(linesOf(output)).toEqual([11, 12, 13, 14, 15].map((n) => `000${n}| line ${n}`));
    expect(output).toContain("(File has more lines. Use 'offset' to read beyond line 15. Total 30 lines.)");
  });

  test("never shows more than 2,000 lines or 50 KB", async () => {
    await world.put("lines.txt", numbered(5000));
    await world.put("bytes.txt", Array.from({ length: 1500 }, (_, index) => `${index} ${"é".repeat(100)}`).join("\n"));
    expect(linesOf(await read({ filePath: "lines.txt", limit: 9999 }))).toHaveLength(2000);
    for (const input of [{ filePath: "bytes.txt" }, { filePath: "bytes.txt", offset: 7 }]) {
      const output = await read(input);
      expect(Buffer.byteLength(output)).toBeLessThan(50 * 1024 + 300);
      expect(Buffer.byteLength(output)).toBeGreaterThan(48 * 1024);
    }
  });

  test("with an offset beyond its end is an error that gives the number of lines", async () => {
    await world.put("a.txt", numbered(12));
    expect(await world.fail("read", { filePath: "a.txt", offset: 900 })).toBe("a.txt has 12 lines; offset 900 is beyond its end.\nUse an offset from 1 to 12.");
  });

  test("takes offset 0 as the first line, and no negative one", async () => {
    await world.put("a.txt", "alpha\n");
    expect(await read({ filePath: "a.txt", offset: 0 })).toContain("00001| alpha");
    expect(await world.fail("read", { filePath: "a.txt", offset: -1 })).toMatch(/^The input of read is invalid: offset: /);
  });

  test("loses byte order mark and returns, and nothing else", async () => {
    await world.put("a.txt", "\uFEFFalpha\r\n  beta\r\n");
    expect(linesOf(await read({ filePath: "a.txt" }))).toEqual(["00001| alpha", "00002|   beta"]);
  });

  test("that is not valid UTF-8 is shown and says so", async () => {
    await world.put("a.txt", Buffer.from("caf\xe9\n", "latin1"));
    expect(await read({ filePath: "a.txt" })).toContain(
      "00001| caf\uFFFD\n\n(End of file - total 1 line)\n(The file is not valid UTF-8; bytes that are not are shown as \uFFFD.)",
    );
  });

  test("keeps characters whole that lie across the pieces in which it is read", async () => {
    const text = `x${"€😀".repeat(60_000)}\n`.repeat(2);
    await world.put("a.txt", text);
    const output = await read({ filePath: "a.txt", columnOffset: 89_000, columnLimit: 2000 });
    expect(output).not.toContain("\uFFFD");
    expect(output).not.toContain("not valid UTF-8");
  });
});

describe("a long line", () => {
  test("shows its first and last 1,000 characters", async () => {
    await world.put("a.txt", `${"a".repeat(1000)}${"b".repeat(1008)}${"c".repeat(1000)}`);
    expect(linesOf(await read({ filePath: "a.txt" }))).toEqual([
      `00001| ${"a".repeat(1000)} ... [omitted columns 1001..2008 of line 1] ... ${"c".repeat(1000)}`,
    ]);
  });

  test("is read through a window of columns", async () => {
    await world.put("a.txt", "0123456789TARGET0123456789");
    expect(linesOf(await read({ filePath: "a.txt", columnOffset: 10, columnLimit: 6 }))).toEqual([
      "00001| [omitted columns 1..10 of line 1] ... TARGET ... [omitted columns 17..26 of line 1]",
    ]);
  });

  test("never comes with half a character at the edge of the window", async () => {
    await world.put("a.txt", "😀".repeat(20));
    expect(linesOf(await read({ filePath: "a.txt", columnOffset: 3, columnLimit: 2 }))).toEqual([
      "00001| [omitted columns 1..2 of line 1] ... 😀😀 ... [omitted columns 7..40 of line 1]",
    ]);
  });
});

test("every line of any file is reachable by going from window to window", async () => {
  const line = fc.string({ unit: fc.constantFrom("a", "é", "😀", " ", "\t", "\r", "x".repeat(700)), maxLength: 12 }).map((text) => text.replace(/\r+$/, ""));
  const file = fc.array(line, { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(file, fc.integer({ min: 1, max: 15 }), fc.integer({ min: 50, max: 2000 }), async (lines, limit, columnLimit) => {
      await world.put("any.txt", `${lines.join("\n")}\n`);
      const seen = lines.map(() => "");
      for (let offset = 1; offset <= lines.length; offset += limit) {
        let longest = 0;
        for (let columnOffset = 0; columnOffset <= longest; columnOffset += columnLimit) {
          const output = await read({ filePath: "any.txt", offset, limit, columnOffset, columnLimit });
          const pattern =
            /^(\d{5,})\| (?:\[omitted columns (\d+)\.\.(\d+) of line \d+\](?: \.\.\. |$))?([\s\S]*?)(?: \.\.\. \[omitted columns \d+\.\.(\d+) of line \d+\])?$/;
          for (const shown of output.split("\n").filter((text) => /^\d{5,}\| /.test(text))) {
            const [, number, , until, text = "", rest] = pattern.exec(shown)!;
            longest = Math.max(longest, Number(rest ?? 0));
            const at = Number(until ?? 0);
            const known = seen[Number(number) - 1]!;
            if (at <= known.length) seen[Number(number) - 1] = known.slice(0, at) + text + known.slice(at + text.length);
          }
        }
      }
      expect(seen).toEqual(lines);
    }),
    { numRuns: 60 },
  );
});

describe("a huge file", () => {
  const growthOf = async (work: () => Promise<unknown>) => {
    const before = process.memoryUsage().rss;
    const ms = await cpuMsOf(work);
    return { bytes: process.memoryUsage().rss - before, ms };
  };

  test("of 5 GB shows its beginning in less than a second and in little memory", async () => {
    const file = await world.put("big.log", `${numbered(5000)}\n`);
    await truncate(file, 5 * 1024 ** 3);
    let output = "";
    const { bytes, ms } = await growthOf(async () => {
      output = await read({ filePath: "big.log" });
    });
    expect(linesOf(output)).toHaveLength(2000);
    expect(output).toContain("(File has more lines. Use 'offset' to read beyond line 2000.)");
    expect(ms).toBeLessThan(2000);
    expect(bytes).toBeLessThan(32 * 1024 * 1024);
  });

  test("with one line of 200 MB shows its beginning, and any part on request", async () => {
    const file = await world.put("line.txt", "a".repeat(20 * 1024 * 1024));
    for (let part = 1; part < 10; part += 1) await writeFile(file, "b".repeat(20 * 1024 * 1024), { flag: "a" });
    const ms = await cpuMsOf(async () =>
      expect(linesOf(await read({ filePath: "line.txt" }))).toEqual([
        `00001| ${"a".repeat(1000)} ... [omitted columns from 1001 of line 1, which is very long]`,
      ]),
    );
    expect(ms).toBeLessThan(2000);
    expect(await read({ filePath: "line.txt", columnOffset: 20 * 1024 * 1024 - 2, columnLimit: 4 })).toContain(" ... aabb ... ");
  });

  test("stops when the call is aborted", async () => {
    const file = await world.put("big.log", `${numbered(5000)}\n`);
    await truncate(file, 5 * 1024 ** 3);
    const stop = new AbortController();
    const reading = world.call("read", { filePath: "big.log", offset: 9000 }, { signal: stop.signal });
    stop.abort();
    await expect(reading).rejects.toThrow(/abort/i);
  });
});

describe("what is not text", () => {
  test("binary files are refused", async () => {
    await world.put("a.dat", Buffer.from([1, 2, 0, 3]));
    await world.put("b.dat", Buffer.from("\x01\x02\x03\x04text"));
    await world.put("c.zip", "not really");
    const text = (name: string) => `${name} is a binary file.\nLook at it with a program that knows its format.`;
    for (const name of ["a.dat", "b.dat", "c.zip"]) expect(await world.fail("read", { filePath: name })).toBe(text(name));
  });

  test("UTF-16 is refused with the way to convert it", async () => {
    await world.put("a.txt", Buffer.from("\uFEFFhello", "utf16le"));
    expect(await world.fail("read", { filePath: "a.txt" })).toBe(
      "a.txt is UTF-16 text, not UTF-8.\nConvert it first, for example with iconv -f UTF-16 -t UTF-8.",
    );
  });

  test.each([
    ["a.png", "89504e470d0a1a0a00000000", "image/png"],
    ["a.jpg", "ffd8ffe000104a46", "image/jpeg"],
    ["a.gif", Buffer.from("GIF89a....").toString("hex"), "image/gif"],
    ["a.webp", Buffer.from("RIFF....WEBPVP8 ").toString("hex"), "image/webp"],
  ])("%s becomes an attachment", async (name, hex, mediaType) => {
    await world.put(name, Buffer.from(hex, "hex"));
    const result = await world.call("read", { filePath: name });
    expect(result.output).toBe("Image read");
    expect(result.attachments).toEqual([{ mediaType, data: Buffer.from(hex, "hex").toString("base64"), filename: name }]);
  });

  test("a PDF becomes an attachment", async () => {
    await world.put("a.pdf", "%PDF-1.7\nx");
    const result = await world.call("read", { filePath: "a.pdf" });
    expect([result.output, result.attachments?.[0]?.mediaType]).toEqual(["PDF read", "application/pdf"]);
  });

  test("a page that was saved as an image is refused", async () => {
    await world.put("a.png", "<!DOCTYPE html>");
    expect(await world.fail("read", { filePath: "a.png" })).toBe(
      "a.png is not a PNG, JPEG, GIF or WebP image: it begins with 3c 21 44 4f 43 54 59 50.\nIf it is text, copy it to another name and read that.",
    );
  });

  test("an image of more than 5 MB is refused", async () => {
    const file = await world.put("a.png", Buffer.from("89504e470d0a1a0a", "hex"));
    await truncate(file, 6 * 1024 * 1024);
    expect(await world.fail("read", { filePath: "a.png" })).toBe("a.png is too large to attach: 6.0 MB of at most 5 MB.\nMake it smaller first.");
  });

  test("a FIFO is refused at once", async () => {
    execFileSync("mkfifo", [join(world.cwd, "pipe")]);
    const started = performance.now();
    expect(await world.fail("read", { filePath: "pipe" })).toBe("pipe is not a regular file (a device, a FIFO or a socket).");
    // To open one that nobody writes to takes for ever.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test("a link to a device is outside", async () => {
    await symlink("/dev/zero", join(world.cwd, "zero"));
    expect(await world.fail("read", { filePath: "zero" })).toMatch(/^zero is outside the workspace/);
  });

  test("a directory gives its names", async () => {
    await world.put("src/b.ts", "");
    await world.put("src/deep/c.ts", "");
    expect(await read({ filePath: "src" })).toBe("<directory>\nb.ts\ndeep/\n</directory>");
    await mkdir(join(world.cwd, "empty"));
    expect(await read({ filePath: "empty" })).toBe("<directory>\n(The directory is empty.)\n</directory>");
    for (let index = 0; index < 110; index += 1) await world.put(`many/${index}`, "");
    expect(await read({ filePath: "many" })).toMatch(/\n\(10 more entries\. Use glob with a pattern to find one\.\)$/);
  });
});

describe("what is not there", () => {
  test("brings names that look alike", async () => {
    await world.put("src/index.ts", "");
    await world.put("src/other.md", "");
    expect(await world.fail("read", { filePath: "src/indx.ts" })).toBe("File not found: src/indx.ts\nDid you mean one of these?\nsrc/index.ts");
    expect(await world.fail("read", { filePath: "nowhere/at/all" })).toBe("File not found: nowhere/at/all");
    expect(await world.fail("read", { filePath: "src/index.ts/x" })).toBe("File not found: src/index.ts/x");
  });

  test("is nothing outside, by whatever link", async () => {
    await writeFile(join(world.outside, "secret.txt"), "SECRET");
    await symlink(world.outside, join(world.cwd, "link"));
    await symlink(join(world.outside, "secret.txt"), join(world.cwd, "file"));
    await symlink("loop", join(world.cwd, "loop"));
    for (const filePath of ["link/secret.txt", "file"]) expect(await world.fail("read", { filePath })).toMatch(/is outside the workspace\.\nUse a path below/);
    expect(await world.fail("read", { filePath: "loop" })).toMatch(/is not a usable path/);
    await world.put("real/a.txt", "inside");
    await symlink("real", join(world.cwd, "within"));
    expect(await read({ filePath: "within/a.txt" })).toContain("inside");
  });
});

test("UTF-32 is told from UTF-16, of which it has the first bytes", async () => {
  await world.put("a.txt", Buffer.from([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]));
  expect(await world.fail("read", { filePath: "a.txt" })).toBe(
    "a.txt is UTF-32 text, not UTF-8.\nConvert it first, for example with iconv -f UTF-32 -t UTF-8.",
  );
  expect(await world.fail("edit", { filePath: "a.txt", oldString: "a", newString: "b" })).toMatch(/it is UTF-32 text, not UTF-8\.\n.* -f UTF-32 /);
});
