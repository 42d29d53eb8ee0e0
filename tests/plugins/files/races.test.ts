import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ToolContext } from "agent-runtime";
import { describe, expect, test } from "vitest";
import { createWorld, type World } from "./context.ts";

type Paths = ToolContext["paths"];

const SECRET = "canary of the outside\n";
/** Only the folder outside has it. */
const OUTSIDE_NAME = "only-outside.txt";

/** `work/d` and `outside` look alike; `swap` puts a link to `outside` in the place of `work/d`. */
async function makeTwins(): Promise<World & { swap(): void; outsideFiles(): Record<string, string> }> {
  const world = await createWorld();
  await world.put("d/f.txt", "canary inside\n");
  await world.put("d/sub/g.txt", "canary inside\n");
  mkdirSync(join(world.outside, "sub"));
  for (const name of ["f.txt", OUTSIDE_NAME, "sub/g.txt", `sub/${OUTSIDE_NAME}`]) writeFileSync(join(world.outside, name), SECRET);
  return {
    ...world,
    swap() {
      renameSync(join(world.cwd, "d"), join(world.cwd, ".d"));
      symlinkSync(world.outside, join(world.cwd, "d"));
    },
    outsideFiles: () =>
      Object.fromEntries(
        readdirSync(world.outside, { recursive: true, withFileTypes: true }).map((entry) => {
          const path = join(entry.parentPath, entry.name);
          return [path.slice(world.outside.length), entry.isFile() ? readFileSync(path, "utf8") : ""];
        }),
      ),
  };
}

/** Does `act` before its `nth` use and again not at all; `before` or after the real one. */
function atUse(paths: Paths, nth: number, isBefore: boolean, act: () => void): { paths: Paths; uses(): number } {
  let uses = 0;
  const around = <A extends unknown[], R>(real: (...args: A) => R) => {
    return (...args: A): R => {
      const isNow = uses++ === nth;
      if (isNow && isBefore) act();
      const result = real(...args);
      if (!isNow || isBefore) return result;
      if (!(result instanceof Promise)) {
        act();
        return result;
      }
      return result.finally(act) as R;
    };
  };
  const { resolve, stat, look, open, openDirectory } = paths;
  return {
    paths: {
      ...paths,
      resolve: around(resolve),
      stat: around(stat),
      look: around(look) as Paths["look"],
      open: around(open),
      openDirectory: around(openDirectory),
    },
    uses: () => uses,
  };
}

const patch = (...lines: string[]) => ["patch", { patchText: ["*** Begin Patch", ...lines, "*** End Patch"].join("\n") }] as const;

const CALLS: [name: string, input: Record<string, unknown>][] = [
  ["read", { filePath: "d/f.txt" }],
  ["read", { filePath: "d" }],
  ["read", { filePath: "d/only-outsid.txt" }],
  ["write", { filePath: "d/new.txt", content: "x" }],
  ["write", { filePath: "d/new/deep/new.txt", content: "x" }],
  ["edit", { filePath: "d/f.txt", oldString: "canary", newString: "bird" }],
  ["edit", { filePath: "d/new.txt", oldString: "", newString: "x" }],
  ["multiedit", { filePath: "d/sub/g.txt", edits: [{ oldString: "canary", newString: "bird" }] }],
  [...patch("*** Update File: d/f.txt", "@@", "-canary inside", "+bird")],
  [...patch("*** Add File: d/a/b.txt", "+x", "*** Delete File: d/sub/g.txt")],
  [...patch("*** Update File: d/f.txt", "*** Move to: d/sub/moved.txt", "@@", "-canary inside", "+bird")],
  ["list", { path: "d" }],
  ["list", {}],
  ["glob", { pattern: "**/*.txt", path: "d" }],
  ["glob", { pattern: "d/*.txt" }],
  ["grep", { pattern: "canary", path: "d" }],
  ["grep", { pattern: "canary of", path: "." }],
  ["grep", { pattern: "canary", path: "d/f.txt" }],
  ["grep", { pattern: "canary", include: "*.none", path: "d" }],
];

describe.runIf(process.platform === "linux")("where a link takes the place of a directory in the middle of a call", () => {
  test.each(CALLS)("%s %j neither touches nor tells what is outside, at whatever moment", async (name, input) => {
    let moments = 1;
    for (let nth = 0; nth < moments; nth++) {
      for (const isBefore of [true, false]) {
        const world = await makeTwins();
        const before = world.outsideFiles();
        const { paths, uses } = atUse(world.context.paths, nth, isBefore, world.swap);
        // Reading first, so that overwriting is allowed.
        for (const filePath of ["d/f.txt", "d/sub/g.txt"]) await world.call("read", { filePath });
        const told = await world.call(name, input, { paths }).then(
          (result) => JSON.stringify(result),
          (error: Error) => String(error),
        );
        moments = Math.max(moments, uses());
        expect(world.outsideFiles(), `moment ${nth}, ${isBefore}`).toEqual(before);
        expect(told, `moment ${nth}, ${isBefore}`).not.toMatch(/canary of the|only-outside/);
        const kept = join(world.cwd, ".d");
        if (existsSync(kept)) expect(readdirSync(kept, { recursive: true }).filter((file) => String(file).endsWith(".tmp"))).toEqual([]);
        await world.close();
      }
    }
    expect(moments).toBeGreaterThan(1);
  });

  test("what a search has read outside is not confirmed, though the file has the same name inside", async () => {
    const world = await makeTwins();
    let [searches, running] = [0, 0];
    const exec: ToolContext["exec"] = async (file, args, options) => {
      // While ripgrep runs there is a link; before and after it the directory.
      if (running++ === 0) world.swap();
      const result = await world.context.exec(file, args, options);
      searches++;
      if (--running > 0) return result;
      rmSync(join(world.cwd, "d"));
      renameSync(join(world.cwd, ".d"), join(world.cwd, "d"));
      return result;
    };
    const found = await world.call("grep", { pattern: "canary", path: "d" }, { exec });
    expect([found.output, found.metadata, searches > 1]).toEqual(["No matches found", { matches: 0, files: 0, truncated: false }, true]);
    expect((await world.call("glob", { pattern: "**/*", path: "d" }, { exec })).output.split("\n").sort()).toEqual(["d/f.txt", "d/sub/g.txt"]);
    expect((await world.call("list", { path: "d" }, { exec })).output).not.toContain("only-outside");
    expect((await world.call("grep", { pattern: "canary", path: "d" })).output).toContain("Found 2 matches");
    await world.close();
  });
});

describe("grep confirms what it shows also in a file", () => {
  test.each<[string, Uint8Array]>([
    ["with a byte order mark", Buffer.from("\uFEFFone canary\ntwo canary\n")],
    ["in UTF-16", Buffer.from("\uFEFFone canary\r\ntwo canary é\r\n", "utf16le")],
    ["in big-endian UTF-16", Buffer.from("\uFEFFone canary\ntwo canary\n", "utf16le").swap16()],
    ["in Latin-1", Buffer.from("one canary caf\xe9\r\ntwo canary\r\n", "latin1")],
    ["without a last newline", Buffer.from("one canary\r\ntwo canary")],
  ])("%s", async (_, content) => {
    const world = await createWorld();
    await world.put("a.txt", content);
    const { output } = await world.call("grep", { pattern: "canary" });
    expect(output).toMatch(/^Found 2 matches\na\.txt:\n {2}Line 1: one canary.*\n {2}Line 2: two canary/);
    await world.close();
  });
});
