import type { Stats } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ABSENT, type Contents, type FileState, isMissing, isSame, NO_ROOM, openContents, readState, unread } from "./file-state.ts";
import { isInside } from "./inside.ts";
import type { Log } from "./log.ts";
import type { Paths } from "./paths.ts";
import { createPace, IGNORE_FILES, IgnoreRules, type Pace, ScanLimit, scanFolders, statOf } from "./scan.ts";
import { isSecretName, type SecretFiles } from "./secret-files.ts";
import { type Seen, Sightings } from "./sightings.ts";
import type { Store } from "./store.ts";

/** What a call made of one path. */
export interface Change {
  /** Of the session that keeps it, at the call. */
  step: number;
  /** The workspace or the extra directory that the path is in. */
  root: string;
  path: string;
  before: FileState;
  /** Undefined while the call runs. */
  after?: FileState;
  /** The same for all changes of one call; the lower, the earlier it began. */
  from: number;
  /** The higher, the later `after` was seen. */
  to: number;
  /** What was there when it was undone. */
  undone?: FileState;
}

/** Commands of a step whose changes are not known. */
export interface Unseen {
  step: number;
  reason: string;
}

/** A command that runs. */
interface Watch {
  step: number;
  from: number;
  /** ms since 1970 */
  at: number;
  roots: string[];
  /** How many paths were known then. */
  known: number;
}

/** One pass over the folders. */
interface Look {
  /** Commands that run. */
  running: Watch[];
  roots: string[];
  /** Numbers of the files that were known before it. */
  inodes: ReadonlySet<number>;
}

/** What a session's store holds of changes. */
export interface SnapshotData {
  change: Change;
  unseen: Unseen;
  watch: Watch;
  /** One, under "bytes": what the contents take. */
  kept: number;
}

export const emptySnapshots = (): { [C in keyof SnapshotData]: Record<string, SnapshotData[C]> } => ({ change: {}, unseen: {}, watch: {}, kept: {} });

/** Watches one call of a tool. Nothing of it throws: a call never fails for what cannot be kept. */
export interface CallWatch {
  /** Before the call: what a command may change is with the operating system when it resolves. */
  begin(): Promise<void>;
  /** Before the tool changes this path. */
  keep(path: string): Promise<void>;
  /** After the call, however it ended. Resolves when what it changed is known; whatever depends on that waits by itself. */
  end(): Promise<void>;
}

/** A call of `run` effect may change anything in the workspace; the others say what they change. */
export interface WatchedCall {
  /** Of the session that keeps the changes. */
  step: number;
  isCommand: boolean;
  paths: Paths;
  /** What is at these paths is not kept. */
  isSecret: SecretFiles["isSecret"];
  log: Log;
}

type SnapshotStore = Pick<Store<SnapshotData>, "get" | "all" | "put" | "remove" | "write">;

/** How long a command may have to wait until what it may change is kept, and its result until what it changed is known. */
const BEFORE_MS = 1_000;
const AFTER_MS = 10_000;
/** Of the system's clock that files get their times from; where it counts whole seconds, two of those. */
const TICK_MS = 20;
const COARSE_TICK_MS = 2_000;
/** How far the clocks of a file system and of this process may be apart. */
const CLOCKS_MS = 1_000;
const SECRET = "secrets are there, and those are not kept";
const OLDER = "it is older than the command and was not kept";

/**
 * How files were before tools changed them. Writing tools name the paths; around commands the folders are looked
 * through. What is found different counts for every command that runs at that moment.
 */
export class Snapshots {
  readonly contents: Contents;
  /** The same without a limit, for what an undo replaces. */
  readonly replaced: Contents;
  readonly #store: SnapshotStore;
  readonly #seen: Sightings;
  readonly #skip: ReadonlySet<string>;
  readonly #rules = new IgnoreRules();
  /** Changes of the calls that run: by their `from`, then by path the key in the store. */
  readonly #running = new Map<number, Map<string, string>>();
  readonly #watches = new Map<number, Watch>();
  /** Calls that have ended, until what they changed is known. */
  readonly #ending = new Map<number, Promise<void>>();
  /** That of the last call; a run that was killed left only names. */
  #isSecret: SecretFiles["isSecret"] = (path) => isSecretName(basename(path));
  #clock: number;
  #looking: Promise<unknown> = Promise.resolve();
  #next: Promise<string | undefined> | undefined;
  /** Why no command is watched any more. */
  #off: string | undefined;
  #isClosed = false;
  readonly #told = new Set<string>();

  /** `dir`: where contents are kept; `skip`: directories that are no part of a workspace. */
  constructor({ store, dir, skip }: { store: SnapshotStore; dir: string; skip: string[] }) {
    this.#store = store;
    this.#skip = new Set(skip);
    this.#seen = new Sightings(join(dir, "look"));
    const used = () => store.get("kept", "bytes") ?? 0;
    const grow = (bytes: number) => store.put("kept", "bytes", used() + bytes);
    this.contents = openContents(dir, { used, grow });
    this.replaced = openContents(dir, { used, grow, limit: Number.POSITIVE_INFINITY });
    this.#clock = Object.values(store.all("change")).reduce((latest, { from, to }) => Math.max(latest, from, to), 0);
    for (const { from } of Object.values(store.all("watch"))) this.#clock = Math.max(this.#clock, from);
  }

  /** In the order in which their calls began. */
  changes(): Change[] {
    return Object.values(this.#store.all("change")).sort((a, b) => a.from - b.from);
  }

  unseen(): Unseen[] {
    return Object.values(this.#store.all("unseen"));
  }

  /** Marks what was undone; written with the session's next append. */
  forget(undone: ReadonlyMap<string, FileState>, afterStep: number): void {
    for (const [key, change] of Object.entries(this.#store.all("change"))) {
      const was = undone.get(change.path);
      if (was !== undefined && change.step > afterStep && change.undone === undefined) this.#store.put("change", key, { ...change, undone: was });
    }
    for (const [key, { step }] of Object.entries(this.#store.all("unseen"))) if (step > afterStep) this.#store.remove("unseen", key);
  }

  watch(call: WatchedCall): CallWatch {
    const from = ++this.#clock;
    this.#isSecret = call.isSecret;
    return {
      begin: async () => {
        if (call.isCommand) await this.#begin(from, call);
      },
      keep: (path) => this.#keep(from, call, path).catch((error) => call.log.warn(`${path} is changed without being kept: ${String(error)}`)),
      end: () => this.#end(from, call.log),
    };
  }

  /** Resolves when it is known what the calls changed that have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#ending.values());
  }

  /** Ends the calls that a killed run left open: what differs by now counts as theirs. */
  async settle(): Promise<void> {
    const watches = Object.values(this.#store.all("watch"));
    for (const watch of watches) this.#watches.set(watch.from, watch);
    for (const [key, { from, path, after }] of Object.entries(this.#store.all("change"))) {
      if (after === undefined || this.#watches.has(from)) this.#runningOf(from).set(path, key);
    }
    // Without what was seen before nothing can be compared.
    if (watches.length > 0) this.#off = await this.#recall(watches);
    await this.#endAll();
    this.#off = undefined;
    this.#seen.discard();
  }

  /** Ends what still runs; from here on nothing is kept. */
  async close(): Promise<void> {
    await this.#endAll();
    this.#isClosed = true;
    await this.#looking;
    this.#seen.discard();
  }

  async #endAll(): Promise<void> {
    const running = new Set([...this.#running.keys(), ...this.#watches.keys(), ...this.#ending.keys()]);
    await Promise.all([...running].map((from) => this.#end(from)));
  }

  async #begin(from: number, { step, paths, log }: WatchedCall): Promise<void> {
    if (this.#isClosed) return;
    const roots = [...paths.roots];
    const reason = this.#off ?? (await this.#look(roots, BEFORE_MS));
    if (this.#isClosed) return;
    if (reason !== undefined) return this.#miss(step, reason, log);
    const watch = { step, from, at: Date.now(), roots, known: this.#seen.size };
    this.#watches.set(from, watch);
    this.#store.put("watch", String(from), watch);
    await this.#store.write();
  }

  async #keep(from: number, { step, paths }: WatchedCall, path: string): Promise<void> {
    const real = await paths.resolve(path, "write");
    // What a command left there is not the command's once this call has changed it.
    await this.ended();
    const all = new Set([...missingParents(real), real, await placeOf(path, paths)]);
    if (this.#isClosed) return;
    for (const each of all) {
      const root = rootOf(each, paths.roots);
      if (root === undefined || this.#running.get(from)?.has(each)) continue;
      this.#put(from, { step, root, path: each, before: readState(each, this.contents).state, from, to: 0 });
    }
    await this.#store.write();
  }

  #end(from: number, log?: Log): Promise<void> {
    const known = this.#ending.get(from);
    if (known !== undefined) return known;
    const ending = this.#finish(from, log)
      .catch((error) => log?.warn(`What a call changed is not recorded: ${describeFailure(error)}.`))
      .finally(() => this.#ending.delete(from));
    this.#ending.set(from, ending);
    return ending;
  }

  async #finish(from: number, log?: Log): Promise<void> {
    const watch = this.#watches.get(from);
    const reason = watch && (this.#off ?? (await this.#look(watch.roots, AFTER_MS)));
    if (watch !== undefined && reason !== undefined) this.#miss(watch.step, reason, log);
    for (const key of this.#running.get(from)?.values() ?? []) {
      const change = this.#store.get("change", key);
      if (change?.after === undefined && change !== undefined)
        this.#store.put("change", key, { ...change, after: readState(change.path).state, to: ++this.#clock });
    }
    this.#running.delete(from);
    this.#watches.delete(from);
    this.#store.remove("watch", String(from));
    if (watch !== undefined) await this.#store.write();
  }

  #miss(step: number, reason: string, log?: Log): void {
    this.#store.put("unseen", String(step), { step, reason });
    if (this.#told.has(reason)) return;
    this.#told.add(reason);
    log?.warn(`Not everything that commands change in the workspace is recorded for \`session undo\`: ${reason}.`);
  }

  /** Looks once for all that ask before it begins. Returns why it could not. */
  #look(roots: string[], limitMs: number): Promise<string | undefined> {
    this.#next ??= this.#looking.then(async () => {
      this.#next = undefined;
      return this.#lookAt(roots, createPace(limitMs)).catch(describeFailure);
    });
    this.#looking = this.#next;
    return this.#next;
  }

  async #lookAt(roots: string[], pace: Pace): Promise<string | undefined> {
    const running = [...this.#watches.values()];
    const fresh = running.length === 0;
    const found: string[] = [];
    const changed: [string, Stats][] = [];
    let known = 0;
    const visit = (path: string, stats: Stats) => {
      found.push(path);
      const seen = this.#seen.get(path);
      if (seen !== undefined) known++;
      if (seen === undefined || !isUnchanged(seen, stats)) changed.push([path, stats]);
    };
    try {
      await scanFolders({ roots, skip: this.#skip, rules: this.#rules, fresh, pace, visit });
    } catch (error) {
      this.#off = describeFailure(error);
      return this.#off;
    }
    const gone = known === this.#seen.size ? [] : this.#without(new Set(found));
    if (gone.length + changed.length === 0) return undefined;
    const look = { running, roots, inodes: this.#inodes(running) };
    try {
      for (const path of gone) {
        await pace();
        this.#missing(path, isGone(path), look);
      }
      // The smallest first, so that as many as possible are kept.
      for (const [path, stats] of changed.sort(([, a], [, b]) => a.size - b.size)) {
        await pace();
        this.#compare(path, stats, look);
      }
    } finally {
      // In this order: what was seen and is not recorded would be lost, the other way round it is found once more.
      await this.#store.write();
      this.#seen.write();
    }
    return undefined;
  }

  #inodes(running: Watch[]): ReadonlySet<number> {
    return new Set(running.length === 0 ? [] : [...this.#seen.entries()].map(([, { mark }]) => mark[3] ?? 0));
  }

  #without(found: ReadonlySet<string>): string[] {
    return [...this.#seen.entries()].flatMap(([path]) => (found.has(path) ? [] : path));
  }

  /** It is gone, or it is in a folder that cannot be read or is left out by now. */
  #missing(path: string, isGone: boolean, look: Look): void {
    if (isGone) this.#attribute(path, { before: this.#seen.get(path)?.state ?? ABSENT, after: ABSENT }, look);
    if (isGone || look.running.length === 0) this.#seen.delete(path);
  }

  #compare(path: string, found: Stats, look: Look): void {
    const known = this.#seen.get(path)?.state;
    const isHopeless = found.isFile() && !(known?.kind === "file" && known.hash !== undefined) && !this.#seen.contents.hasRoom(found.size);
    const reason = found.isFile() && this.#isSecret(path, found) ? SECRET : isHopeless ? NO_ROOM : undefined;
    const { state, stats } = reason !== undefined ? { state: unread(found, reason), stats: found } : readState(path, this.#seen.contents, found);
    if (state.kind === "absent" || state.kind === "other" || stats === undefined) return;
    const before = known ?? (isFromElsewhere(stats, look) ? unread(stats, OLDER) : ABSENT);
    this.#attribute(path, { before, after: state }, look);
    this.#seen.set(path, { state, mark: markOf(stats), ...(isFresh(state, stats) && { fresh: true as const }) });
  }

  /** The path is like this now: where that is news, it is a change by each command that runs. */
  #attribute(path: string, { before, after }: { before: FileState; after: FileState }, { running, roots }: Look): void {
    if (isSame(before, after)) return;
    const root = rootOf(path, roots);
    for (const { from, step } of running) {
      const key = this.#running.get(from)?.get(path);
      const change = key === undefined ? undefined : this.#store.get("change", key);
      if (key !== undefined && change !== undefined) this.#store.put("change", key, { ...change, after, to: ++this.#clock });
      else if (root !== undefined) this.#put(from, { step, root, path, before: this.#keepBefore(before), after, from, to: ++this.#clock });
    }
  }

  /** What undo would need goes from what the looks have found to what the session keeps. */
  #keepBefore(before: FileState): FileState {
    if (before.kind !== "file" || before.hash === undefined || before.lost !== undefined) return before;
    const bytes = this.#seen.contents.read(before.hash);
    const lost = "reason" in bytes ? bytes.reason : this.contents.keep(before.hash, bytes);
    return { ...before, ...(lost !== undefined && { lost }) };
  }

  #put(from: number, change: Change): void {
    const key = `${from}.${this.#runningOf(from).size}`;
    this.#runningOf(from).set(change.path, key);
    this.#store.put("change", key, change);
  }

  #runningOf(from: number): Map<string, string> {
    const keys = this.#running.get(from) ?? new Map<string, string>();
    this.#running.set(from, keys);
    return keys;
  }

  /** What was seen before the commands that were interrupted, and with it the ignore files as they were. Returns why it cannot be had. */
  async #recall(watches: Watch[]): Promise<string | undefined> {
    this.#seen.recall();
    if (this.#seen.size === 0 && watches.some(({ known }) => known > 0)) return "what was there before it is lost";
    const texts = new Map<string, string>();
    for (const [path, { state }] of this.#seen.entries()) {
      if (!IGNORE_FILES.includes(basename(path)) || state.kind !== "file" || state.hash === undefined) continue;
      const bytes = this.#seen.contents.read(state.hash);
      if (Buffer.isBuffer(bytes)) texts.set(dirname(path), [texts.get(dirname(path)), bytes.toString()].filter((text) => text !== undefined).join("\n"));
    }
    for (const [directory, text] of texts) await this.#rules.set(directory, text);
    return undefined;
  }
}

const markOf = ({ size, mtimeMs, ctimeMs, ino }: Stats): number[] => [size, mtimeMs, ctimeMs, ino];

const isUnchanged = ({ mark: [size, mtimeMs, ctimeMs, ino], fresh }: Seen, stats: Stats): boolean =>
  !fresh && stats.ctimeMs === ctimeMs && stats.mtimeMs === mtimeMs && stats.size === size && stats.ino === ino;

/** What a link leads to is another file. */
function isGone(path: string): boolean {
  for (let above = dirname(path); above !== dirname(above); above = dirname(above)) if (statOf(above)?.isDirectory() === false) return true;
  return isMissing(path);
}

/** A file that is older than the command and was not known did not come into being with it: it may be somebody's only copy. */
function isFromElsewhere(stats: Stats, { running, inodes }: Look): boolean {
  const at = Math.min(...running.map((watch) => watch.at));
  // 0 where the file system does not say it.
  return stats.isFile() && stats.birthtimeMs > 0 && stats.birthtimeMs < at - CLOCKS_MS && !inodes.has(stats.ino);
}

/** A change within the same tick of the clock would not show: such a file is read again the next time. */
function isFresh(state: FileState, { mtimeMs, ctimeMs }: Stats): boolean {
  if (state.kind !== "file" || state.hash === undefined) return false;
  return Math.max(mtimeMs, ctimeMs) > Date.now() - (ctimeMs % 1000 === 0 ? COARSE_TICK_MS : TICK_MS);
}

function describeFailure(error: unknown): string {
  return error instanceof ScanLimit ? error.message : String(error);
}

/** The innermost of the roots that the path is below. */
function rootOf(path: string, roots: readonly string[]): string | undefined {
  const inside = roots.filter((root) => path !== root && isInside(path, root));
  return inside.sort((a, b) => b.length - a.length)[0];
}

/** The path itself where it is a link, which may be what changes. */
async function placeOf(path: string, paths: Paths): Promise<string> {
  const parent = await paths.resolve(join(path, ".."), "write");
  return join(parent, basename(path));
}

/** Directories above the path that are not there yet, and will be made with it. */
function missingParents(path: string): string[] {
  const missing: string[] = [];
  for (let parent = dirname(path); isMissing(parent); parent = dirname(parent)) missing.unshift(parent);
  return missing;
}
