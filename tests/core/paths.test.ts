import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { array, assert, asyncProperty, constantFrom, string } from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type Access, createPaths } from "../../core/paths.ts";
import { cpuMsOf } from "../fixtures/timing.ts";

const base = realpathSync(mkdtempSync(join(tmpdir(), "paths-")));
const [W, S, EXTRA, SPILL] = ["W", "S", "extra", "spill"].map((name) => join(base, name)) as [string, string, string, string];
const EVIL = join(base, "W-evil");
for (const folder of [W, S, EXTRA, EVIL, join(W, "sub/deep"), join(S, "inner")]) mkdirSync(folder, { recursive: true });
for (const file of [join(W, "a.txt"), join(W, "sub/b.txt"), join(S, "x"), join(S, "inner/x"), join(EVIL, "x"), join(EXTRA, "e.txt")])
  writeFileSync(file, `content of ${file}`);
for (const [name, target] of Object.entries({
  "in-file": "a.txt",
  "in-dir": "sub",
  "in-absolute": join(W, "sub"),
  "in-dangling": "sub/new.txt",
  "in-chain": "in-chain-2",
  "in-chain-2": "in-file",
  "out-file": "../S/x",
  "out-dir": S,
  "out-dangling": "../S/new",
  "out-dangling-deep": "../S/none/new",
  "chain-1": "chain-2",
  "chain-2": "chain-3",
  "chain-3": "../S/x",
  "chain-dangling-1": "chain-dangling-2",
  "chain-dangling-2": "out-dangling",
  "loop-1": "loop-2",
  "loop-2": "loop-1",
  self: "self",
  "out-root": "/",
  "out-and-back": "../S/../W/a.txt",
  evil: "../W-evil",
  grow: "grow/grow",
  dot: ".",
}))
  symlinkSync(target, join(W, name));
symlinkSync(W, join(S, "back"));
symlinkSync(W, join(base, "W-link"));

const paths = await createPaths({ cwd: join(base, "W-link"), roots: [EXTRA], spillDir: SPILL });
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "resolved",
    (error) => error.code as string,
  );

afterAll(() => rmSync(base, { recursive: true, force: true }));

describe("a path is resolved", () => {
  test("to a real absolute one below the roots, which are real themselves", async () => {
    expect(paths.roots).toEqual([W, EXTRA]);
    for (const [path, real] of [
      ["a.txt", join(W, "a.txt")],
      ["./sub/../a.txt", join(W, "a.txt")],
      [join(W, "a.txt"), join(W, "a.txt")],
      [".", W],
      ["sub/", join(W, "sub")],
      [join(base, "W-link/a.txt"), join(W, "a.txt")],
      [join(EXTRA, "e.txt"), join(EXTRA, "e.txt")],
      ["new/er/file", join(W, "new/er/file")],
      ["../W/a.txt", join(W, "a.txt")],
      ["a.txt/below", join(W, "a.txt/below")],
      ["...", join(W, "...")],
      ["a~", join(W, "a~")],
      ["./~a", join(W, "~a")],
      ["file", join(W, "file")],
    ] as const)
      expect(await paths.resolve(path, "write"), path).toBe(real);
  });

  test("through links that stay inside", async () => {
    for (const [path, real] of [
      ["in-file", "a.txt"],
      ["in-dir/b.txt", "sub/b.txt"],
      ["in-absolute/new", "sub/new"],
      ["in-dangling", "sub/new.txt"],
      ["in-chain", "a.txt"],
      ["dot/dot/a.txt", "a.txt"],
      ["out-and-back", "a.txt"],
      ["out-dir/back/a.txt", "a.txt"],
    ] as const)
      expect(await paths.resolve(path, "write"), path).toBe(join(W, real));
  });

  test("in the spill folder for reading only, even before that exists", async () => {
    const spilled = join(SPILL, "output.txt");
    expect(await paths.resolve(spilled, "read")).toBe(spilled);
    expect(await codeOf(paths.resolve(spilled, "write"))).toBe("PATH_OUTSIDE");
    expect(await codeOf(paths.resolve(`${SPILL}-twin/x`, "read"))).toBe("PATH_OUTSIDE");
  });

  test("and shown relative to the workspace", () => {
    expect(paths.show(join(W, "sub/b.txt"))).toBe("sub/b.txt");
    expect(paths.show(W)).toBe(".");
    expect(paths.show(join(EXTRA, "e.txt"))).toBe(join(EXTRA, "e.txt"));
    expect(paths.show(join(EVIL, "x"))).toBe(join(EVIL, "x"));
  });
});

describe("a path is refused", () => {
  test.each([
    "../S/x",
    join(S, "x"),
    `${W}/../S/x`,
    "/etc/passwd",
    "/",
    "..",
    "../W-evil/x",
    EVIL,
    "a/../../S/new",
    "/dev/zero",
    "/proc/self/environ",
  ])("outside the workspace: %s", async (path) => {
    for (const access of ["read", "write"] as const) {
      expect(await codeOf(paths.resolve(path, access))).toBe("PATH_OUTSIDE");
      expect(await codeOf(paths.open(path, access))).toBe("PATH_OUTSIDE");
    }
  });

  test.each([
    "out-file",
    "out-dir",
    "out-dir/x",
    "out-dir/inner/new",
    "out-dangling",
    "out-dangling-deep",
    "chain-1",
    "chain-dangling-1",
    "out-root",
    "out-root/etc/passwd",
    "evil/x",
  ])("where a link leads out: %s", async (path) => {
    for (const access of ["read", "write"] as const) expect(await codeOf(paths.resolve(path, access))).toBe("PATH_OUTSIDE");
  });

  test.each([
    ["", "it is empty"],
    ["a\0b", "NUL"],
    ["file:///etc/passwd", "URL"],
    ["FILE:a.txt", "URL"],
    ["~/x", '"~"'],
    ["~", '"~"'],
    ["~root/x", '"~"'],
    ["x".repeat(5000), "4096 characters"],
    ["x".repeat(300), "too long"],
    ["loop-1", "circle"],
    ["self/x", "circle"],
    ["grow/x", "circle"],
  ])("with the reason when it is unusable: %j", async (path, reason) => {
    const refused = paths.resolve(path, "read");
    expect(await codeOf(refused)).toBe("PATH_INVALID");
    await expect(refused).rejects.toThrow(reason);
    await refused.catch((error) => expect(error.text.length).toBeLessThan(600));
  });

  test("with the workspace named as the way out", async () => {
    await expect(paths.resolve("../S/x", "read")).rejects.toMatchObject({ message: "../S/x is outside the workspace.", hint: `Use a path below ${W}.` });
  });

  test("in short time when links multiply", async () => {
    for (let n = 0; n < 60; n++) symlinkSync(`many-${n + 1}/many-${n + 1}`, join(W, `many-${n}`));
    const ms = await cpuMsOf(async () => expect(["PATH_INVALID", "resolved"]).toContain(await codeOf(paths.resolve("many-0/x", "write"))));
    expect(ms).toBeLessThan(1000);
  });

  test("when it is a root that does not exist", async () => {
    await expect(createPaths({ cwd: join(base, "none") })).rejects.toMatchObject({ code: "FILE_NOT_FOUND", exit: 2 });
  });
});

describe("opening", () => {
  test("gives a handle to read or write a file", async () => {
    const reading = await paths.open("in-file", "read");
    expect((await reading.readFile("utf8")).startsWith("content")).toBe(true);
    await expect(reading.write("x")).rejects.toThrow();
    await reading.close();
    writeFileSync(join(W, "rw.txt"), "old text");
    const writing = await paths.open("rw.txt", "write");
    await writing.write("new", 0);
    await writing.close();
    expect(await readFile(join(W, "rw.txt"), "utf8")).toBe("new text");
  });

  test("says what is missing or no regular file, and never blocks", async () => {
    execFileSync("mkfifo", [join(W, "fifo")]);
    const started = performance.now();
    for (const access of ["read", "write"] as const) {
      await expect(paths.open("fifo", access)).rejects.toThrow("fifo is a FIFO, not a regular file.");
      await expect(paths.open("sub", access)).rejects.toThrow("sub is a directory, not a regular file.");
      await expect(paths.open("none", access)).rejects.toThrow("File not found: none");
      expect(await codeOf(paths.open("a.txt/x", access))).toBe("FILE_UNSUITABLE");
    }
    // To open a FIFO that nobody writes to takes for ever.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test("a directory holds on to it when a link takes its place", async () => {
    mkdirSync(join(W, "held"));
    const held = await paths.openDirectory("held");
    renameSync(join(W, "held"), join(W, "moved"));
    symlinkSync(S, join(W, "held"));
    await writeFile(join(held.path, ".tmp"), "x", { flag: "wx" });
    await rename(join(held.path, ".tmp"), join(held.path, "new.txt"));
    await held.close();
    if (process.platform === "linux") expect(existsSync(join(W, "moved/new.txt"))).toBe(true);
    expect(existsSync(join(S, "new.txt"))).toBe(process.platform !== "linux");
    for (const path of ["held", "out-dir", "out-dangling", "evil"]) expect(await codeOf(paths.openDirectory(path))).toBe("PATH_OUTSIDE");
    expect(await codeOf(paths.openDirectory("a.txt"))).toBe("FILE_UNSUITABLE");
  });

  test("reads nothing outside while a directory and a link change places", async () => {
    for (const [folder, text] of [
      [join(W, "flip-in"), "inside"],
      [join(S, "flip-out"), "OUTSIDE"],
    ] as const) {
      mkdirSync(folder);
      writeFileSync(join(folder, "f"), text);
    }
    symlinkSync(join(W, "flip-in"), join(W, "flip"));
    let flips = 0;
    let done = false;
    const flipper = (async () => {
      while (!done) {
        symlinkSync(flips++ % 2 === 0 ? join(S, "flip-out") : join(W, "flip-in"), join(W, "flip-next"));
        await rename(join(W, "flip-next"), join(W, "flip"));
      }
    })();
    const seen = new Set<string>();
    for (let n = 0; n < 500; n++) {
      const handle = await paths.open("flip/f", "read").catch((error) => error.code as string);
      if (typeof handle === "string") {
        seen.add(handle);
        continue;
      }
      seen.add(await handle.readFile("utf8"));
      await handle.close();
    }
    done = true;
    await flipper;
    expect(flips).toBeGreaterThan(10);
    expect(seen).not.toContain("OUTSIDE");
  });
});

describe("for any path", () => {
  const segment = constantFrom(
    "..",
    ".",
    "",
    "a.txt",
    "sub",
    "deep",
    "new",
    "W",
    "S",
    "W-evil",
    "x",
    "back",
    "in-file",
    "in-dir",
    "in-absolute",
    "in-dangling",
    "in-chain",
    "out-file",
    "out-dir",
    "out-dangling",
    "out-root",
    "out-and-back",
    "evil",
    "loop-1",
    "dot",
    "chain-1",
    base.slice(1),
  );
  const isBelow = (path: string) => [W, EXTRA].some((root) => path === root || path.startsWith(`${root}/`));

  /** Where the system itself would open or create it. */
  function askSystem(path: string): string | undefined {
    const isNew = !existsSync(path);
    try {
      const isFolder = !isNew && statSync(path).isDirectory();
      const file = openSync(path, isFolder ? constants.O_RDONLY : constants.O_CREAT | constants.O_WRONLY);
      const real = readlinkSync(`/proc/self/fd/${file}`);
      closeSync(file);
      if (isNew) rmSync(real);
      return real;
    } catch {
      return undefined;
    }
  }

  test.runIf(process.platform === "linux")("the resolver says where the system would create it, or refuses", async () => {
    const onDisk = array(segment, { maxLength: 7 }).map((parts) => parts.join("/"));
    // The system's own folders are asked about, never written to: only what lies below the test's folder is opened.
    const property = asyncProperty(onDisk, async (path) => {
      const answer = await paths.resolve(path, "write").catch((error) => error.code as string);
      if (answer.startsWith("PATH_")) {
        const wanted = resolve(W, path);
        if (path === "" || !wanted.startsWith(base) || wanted.includes("out-root")) return true;
        const real = askSystem(wanted);
        return real === undefined || !isBelow(real);
      }
      const real = askSystem(resolve(W, path));
      return isBelow(answer) && (real === undefined || real === answer);
    });
    await assert(property, { numRuns: 500 });
  });

  test("an answer is below a root and stable, whatever the characters", async () => {
    const property = asyncProperty(string({ unit: "binary", maxLength: 60 }), constantFrom<Access>("read", "write"), async (path, access) => {
      const answer = await paths.resolve(path, access).catch((error) => error.code as string);
      if (answer.startsWith("PATH_")) return true;
      return isBelow(answer) && (await paths.resolve(answer, access)) === answer;
    });
    await assert(property, { numRuns: 300 });
  });
});
