import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readConfigFile } from "../../core/config-files.ts";
import { createExec } from "../../core/exec.ts";
import { type Contents, readState } from "../../core/file-state.ts";
import { lookInto, readRegular, statEntry } from "../../core/held.ts";
import { silentLog } from "../../core/log.ts";
import { NO_TOKENS, textMessage } from "../../core/message.ts";
import { createPaths } from "../../core/paths.ts";
import { createResponseCache } from "../../core/response-cache.ts";
import { createPace, IgnoreRules, scanFolders } from "../../core/scan.ts";
import { createSessions } from "../../core/session.ts";
import { undoChanges } from "../../core/undo.ts";

let [top, work, outside] = ["", "", ""];
const SECRET = "canary of the outside\n";

beforeEach(() => {
  top = realpathSync(mkdtempSync(join(tmpdir(), "races-")));
  [work, outside] = [join(top, "work"), join(top, "outside")];
  for (const folder of [join(work, "d/sub"), join(outside, "sub")]) mkdirSync(folder, { recursive: true });
  for (const name of ["f.txt", "sub/g.txt"]) {
    writeFileSync(join(work, "d", name), "inside\n");
    writeFileSync(join(outside, name), SECRET);
  }
  writeFileSync(join(outside, "only-outside.txt"), SECRET);
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

/** A link to what is outside takes the place of the directory. */
function swap(): void {
  renameSync(join(work, "d"), join(work, ".d"));
  symlinkSync(outside, join(work, "d"));
}

const linux = process.platform === "linux";

describe("a directory that is looked into", () => {
  test("is the one of that name, without a link on its way, or none", () => {
    expect(lookInto(join(work, "d"), (held) => readdirSync(held).sort())).toEqual(["f.txt", "sub"]);
    for (const path of ["none", "d/f.txt", "d/../d"]) expect(lookInto(join(work, path).replace("work/d", "work/./d"), () => 1)).toBe(undefined);
    swap();
    for (const path of ["d", "d/sub"]) expect(lookInto(join(work, path), () => 1)).toBe(undefined);
  });

  test.runIf(linux)("stays the same while it is looked into", () => {
    const seen = lookInto(join(work, "d"), (held) => {
      swap();
      return [readdirSync(held).sort(), readFileSync(join(held, "f.txt"), "utf8"), lstatSync(join(held, "sub/g.txt")).size];
    });
    expect(seen).toEqual([["f.txt", "sub"], "inside\n", 7]);
  });

  test.runIf(linux)("is told by the name that the system has for it, and a pipe is looked at without being opened", () => {
    execFileSync("mkfifo", [join(work, "pipe")]);
    expect(statEntry(join(work, "pipe"))).toMatchObject({ name: join(work, "pipe") });
    swap();
    expect(statEntry(join(work, "d/f.txt")).name).toBe(join(outside, "f.txt"));
    expect(statEntry(join(work, "d")).stats.isSymbolicLink()).toBe(true);
  });
});

describe("what is kept for an undo", () => {
  const kept: string[] = [];
  const contents: Contents = { hasRoom: () => true, keep: (_hash, bytes) => void kept.push(String(bytes)), read: () => ({ reason: "" }) };
  beforeEach(() => void kept.splice(0));

  test("is nothing of what a link leads to that took a place while the workspace was looked through", async () => {
    const seen: string[] = [];
    const visit = (path: string) => {
      seen.push(path.slice(work.length + 1));
      if (path === join(work, "d")) swap();
    };
    await scanFolders({ roots: [work], skip: new Set(), rules: new IgnoreRules(), fresh: true, pace: createPace(5_000), visit });
    expect(seen).toEqual(["d"]);
  });

  test("is no content of another file than the one that was looked at", () => {
    const found = lstatSync(join(work, "d/f.txt"));
    swap();
    expect(readState(join(work, "d/f.txt"), contents, found).state).toMatchObject({ kind: "file", lost: "it could not be read" });
    expect(readState(join(work, "d/f.txt"), contents).state).toEqual({ kind: "absent" });
    expect(readState(join(work, "d"), contents).state).toEqual({ kind: "link", target: outside });
    expect(kept).toEqual([]);
  });

  test("goes back to its own place or nowhere, also when a link takes that place in the middle of the undo", async () => {
    const session = await createSessions({ dir: join(top, "data/sessions"), on() {} }).create({ cwd: work });
    session.append({ id: "msg_1", at: 1, message: textMessage("go") });
    session.count({ tokens: NO_TOKENS });
    const watch = session.snapshots?.watch({ step: 1, isCommand: true, paths: await createPaths({ cwd: work }), isSecret: () => false, log: silentLog });
    await watch?.begin();
    for (const name of ["f.txt", "sub/g.txt"]) rmSync(join(work, "d", name));
    writeFileSync(join(work, "d/only-outside.txt"), "made\n");
    await watch?.end();
    const before = readdirSync(outside, { recursive: true });
    const { contents } = session.snapshots!;
    const real = contents.read.bind(contents);
    contents.read = (hash) => {
      // After the plan has been made of what was there, before anything is put back.
      if (!existsSync(join(work, ".d"))) swap();
      return real(hash);
    };
    const report = await undoChanges(session, { afterStep: -1 });
    expect(report.files).toEqual([]);
    expect(report.left.map(({ path }) => path).sort()).toEqual(["d/f.txt", "d/sub/g.txt"]);
    expect([readdirSync(outside, { recursive: true }), readFileSync(join(outside, "only-outside.txt"), "utf8")]).toEqual([before, SECRET]);
    await session.close();
  });
});

describe("a command", () => {
  test("does not begin where a link has taken the place of its directory", async () => {
    const { exec, close } = createExec({ env: { PATH: process.env.PATH } });
    const signal = new AbortController().signal;
    const run = (cwd: string, isRealCwd: boolean) => exec("sh", ["-c", "pwd; touch here"], { cwd, isRealCwd, signal });
    expect(await run(join(work, "d"), true)).toMatchObject({ exitCode: 0, head: `${join(work, "d")}\n` });
    swap();
    for (const path of ["d", "d/sub"])
      expect(await run(join(work, path), true)).toMatchObject({
        exitCode: 126,
        head: "The command was not run: a link has taken the place of its directory.\n",
      });
    expect(readdirSync(outside).sort()).toEqual(["f.txt", "only-outside.txt", "sub"]);
    expect(await run(join(work, ".d"), false)).toMatchObject({ exitCode: 0 });
    await close();
  });
});

describe("a pipe in the place of a file", () => {
  test("is refused at once, by configurations and caches alike", async () => {
    for (const name of ["agent.json", "key.json"]) execFileSync("mkfifo", [join(work, name)]);
    expect(() => readRegular(join(work, "agent.json"))).toThrow("is not a regular file");
    await expect(readConfigFile(join(work, "agent.json"))).rejects.toMatchObject({ code: "CONFIG_NOT_FOUND" });
    expect(await createResponseCache({ dir: work, log: silentLog }).find("key")).toBe(undefined);
  });
});
