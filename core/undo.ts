import { randomBytes } from "node:crypto";
import { constants, readdirSync, type Stats } from "node:fs";
import { chmod, lstat, mkdir, open, realpath, rename, rm, rmdir, symlink, unlink } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { AgentError, errorMessage } from "./errors.ts";
import { type FileContent, type FileState, isSame, readHeld, readState, unread } from "./file-state.ts";
import { lookInto } from "./held.ts";
import { newId } from "./id.ts";
import { type Entry, textMessage } from "./message.ts";
import { createPaths, describePathError, type Paths } from "./paths.ts";
import type { Session } from "./session.ts";
import type { Change, Snapshots, Unseen } from "./snapshot.ts";

export interface UndoOptions {
  /** What was changed in steps after this one is undone; -1: everything. */
  afterStep: number;
  /** Only says what would be done. */
  dryRun?: boolean;
  /** Also where somebody else has changed a file since. */
  force?: boolean;
}

export interface UndoReport {
  /** Files, links, and directories (with a / at the end) where nothing in them is told of; relative to the workspace of the session. */
  files: { path: string; action: "restored" | "removed" }[];
  /** What stays as it is, and why. */
  left: { path: string; reason: string }[];
  /** Steps with commands whose changes are not known. */
  unseen: Unseen[];
}

/** One path that is not as it was. */
interface Repair {
  path: string;
  now: FileState;
  goal: FileState;
}

/** Conflicts are in the error's data: `paths`. */
interface Plan {
  repairs: Repair[];
  conflicts: string[];
  damaged: { path: string; reason: string }[];
  lost: { path: string; reason: string }[];
  /** What is there, of every path that was changed. */
  was: Map<string, FileState>;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
const OWNER = 0o700;
const MESSAGE_NAMES = 50;

/**
 * Puts the files that the session's tools changed back, and tells the session. Throws UNDO_CONFLICT (`data.paths`) and
 * SNAPSHOT_DAMAGED before anything is changed, and FILE_NOT_FOUND for a workspace that is gone.
 */
export async function undoChanges(session: Session, options: UndoOptions): Promise<UndoReport> {
  const { snapshots } = session;
  const changes = snapshots?.changes().filter(({ step, undone }) => step > options.afterStep && undone === undefined) ?? [];
  const unseen = snapshots?.unseen().filter(({ step }) => step > options.afterStep) ?? [];
  if (snapshots === undefined || changes.length + unseen.length === 0) return { files: [], left: [], unseen: [] };
  const paths = await openPlaces(session.meta.cwd, changes);
  const plan = makePlan(changes, snapshots);
  if (!options.force) refuse(plan, paths);
  const failed = options.dryRun ? [] : await repairAll(plan.repairs, { paths, snapshots });
  const open = [...plan.damaged, ...failed];
  const left = [...plan.lost, ...open];
  const done = plan.repairs.filter(({ path }) => !left.some((each) => each.path === path));
  const report: UndoReport = {
    files: done.filter((repair) => isShown(repair, done)).map((repair) => describe(repair, paths)),
    left: left.map(({ path, reason }) => ({ path: paths.show(path), reason })),
    unseen,
  };
  if (!options.dryRun) await note(session, snapshots, { options, report, was: without(plan.was, open) });
  return report;
}

/** The step that the text names: its number, or the id of a message; files are then as they were after it. Throws STEP_NOT_FOUND. */
export function stepOf(name: string, { id, steps }: { id: string; steps: number }, log: readonly Entry[]): number {
  if (/^\d+$/.test(name) && Number(name) <= steps) return Number(name);
  const index = log.findIndex((entry) => entry.id === name);
  if (index === -1) throw new AgentError("STEP_NOT_FOUND", { name, id });
  return log.slice(0, index + 1).reduce((latest, { step }) => step ?? latest, 0);
}

/** The workspace and the extra directories, if they still are what they were. */
async function openPlaces(cwd: string, changes: Change[]): Promise<Paths> {
  const roots = [...new Set(changes.map(({ root }) => root))];
  for (const root of [cwd, ...roots]) {
    const found = await realpath(root).catch((error) => {
      throw new AgentError("FILE_NOT_FOUND", { path: root, option: "the session", reason: describePathError(error) }, { cause: error });
    });
    if (found !== root) throw new AgentError("FILE_NOT_FOUND", { path: root, option: "the session", reason: "a link leads elsewhere by now." });
  }
  return createPaths({ cwd, roots });
}

function makePlan(changes: Change[], snapshots: Snapshots): Plan {
  const plan: Plan = { repairs: [], conflicts: [], damaged: [], lost: [], was: new Map() };
  const groups = [...groupByPath(changes)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, [first, ...more]] of groups) {
    const last = more.reduce((latest, change) => (change.to > latest.to ? change : latest), first);
    const { state: now, stats } = readState(path);
    const goal = first.before;
    plan.was.set(path, now);
    if (isSame(now, goal)) continue;
    const isExpected = isAsLeft(now, stats, last.after);
    if (goal.kind === "file" && (goal.lost !== undefined || goal.hash === undefined)) plan.lost.push({ path, reason: goal.lost ?? "its content was not read" });
    else if (isExpected || now.kind !== "directory" || goal.kind !== "directory") planRepair(plan, { path, now, goal }, isExpected, snapshots);
  }
  keepOccupied(plan);
  return plan;
}

/** Whether it is as the session's last change left it. Of directories only that they are there counts. */
function isAsLeft(now: FileState, stats: Stats | undefined, after: FileState | undefined): boolean {
  if (after?.kind === "file" && after.stamp !== undefined && stats?.isFile()) return isSame(unread(stats, ""), after);
  return after !== undefined && (isSame(now, after) || (now.kind === "directory" && after.kind === "directory"));
}

/** What others have put into a directory stays, and so does the directory. */
function keepOccupied(plan: Plan): void {
  const going = new Set(plan.repairs.filter(({ goal }) => goal.kind === "absent").map(({ path }) => path));
  for (const { path, now } of plan.repairs.toReversed()) {
    if (going.has(path) && now.kind === "directory" && !namesIn(path).every((name) => going.has(join(path, name)))) going.delete(path);
  }
  plan.repairs = plan.repairs.filter(({ path, goal }) => goal.kind !== "absent" || going.has(path));
}

/** One that cannot be read counts as occupied. */
function namesIn(directory: string): string[] {
  try {
    return lookInto(directory, (held) => readdirSync(held)) ?? ["."];
  } catch {
    return ["."];
  }
}

function planRepair(plan: Plan, repair: Repair, isExpected: boolean, { contents }: Snapshots): void {
  const { path, goal } = repair;
  if (!isExpected) plan.conflicts.push(path);
  const content = goal.kind === "file" ? contents.read(goal.hash ?? "") : undefined;
  if (content !== undefined && "reason" in content) plan.damaged.push({ path, reason: content.reason });
  else plan.repairs.push(repair);
}

function groupByPath(changes: Change[]): Map<string, [Change, ...Change[]]> {
  const groups = new Map<string, [Change, ...Change[]]>();
  for (const change of changes) {
    const group = groups.get(change.path);
    if (group === undefined) groups.set(change.path, [change]);
    else group.push(change);
  }
  return groups;
}

function refuse({ conflicts, damaged }: Plan, paths: Paths): void {
  if (conflicts.length > 0) throw new AgentError("UNDO_CONFLICT", { count: conflicts.length, paths: conflicts.map(paths.show) });
  const [first] = damaged;
  if (first !== undefined) throw new AgentError("SNAPSHOT_DAMAGED", { path: paths.show(first.path), reason: first.reason });
}

const isDirectory = ({ now, goal }: Repair): boolean => goal.kind === "directory" || (goal.kind === "absent" && now.kind === "directory");

/** A directory goes without saying where something in it is told of. */
const isShown = (repair: Repair, all: Repair[]): boolean => !isDirectory(repair) || !all.some(({ path }) => path.startsWith(repair.path + sep));

const describe = (repair: Repair, paths: Paths): UndoReport["files"][number] => ({
  path: paths.show(repair.path) + (isDirectory(repair) ? "/" : ""),
  action: repair.goal.kind === "absent" ? "removed" : "restored",
});

interface Place {
  paths: Paths;
  snapshots: Snapshots;
}

/** What is in the way goes first, from the inside out; then directories are made, then files; modes of directories come last. */
async function repairAll(repairs: Repair[], place: Place): Promise<Plan["lost"]> {
  const failed = new Map<string, string>();
  const each = async (chosen: Repair[], repair: (one: Repair) => Promise<void>) => {
    for (const one of chosen) if (!failed.has(one.path)) await repair(one).catch((error) => failed.set(one.path, errorMessage(error)));
  };
  const outward = repairs.toSorted((a, b) => (a.path < b.path ? 1 : -1));
  const inward = outward.toReversed();
  const kept = inward.filter(({ now, goal }) => now.kind === "directory" && goal.kind === "directory");
  await each(kept, (repair) => setMode(repair, place, OWNER));
  await each(outward.filter(isInTheWay), (repair) => remove(repair, place));
  await each(
    inward.filter(({ now, goal }) => now.kind !== "directory" && goal.kind === "directory"),
    (repair) => makeDirectory(repair.path, place),
  );
  await each(
    inward.filter(({ goal }) => goal.kind === "file" || goal.kind === "link"),
    (repair) => replace(repair, place),
  );
  await each(
    outward.filter(({ goal }) => goal.kind === "directory"),
    (repair) => setMode(repair, place, 0),
  );
  return [...failed].map(([path, reason]) => ({ path, reason }));
}

const isInTheWay = ({ now, goal }: Repair): boolean =>
  now.kind !== "absent" && (goal.kind === "absent" || (now.kind === "directory") !== (goal.kind === "directory"));

/** Works in the directory of a path, which no link may lead to. */
async function inParent<T>(path: string, { paths }: Place, work: (held: string, name: string) => Promise<T>): Promise<T> {
  const directory = await paths.openDirectory(dirname(path));
  try {
    if ((await realpath(directory.path)) !== dirname(path)) throw new Error("a link on its way leads elsewhere");
    return await work(join(directory.path, basename(path)), basename(path));
  } finally {
    await directory.close();
  }
}

async function remove({ path, now }: Repair, place: Place): Promise<void> {
  await inParent(path, place, async (held) => {
    if (now.kind !== "directory") {
      checkUnchanged(held, now, place);
      return unlink(held);
    }
    await rmdir(held).catch((error) => {
      throw error.code === "ENOTEMPTY" ? new Error("a directory with other files is in its place") : error;
    });
  });
}

/** Keeps what is there, if it still is what the plan saw. */
function checkUnchanged(held: string, now: FileState, { snapshots }: Place): void {
  if (!isSame(readHeld(held, snapshots.replaced).state, now)) throw new Error("it changed in this very moment");
}

async function makeDirectory(path: string, place: Place, mode = 0o777): Promise<void> {
  await makeParents(path, place);
  await inParent(path, place, (held) => mkdir(held, { mode: mode | OWNER }));
}

async function makeParents(path: string, place: Place): Promise<void> {
  const parent = dirname(path);
  if (place.paths.roots.includes(parent) || (await lstat(parent).catch(() => undefined)) !== undefined) return;
  await makeDirectory(parent, place);
}

async function setMode({ path, goal }: Repair, { paths }: Place, more: number): Promise<void> {
  if (goal.kind !== "directory") return;
  const directory = await paths.openDirectory(path);
  try {
    if ((await realpath(directory.path)) === path) await chmod(directory.path, goal.mode | more);
  } finally {
    await directory.close();
  }
}

/** In one step: readers see the old file or the new one. */
async function replace({ path, now, goal }: Repair, place: Place): Promise<void> {
  await makeParents(path, place);
  await inParent(path, place, async (held, name) => {
    const draft = join(dirname(held), `.${name.slice(0, 100)}.${randomBytes(8).toString("hex")}.tmp`);
    try {
      if (goal.kind === "link") await symlink(goal.target, draft);
      else if (goal.kind === "file") await writeDraft(draft, held, goal, place);
      if (!isInTheWay({ path, now, goal })) checkUnchanged(held, now, place);
      await rename(draft, held);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  });
}

async function writeDraft(draft: string, held: string, { hash = "", mode }: FileContent, { snapshots }: Place): Promise<void> {
  const bytes = snapshots.contents.read(hash);
  if ("reason" in bytes) throw new Error(bytes.reason);
  const existing = await lstat(held).catch(() => undefined);
  const file = await open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(bytes);
    // Only root may give a file away; for everybody else it is theirs already.
    if (existing?.isFile()) await file.chown(existing.uid, existing.gid).catch(() => {});
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

const without = (was: Map<string, FileState>, left: { path: string }[]): Map<string, FileState> =>
  new Map([...was].filter(([path]) => !left.some((each) => each.path === path)));

/** The session knows what was undone, and so does the model when it goes on. */
async function note(
  session: Session,
  snapshots: Snapshots,
  { options, report, was }: { options: UndoOptions; report: UndoReport; was: Map<string, FileState> },
) {
  snapshots.forget(was, options.afterStep);
  if (report.files.length > 0) session.append({ id: newId("msg"), at: Date.now(), message: textMessage(describeUndo(report, options.afterStep)) });
  await session.settle();
}

function describeUndo({ files }: UndoReport, afterStep: number): string {
  const list = (action: string) => {
    const names = files.filter((file) => file.action === action).map(({ path }) => path);
    const more = names.length > MESSAGE_NAMES ? ` and ${names.length - MESSAGE_NAMES} more` : "";
    return names.length === 0 ? [] : [`${action}: ${names.slice(0, MESSAGE_NAMES).join(", ")}${more}`];
  };
  const when = afterStep <= 0 ? "before this session changed them" : `after step ${afterStep} of this session`;
  return `(The user has undone your changes of files; they are as they were ${when}. ${[...list("restored"), ...list("removed")].join("; ")}. What you read of them since is out of date.)`;
}
