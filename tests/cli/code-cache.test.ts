import { execFile } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import { isBuilt, LAUNCHER, MODEL, makeHome, makeHomeWith, removeHomes, runCommand } from "./command.ts";

afterEach(removeHomes);

const MONTH_MS = 31 * 24 * 60 * 60 * 1000;
const cacheOf = (home: string) => join(home, ".local/share/agent/cache/code");
const filesOf = (home: string) =>
  readdirSync(cacheOf(home)).flatMap((folder) => readdirSync(join(cacheOf(home), folder)).map((file) => join(cacheOf(home), folder, file)));
/** What tells that a file was written anew: each write makes a new one. */
const inodesOf = (home: string) => Object.fromEntries(filesOf(home).map((file) => [file, statSync(file).ino]));
const hello = async (home: string, args: string[] = [], env = {}) => {
  const { code, stdout, stderr } = await runCommand({ args: [...MODEL, "-q", "-p", "Hi", ...args], home, env });
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "Hello.\n", stderr: "" });
};

function damage(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(file, bytes);
}

describe.skipIf(!isBuilt)("compiled code", () => {
  test("is kept by the first run, for its user alone, and read by the next", async () => {
    const home = makeHome();
    await hello(home);
    const first = inodesOf(home);
    expect(Object.keys(first).length).toBeGreaterThan(5);
    expect(filesOf(home).filter((file) => (statSync(file).mode & 0o777) !== 0o600)).toEqual([]);
    await hello(home);
    expect(inodesOf(home)).toEqual(first);
  });

  test("is written anew by a run that loads a file for the first time", async () => {
    const home = makeHomeWith({ "work/turns.json": [{ tools: [{ name: "bash", args: { command: "true" } }] }, { text: "Done." }] });
    await hello(home);
    const first = inodesOf(home);
    await runCommand({ args: ["--model", "demo/script:turns.json", "-q", "-p", "Hi"], home });
    const second = inodesOf(home);
    expect(Object.keys(second).length).toBeGreaterThan(Object.keys(first).length);
    expect(Object.keys(first).filter((file) => file.includes("start-") && second[file] === first[file])).toEqual([]);
  });

  test.each([
    ["has one wrong bit", damage],
    ["is cut", (file: string) => truncateSync(file, statSync(file).size >> 1)],
    ["is empty", (file: string) => truncateSync(file, 0)],
    ["is nothing but zeros", (file: string) => writeFileSync(file, Buffer.alloc(statSync(file).size))],
  ])("that %s is compiled again and replaced", async (_, spoil) => {
    const home = makeHome();
    await hello(home);
    const before = new Map(filesOf(home).map((file) => [file, statSync(file).size]));
    for (const file of filesOf(home)) spoil(file);
    const spoilt = inodesOf(home);
    await hello(home);
    for (const [file, inode] of Object.entries(inodesOf(home))) {
      expect(inode, file).not.toBe(spoilt[file]);
      expect(statSync(file).size, file).toBeGreaterThan((before.get(file) ?? 0) / 2);
    }
  });

  test("is not needed: without a data directory that can be written the answer is the same", async () => {
    await hello(makeHomeWith({ ".local/share/agent/cache": "a file in its place" }));
  });

  test("that others could have written is neither read nor replaced", async () => {
    const home = makeHome();
    await hello(home);
    const [folder] = readdirSync(cacheOf(home));
    chmodSync(join(cacheOf(home), folder!), 0o777);
    // Were it read, the run would crash.
    for (const file of filesOf(home)) damage(file);
    const damaged = inodesOf(home);
    await hello(home);
    expect(inodesOf(home)).toEqual(damaged);
  });

  test("of other versions, of Node or of the package, goes when it was not written for a month", async () => {
    const home = makeHomeWith({ ".local/share/agent/cache/code/v1-x64-0/a.cjs": "old", ".local/share/agent/cache/code/v2-x64-0/a.cjs": "new" });
    const past = new Date(Date.now() - MONTH_MS);
    utimesSync(join(cacheOf(home), "v1-x64-0"), past, past);
    await hello(home);
    const folder = readdirSync(cacheOf(home)).find((name) => name.startsWith(process.version))!;
    expect(readdirSync(cacheOf(home)).sort()).toEqual(["v2-x64-0", folder].sort());

    const [old, recent] = ["old-00000000.cjs", "recent-00000000.cjs"].map((name) => join(cacheOf(home), folder, name));
    for (const path of [old!, recent!]) writeFileSync(path, "code of another version");
    utimesSync(old!, past, past);
    damage(filesOf(home).find((file) => file.includes("start-"))!);
    await hello(home);
    expect(readdirSync(join(cacheOf(home), folder))).toContain("recent-00000000.cjs");
    expect(readdirSync(join(cacheOf(home), folder))).not.toContain("old-00000000.cjs");
  });

  test("serves runs that begin at once", async () => {
    const home = makeHome();
    await Promise.all(Array.from({ length: 4 }, () => hello(home)));
    const first = inodesOf(home);
    await hello(home);
    expect(inodesOf(home)).toEqual(first);
    expect(filesOf(home).filter((file) => !file.endsWith(".cjs"))).toEqual([]);
  });

  test("leaves what a plugin requires as it was", async () => {
    const home = makeHomeWith({
      "work/p.mjs": `import { createRequire } from "node:module";\ncreateRequire(import.meta.url)("./value");\nexport default {};`,
      "work/value.cjs": "",
    });
    const { stderr } = await runCommand({ args: [...MODEL, "-p", "Hi", "--plugin", "./p.mjs"], home });
    expect(stderr).toContain("./value");
  });
});

describe.skipIf(!isBuilt)("the package", () => {
  const root = join(dirname(LAUNCHER), "..");

  test.each(["index", "host", "testing", "plugins"])("gives the same objects to who imports and to who requires: %s", async (name) => {
    const script = `
      const required = require(${JSON.stringify(join(root, `dist/${name}.cjs`))});
      import(${JSON.stringify(pathToFileURL(join(root, `dist/${name}.js`)).href)}).then((imported) => {
        const names = Object.keys(required);
        if (names.length === 0 || names.some((name) => imported[name] !== required[name])) throw new Error(names);
        if (Object.keys(imported).length !== names.length) throw new Error(Object.keys(imported));
      });`;
    await promisify(execFile)(process.execPath, ["-e", script]);
  });

  test("is one, whichever way its entries are taken", async () => {
    const require = createRequire(LAUNCHER);
    expect(require(join(root, "dist/host.cjs")).toAgentError(new (require(join(root, "dist/index.cjs")).AgentError)("INTERRUPTED", {})).code).toBe(
      "INTERRUPTED",
    );
  });
});
