import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NO_TOKENS, textMessage } from "../../core/message.ts";
import { createPaths } from "../../core/paths.ts";
import { createMemorySessions, createSessions, type Session } from "../../core/session.ts";
import type { CallWatch } from "../../core/snapshot.ts";
import { type UndoOptions, undoChanges } from "../../core/undo.ts";

let top: string;
let work: string;
const warnings: string[] = [];
const log = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
const opened: Session[] = [];

beforeEach(() => {
  top = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "snapshot-")));
  work = join(top, "work");
  fs.mkdirSync(work);
  warnings.length = 0;
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((session) => session.close()));
  fs.rmSync(top, { recursive: true, force: true });
});

const sessionsIn = (folder: string) => createSessions({ dir: join(folder, "data/sessions"), on() {} });

async function begin(): Promise<Session> {
  const session = await sessionsIn(top).create({ cwd: work });
  session.append({ id: "msg_1", at: 1, message: textMessage("go") });
  opened.push(session);
  return session;
}

/** A step of the session whose calls, one after the other, are watched; `commands` change anything, `writes` the paths that they name. */
async function step(session: Session, ...calls: ((() => void) | { path: string; write(): void })[]): Promise<void> {
  session.count({ tokens: NO_TOKENS });
  const paths = await createPaths({ cwd: session.meta.cwd });
  for (const call of calls) {
    const isCommand = typeof call === "function";
    const watch = session.snapshots?.watch({ step: session.meta.steps, isCommand, paths, isSecret: () => false, log });
    await watch?.begin();
    if (!isCommand) await watch?.keep(call.path);
    if (isCommand) call();
    else call.write();
    await watch?.end();
  }
}

const put = (path: string, text: string) => () => fs.writeFileSync(join(work, path), text);
const read = (path: string) => fs.readFileSync(join(work, path), "utf8");
const undo = (session: Session, options: Partial<UndoOptions> = {}) => undoChanges(session, { afterStep: -1, ...options });

/** Everything below a folder: kind, mode and content. */
function treeOf(folder: string, below = ""): Record<string, string> {
  const tree: Record<string, string> = {};
  for (const name of fs.readdirSync(join(folder, below)).sort()) {
    const path = join(below, name);
    const stats = fs.lstatSync(join(folder, path));
    const mode = (stats.mode & 0o7777).toString(8);
    if (stats.isSymbolicLink()) tree[path] = `link ${fs.readlinkSync(join(folder, path))}`;
    else if (stats.isDirectory()) Object.assign(tree, { [path]: `directory ${mode}` }, treeOf(folder, path));
    else tree[path] = `file ${mode} ${fs.readFileSync(join(folder, path), "latin1")}`;
  }
  return tree;
}

describe("whatever tools and commands did", () => {
  const NAMES = ["a", "b", "d", "d/a", "d/e", "d/e/a", "f/a"];
  const path = fc.constantFrom(...NAMES);
  // Texts of one length, written within a tick of the clock, differ in nothing but their bytes.
  const text = fc.constantFrom("one", "two", "six", "");
  const mode = fc.constantFrom(0o644, 0o600, 0o755);
  const operation = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("put" as const), path, text }) },
    fc.record({ kind: fc.constant("remove" as const), path }),
    fc.record({ kind: fc.constant("mkdir" as const), path }),
    fc.record({ kind: fc.constant("chmod" as const), path, mode }),
    fc.record({ kind: fc.constant("link" as const), path, target: fc.constantFrom("a", "d", "e", "nowhere", "../old") }),
    fc.record({ kind: fc.constant("rename" as const), path, to: path }),
  );
  type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;
  const turns = fc.array(
    fc.oneof(
      fc.record({ tool: fc.constant("bash" as const), operations: fc.array(operation, { maxLength: 5 }) }),
      fc.record({ tool: fc.constant("write" as const), path, text }),
    ),
    { minLength: 1, maxLength: 8 },
  );

  /** As the system allows it. Links are not followed: what is outside is not the session's. */
  function apply(folder: string, operation: Operation): void {
    const at = join(folder, operation.path);
    const isReal = (path: string) => fs.existsSync(dirname(path)) && fs.realpathSync(dirname(path)).startsWith(folder);
    if (!isReal(at) || (operation.kind === "rename" && !isReal(join(folder, operation.to)))) return;
    try {
      if (operation.kind === "put" && !fs.lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink()) fs.writeFileSync(at, operation.text);
      if (operation.kind === "remove") fs.rmSync(at, { recursive: true });
      if (operation.kind === "mkdir") fs.mkdirSync(at);
      if (operation.kind === "chmod" && !fs.lstatSync(at).isSymbolicLink()) fs.chmodSync(at, operation.mode | (fs.statSync(at).isDirectory() ? 0o700 : 0));
      if (operation.kind === "link") fs.symlinkSync(operation.target, at);
      if (operation.kind === "rename") fs.renameSync(at, join(folder, operation.to));
    } catch {
      // There is no such file, or it is a directory: a command may fail.
    }
  }

  const applyAll = (folder: string, operations: Operation[]) => {
    for (const operation of operations) apply(folder, operation);
  };

  /** As the tool does it: what is no file is refused before anything is kept. */
  function write(folder: string, name: string, text: string): { path: string; write(): void } | undefined {
    const at = join(folder, name);
    const parents = [dirname(at), dirname(dirname(at))].filter((parent) => parent.startsWith(folder));
    const kindAt = (path: string) => treeOf(folder)[path.slice(folder.length + 1)]?.split(" ")[0];
    if (parents.some((parent) => parent !== folder && ![undefined, "directory"].includes(kindAt(parent)))) return undefined;
    if (![undefined, "file"].includes(kindAt(at))) return undefined;
    const change = () => {
      fs.mkdirSync(dirname(at), { recursive: true });
      fs.writeFileSync(at, text);
    };
    return { path: at, write: change };
  }

  test("undo to any step gives the files, modes, links and directories of that step, byte for byte", { timeout: 60_000 }, async () => {
    const property = fc.asyncProperty(turns, fc.nat(), turns, async (first, choice, second) => {
      const folder = fs.mkdtempSync(join(top, "case-"));
      const cwd = join(folder, "work");
      fs.mkdirSync(join(cwd, "d"), { recursive: true });
      fs.cpSync(cwd, join(folder, "old"), { recursive: true });
      fs.writeFileSync(join(folder, "old/a"), "outside");
      fs.writeFileSync(join(cwd, "a"), "old");
      fs.writeFileSync(join(cwd, "d/a"), "old", { mode: 0o600 });
      const sessions = sessionsIn(folder);
      const session = await sessions.create({ cwd });
      session.append({ id: "msg_1", at: 1, message: textMessage("go") });
      const trees = [treeOf(cwd)];
      const run = async (turns: typeof first) => {
        for (const turn of turns) {
          if (turn.tool === "bash") await step(session, () => applyAll(cwd, turn.operations));
          else await step(session, ...[write(cwd, turn.path, turn.text)].filter((call) => call !== undefined));
          trees.push(treeOf(cwd));
        }
      };
      await run(first);
      const to = choice % trees.length;
      expect((await undo(session, { afterStep: to })).left).toEqual([]);
      expect(treeOf(cwd)).toEqual(trees[to]);
      // The session goes on from there, and knows what is undone already.
      await run(second);
      const id = session.id;
      await sessions.close();
      const again = await sessionsIn(folder).open(id);
      await undo(again, { afterStep: 0 });
      expect(treeOf(cwd)).toEqual(trees[0]);
      expect(await undo(again)).toEqual({ files: [], left: [], unseen: [] });
      await again.close();
      fs.rmSync(folder, { recursive: true });
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("a command", () => {
  test("that changes nothing leaves nothing to undo", async () => {
    put("a", "same")();
    const session = await begin();
    await step(session, () => fs.utimesSync(join(work, "a"), 1, 1), put("a", "same"));
    expect(session.snapshots?.changes()).toEqual([]);
  });

  test("is not blamed for what somebody changed before and after it", async () => {
    put("a", "old")();
    const session = await begin();
    await step(session, put("b", "made"));
    put("a", "by hand")();
    await step(session, put("c", "made"));
    put("d", "by hand")();
    expect((await undo(session)).files.map(({ path }) => path)).toEqual(["b", "c"]);
    expect([read("a"), read("d")]).toEqual(["by hand", "by hand"]);
  });

  test("does not make what it has stopped ignoring its own", async () => {
    put(".gitignore", "secret\nbuild/\n")();
    put("secret", "mine")();
    const session = await begin();
    await step(session, put(".gitignore", ""));
    await step(session, put("secret", "theirs"));
    await undo(session, { afterStep: 1 });
    expect(read("secret")).toBe("mine");
    await undo(session);
    expect([read("secret"), read(".gitignore")]).toEqual(["mine", "secret\nbuild/\n"]);
  });

  test("is not watched in what ignore files name, in .git and in node_modules; a nearer file decides", async () => {
    put(".gitignore", "*.log\n")();
    for (const folder of [".git", "node_modules", "logs"]) fs.mkdirSync(join(work, folder));
    put("logs/.ignore", "!kept.log\n")();
    const session = await begin();
    await step(session, put(".git/HEAD", "x"), put("node_modules/x", "x"), put("a.log", "x"), put("logs/kept.log", "x"), put("logs/b.log", "x"));
    expect(session.snapshots?.changes().map(({ path }) => path)).toEqual([join(work, "logs/kept.log")]);
  });

  test("that moves a file out of what is ignored, or opens a folder that nobody could read, did not make it", async () => {
    put(".gitignore", "build/\n")();
    for (const folder of ["build", "locked"]) fs.mkdirSync(join(work, folder));
    for (const file of ["build/out", "locked/in", "a"]) put(file, "mine")();
    fs.chmodSync(join(work, "locked"), 0);
    const { birthtimeMs } = fs.statSync(join(work, "a"));
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const session = await begin();
    const move = (from: string, to: string) => () => fs.renameSync(join(work, from), join(work, to));
    await step(session, move("build/out", "out"), move("a", "b"), () => fs.chmodSync(join(work, "locked"), 0o755));
    const report = await undo(session);
    expect(fs.statSync(join(work, "locked")).mode & 0o777).toBe(0);
    fs.chmodSync(join(work, "locked"), 0o755);
    // Root reads every folder, and not every file system says how old a file is.
    expect([read("a"), read("locked/in"), fs.existsSync(join(work, "b"))]).toEqual(["mine", "mine", false]);
    if (birthtimeMs > 0)
      expect([read("out"), report.left]).toEqual(["mine", expect.arrayContaining([{ path: "out", reason: "it is older than the command and was not kept" }])]);
  });

  test("in a workspace with more files than can be looked through is told of", async () => {
    for (let index = 0; index <= 10_000; index++) fs.closeSync(fs.openSync(join(work, `f${index}`), "w"));
    const session = await begin();
    await step(session, put("f1", "changed"));
    await step(session, put("f2", "changed"), { path: join(work, "f3"), write: put("f3", "changed") });
    const reason = "it has more than 10,000 files";
    expect(warnings).toEqual([expect.stringContaining(reason)]);
    expect(await undo(session)).toEqual({
      files: [{ path: "f3", action: "restored" }],
      left: [],
      unseen: [
        { step: 1, reason },
        { step: 2, reason },
      ],
    });
    expect([read("f1"), read("f3")]).toEqual(["changed", ""]);
  });

  test("that makes too many files of a small workspace is told of, too", async () => {
    const session = await begin();
    const flood = () => Array.from({ length: 10_001 }, (_, index) => put(`f${index}`, "")());
    await step(session, flood);
    expect((await undo(session)).unseen).toEqual([{ step: 1, reason: "it has more than 10,000 files" }]);
  });
});

describe("limits", () => {
  const large = Buffer.alloc(2 * 1024 * 1024 + 1);

  test("a file over 2 MiB cannot be restored, but one that was made is removed", async () => {
    fs.writeFileSync(join(work, "large"), large);
    const session = await begin();
    await step(session, put("large", "gone"), () => fs.writeFileSync(join(work, "made"), large));
    const report = await undo(session);
    expect(report.files).toEqual([{ path: "made", action: "removed" }]);
    expect(report.left).toEqual([{ path: "large", reason: "it is larger than 2 MiB" }]);
    expect([read("large"), fs.existsSync(join(work, "made"))]).toEqual(["gone", false]);
  });

  test("a session keeps 64 MiB, the smallest files first", { timeout: 30_000 }, async () => {
    for (let index = 0; index < 34; index++) fs.writeFileSync(join(work, `large${index}`), Buffer.alloc(2 * 1024 * 1024, index));
    put("small", "old")();
    const session = await begin();
    await step(session, () => {
      for (const name of fs.readdirSync(work)) fs.rmSync(join(work, name));
    });
    const report = await undo(session);
    expect(read("small")).toBe("old");
    expect([report.files.length, report.left.length]).toEqual([32, 3]);
    expect(report.left[0]?.reason).toBe("the session has kept 64 MiB already");
  });
});

describe("what is kept", () => {
  const filesOf = (session: Session) => join(top, "data/sessions", session.id, "files");

  test("is for its owner alone, and goes with the session", async () => {
    put("a", "old")();
    const session = await begin();
    await step(session, put("a", "new"));
    const folder = filesOf(session);
    const modes = ["", ...fs.readdirSync(folder, { recursive: true })].map((name) => {
      const stats = fs.statSync(join(folder, String(name)));
      return [stats.isDirectory(), stats.mode & 0o777];
    });
    expect(modes).toHaveLength(5);
    expect(modes).toEqual(modes.map(([isDirectory]) => [isDirectory, isDirectory ? 0o700 : 0o600]));
    await session.close();
    await sessionsIn(top).delete(session.id);
    expect(fs.existsSync(folder)).toBe(false);
  });

  test("is, once the session is closed, only what undo needs", async () => {
    for (const name of ["a", "b", "c"]) put(name, `${name}, old`)();
    const idle = await begin();
    await step(idle, () => {});
    const busy = await begin();
    await step(busy, put("a", "new"));
    await step(busy, put("a", "newer"));
    await Promise.all([idle.close(), busy.close()]);
    expect(fs.existsSync(filesOf(idle))).toBe(false);
    const kept = fs.readdirSync(filesOf(busy)).map((name) => fs.readFileSync(join(filesOf(busy), name), "utf8"));
    expect(kept.sort()).toEqual(["a, old", "new"]);
    const again = await sessionsIn(top).open(busy.id);
    opened.push(again);
    await step(again, put("b", "new"));
    await undo(again, { afterStep: 1 });
    expect([read("a"), read("b")]).toEqual(["new", "b, old"]);
    await undo(again);
    expect(read("a")).toBe("a, old");
  });

  test("is nothing in memory, and nothing in a fork", async () => {
    expect((await createMemorySessions().create({ cwd: work })).snapshots).toBeUndefined();
    const session = await begin();
    await step(session, put("a", "new"));
    await session.commit();
    const fork = await sessionsIn(top).fork(session.id);
    opened.push(fork);
    expect(fork.snapshots?.changes()).toEqual([]);
  });

  test("on a disk that takes nothing, the tools work all the same", async () => {
    put("a", "old")();
    const session = await begin();
    fs.writeFileSync(join(top, "data/sessions", session.id, "files"), "in the way");
    await step(session, put("a", "new"));
    expect(await undo(session)).toMatchObject({ files: [], left: [{ path: "a", reason: expect.stringContaining("could not be kept") }] });
  });
});

describe("calls at the same time", () => {
  test("count what the others change as well, and the earliest content comes back", async () => {
    put("a", "old")();
    const session = await begin();
    session.count({ tokens: NO_TOKENS });
    const paths = await createPaths({ cwd: work });
    const start = async () => {
      const watch = session.snapshots?.watch({ step: 1, isCommand: true, paths, isSecret: () => false, log });
      await watch?.begin();
      return watch;
    };
    const [one, two] = await Promise.all([start(), start()]);
    put("a", "first")();
    const three = await start();
    put("a", "second")();
    await Promise.all([one?.end(), two?.end(), three?.end()]);
    expect(session.snapshots?.changes().map(({ before }) => before)).toHaveLength(3);
    await undo(session);
    expect(read("a")).toBe("old");
  });

  test("wait for what commands before them changed, and so do the end of a prompt and of the session", async () => {
    put("a", "old")();
    const session = await begin();
    session.count({ tokens: NO_TOKENS });
    const paths = await createPaths({ cwd: work });
    const start = (step: number, isCommand: boolean) => session.snapshots?.watch({ step, isCommand, paths, isSecret: () => false, log }) as CallWatch;
    const first = start(1, true);
    await first.begin();
    put("a", "by the command")();
    void first.end();
    const second = start(2, false);
    await second.keep(join(work, "a"));
    put("a", "by the tool")();
    void second.end();
    const third = start(3, true);
    await third.begin();
    put("b", "made")();
    void third.end();
    await session.settle();
    const changed = session.snapshots?.changes().map(({ step, path, to }) => [step, path.slice(work.length + 1), to > 0]);
    expect(changed).toEqual([
      [1, "a", true],
      [2, "a", true],
      [3, "b", true],
    ]);
    const fourth = start(4, true);
    await fourth.begin();
    put("a", "at last")();
    void fourth.end();
    await session.close();
    const again = await sessionsIn(top).open(session.id);
    opened.push(again);
    expect(await undo(again)).toMatchObject({ left: [], unseen: [] });
    expect(treeOf(work)).toEqual({ a: expect.stringContaining("old") });
  });

  test("that still run when the session is closed are ended with it", async () => {
    put("a", "old")();
    const session = await begin();
    const paths = await createPaths({ cwd: work });
    const watch = session.snapshots?.watch({ step: 1, isCommand: true, paths, isSecret: () => false, log });
    await watch?.begin();
    put("a", "new")();
    await session.close();
    await watch?.end();
    const again = await sessionsIn(top).open(session.id);
    opened.push(again);
    put("a", "by hand")();
    await expect(undo(again)).rejects.toMatchObject({ code: "UNDO_CONFLICT", data: { paths: ["a"] } });
  });
});

describe("undo", () => {
  test("leaves a directory that others have put something into", async () => {
    const session = await begin();
    await step(session, () => fs.mkdirSync(join(work, "d")), put("d/a", "made"));
    put("d/b", "by hand")();
    expect((await undo(session)).left).toEqual([]);
    expect(treeOf(work)).toMatchObject({ "d/b": expect.stringContaining("by hand") });
    expect(Object.keys(treeOf(work))).toEqual(["d", "d/b"]);
  });

  test("tells of a directory where nothing in it is told of", async () => {
    fs.mkdirSync(join(work, "old"));
    const session = await begin();
    await step(
      session,
      () => fs.mkdirSync(join(work, "new/deep"), { recursive: true }),
      () => fs.rmdirSync(join(work, "old")),
    );
    const files = [
      { path: "new/deep/", action: "removed" },
      { path: "old/", action: "restored" },
    ];
    expect((await undo(session, { dryRun: true })).files).toEqual(files);
    expect((await undo(session)).files).toEqual(files);
    expect(Object.keys(treeOf(work))).toEqual(["old"]);
  });

  test("with force makes a directory again that somebody removed", async () => {
    fs.mkdirSync(join(work, "d"));
    put("d/a", "old")();
    const session = await begin();
    await step(session, put("d/a", "new"));
    fs.rmSync(join(work, "d"), { recursive: true });
    await expect(undo(session)).rejects.toMatchObject({ code: "UNDO_CONFLICT" });
    await undo(session, { force: true });
    expect(read("d/a")).toBe("old");
  });

  test.each([false, true])("follows no link that somebody has put in the way (force: %s)", async (force) => {
    fs.mkdirSync(join(work, "d"));
    put("d/a", "old")();
    const session = await begin();
    await step(session, put("d/a", "new"), put("b", "made"));
    fs.mkdirSync(join(top, "outside"));
    fs.writeFileSync(join(top, "outside/a"), "new");
    fs.rmSync(join(work, "d"), { recursive: true });
    fs.symlinkSync(join(top, "outside"), join(work, "d"));
    if (!force) await expect(undo(session)).rejects.toMatchObject({ code: "UNDO_CONFLICT", data: { paths: ["d/a"] } });
    else expect((await undo(session, { force })).left).toEqual([{ path: "d/a", reason: expect.any(String) }]);
    expect([treeOf(join(top, "outside")), fs.existsSync(join(work, "b"))]).toEqual([{ a: expect.stringContaining("new") }, !force]);
  });

  test("refuses a workspace that is a link by now", async () => {
    const session = await begin();
    await step(session, put("a", "made"));
    fs.renameSync(work, join(top, "elsewhere"));
    fs.symlinkSync(join(top, "elsewhere"), work);
    await expect(undo(session)).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
    expect(read("a")).toBe("made");
  });
});
