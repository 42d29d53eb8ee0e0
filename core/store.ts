import { randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Adapter, Low } from "lowdb";
import { AgentError, errorMessage } from "./errors.ts";
import {
  applyOperation,
  type Data,
  isEmpty,
  KEPT_GENERATIONS,
  type Loaded,
  listFiles,
  loadStore,
  makeDirectories,
  quarantine,
  removeAside,
  removeStaleTemporaries,
  type StoreFs,
  syncDirectory,
  writeSnapshot,
} from "./generation.ts";
import { randomLetters } from "./id.ts";
import { acquireLock, tryLock } from "./lock.ts";
import { crcOf, encodeValue, formatRecord, type KnownDamage, type Operation } from "./record.ts";

export type { StoreFs } from "./generation.ts";

/** What a start found and mended, or (`lost: 0`) what was written at last after a time without a disk. */
export interface StoreRecovery {
  path: string;
  /** Records that were read, or written. */
  kept: number;
  /** Records that could not be read. */
  lost: number;
  /** Copy of the damaged file. */
  quarantine?: string;
}

export interface StoreOptions<T> {
  /** One directory for each store. The first write makes it, reading never does. */
  dir: string;
  /** Version of the values' schema. A store of a newer one is refused with STORE_NEWER and stays as it is. */
  version: number;
  /** The collections and what they hold in a new store. */
  defaults: { [C in keyof T]: Record<string, T[C]> };
  /**
   * `shared` (default): several processes append to it. `exclusive`: the caller holds the lock of the directory.
   * `read`: nothing is ever written, not even what was found damaged.
   */
  access?: "shared" | "exclusive" | "read";
  onRecovered?(recovery: StoreRecovery): void;
  /** Called once when nothing can be written any more; the store goes on in memory and tries again at each write. */
  onDegraded?(degraded: { path: string; reason: string }): void;
  fs?: StoreFs;
}

/**
 * Collections of JSON values that survive crashes: lowdb over a journal and snapshots. Nothing is written before
 * `write`; what it has written survives the end of the process, and after `sync` a loss of power too.
 */
export interface Store<T> {
  get<C extends keyof T & string>(collection: C, id: string): T[C] | undefined;
  /** The collection itself, in the order in which ids were first put. Not to be changed. */
  all<C extends keyof T & string>(collection: C): Readonly<Record<string, T[C]>>;
  /** The value belongs to the store from now on. Throws STORE_REFUSED: over 200 levels, over 8 MB, a key that reaches a prototype. */
  put<C extends keyof T & string>(collection: C, id: string, value: T[C]): void;
  remove(collection: keyof T & string, id: string): void;
  /** Appends all that changed since as one record, before it returns. Never rejects: see `persisted`. */
  write(): Promise<void>;
  /** Writes, and makes everything written durable; compacts when it is time. Never rejects. */
  sync(): Promise<void>;
  /** Reads again, with what other processes have written. */
  refresh(): Promise<void>;
  /** Rewrites the files, so that nothing that was removed or replaced stands in any of them, copies of damaged ones included. Whether it has. */
  erase(): Promise<boolean>;
  /** Syncs and lets go of the files. Idempotent. */
  close(): Promise<void>;
  /** False from a write that failed until it has been made good. */
  readonly persisted: boolean;
  /** Why the files could not be read at all; the store then started empty. */
  readonly unreadable: string | undefined;
}

/** Opens a store. Whatever its files look like it opens, with a report; the one exception is STORE_NEWER. */
export async function openStore<T>(options: StoreOptions<T>): Promise<Store<T>> {
  const adapter = new JournalAdapter(options as StoreOptions<unknown>);
  const low = new Low<Data>(adapter, emptyData(options.defaults));
  await low.read();
  return {
    get: (collection, id) => low.data[collection]?.[id] as never,
    all: (collection) => (low.data[collection] ?? {}) as never,
    put(collection, id, value) {
      adapter.mark(collection, id, encodeValue(collection, id, value));
      applyOperation(low.data, [collection, id, value]);
    },
    remove(collection, id) {
      if (low.data[collection]?.[id] === undefined) return;
      adapter.mark(collection, id, undefined);
      applyOperation(low.data, [collection, id]);
    },
    // The work is done when this returns; the promise is lowdb's.
    write: () => low.write(),
    sync: () => adapter.sync(low.data),
    // Not `low.read()`: between its reading and its assignment another put could happen and be lost.
    refresh: async () => {
      low.data = adapter.reload(low.data);
    },
    erase: () => adapter.erase(low.data),
    close: () => adapter.close(low.data),
    get persisted() {
      return !adapter.degraded;
    },
    get unreadable() {
      return adapter.unreadable;
    },
  };
}

/** The same interface with nothing behind it. */
export function createMemoryStore<T>(defaults: StoreOptions<T>["defaults"]): Store<T> {
  const data = emptyData(defaults);
  const done = async () => {};
  return {
    get: (collection, id) => data[collection]?.[id] as never,
    all: (collection) => (data[collection] ?? {}) as never,
    put: (collection, id, value) => applyOperation(data, [collection, id, value]),
    remove: (collection, id) => applyOperation(data, [collection, id]),
    write: done,
    sync: done,
    refresh: done,
    erase: async () => true,
    close: done,
    persisted: false,
    unreadable: undefined,
  };
}

/** A value that is not on disk yet, or not durable; its JSON is undefined where it was removed. */
interface Change {
  collection: string;
  id: string;
  json: string | undefined;
}

interface Journal {
  fd: number;
  generation: number;
  bytes: number;
}

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = nodeFs.constants;
const SMALL_JOURNAL = 64 * 1024;
const LARGE_JOURNAL = 4 * 1024 * 1024;
/** ms to wait for another process that compacts. */
const ERASE_WAIT_MS = 10_000;

/** The lowdb adapter. Its work is synchronous, so no other code of the process runs in the middle of it. */
class JournalAdapter implements Adapter<Data> {
  degraded = false;
  unreadable: string | undefined;
  readonly #options: StoreOptions<unknown>;
  readonly #place: { fs: StoreFs; dir: string; version: number };
  readonly #writer = randomLetters(8, randomBytes);
  readonly #changed = new Map<string, Change>();
  #unsynced = new Map<string, Omit<Change, "json">>();
  #syncing: Promise<void> = Promise.resolve();
  #reported: KnownDamage[] = [];
  #recordCount = 0;
  #journal: Journal | undefined;
  #hasWritten = false;
  /** The topmost directory whose name is not known to be durable yet. */
  #newPath: string | undefined;
  #snapshotBytes = 0;
  #measureAt = SMALL_JOURNAL;

  constructor(options: StoreOptions<unknown>) {
    this.#options = options;
    this.#place = { fs: options.fs ?? nodeFs, dir: options.dir, version: options.version };
  }

  async read(): Promise<Data | null> {
    const { fs, dir } = this.#place;
    try {
      const loaded = await this.#loadSettled();
      if (this.#options.access !== "read") removeStaleTemporaries(fs, dir);
      this.#snapshotBytes = loaded.snapshotBytes;
      this.#report(loaded, this.#options.access !== "read");
      this.#flush(loaded.data);
      return loaded.isNew ? null : loaded.data;
    } catch (error) {
      if (error instanceof AgentError) throw error;
      this.unreadable = errorMessage(error);
      this.#fail(error);
      return null;
    }
  }

  /** What is on disk, with what is not yet; the same data where the disk cannot be read. */
  reload(data: Data): Data {
    try {
      const loaded = this.#load();
      if (loaded.isNew) return data;
      for (const change of this.#changed.values()) applyOperation(loaded.data, operationOf(data, change));
      return loaded.data;
    } catch (error) {
      if (error instanceof AgentError) throw error;
      return data;
    }
  }

  mark(collection: string, id: string, json: string | undefined): void {
    this.#changed.set(`${collection}\n${id}`, { collection, id, json });
  }

  async write(data: Data): Promise<void> {
    this.#flush(data);
  }

  /** One at a time: what is called meanwhile waits for its turn. */
  sync(data: Data): Promise<void> {
    this.#syncing = this.#syncing.then(() => this.#sync(data));
    return this.#syncing;
  }

  /** In its turn, as a sync is. */
  erase(data: Data): Promise<boolean> {
    const erased = this.#syncing.then(() => this.#erase(data));
    this.#syncing = erased.then(() => {});
    return erased;
  }

  async close(data: Data): Promise<void> {
    await this.sync(data);
    this.#closeJournal();
  }

  async #sync(data: Data): Promise<void> {
    this.#flush(data);
    if (this.degraded || this.#unsynced.size === 0) return;
    const syncing = this.#unsynced;
    this.#unsynced = new Map();
    try {
      await this.#syncJournal(this.#openJournal(data).fd);
      this.#syncNames();
    } catch (error) {
      // After a sync that failed the system may have dropped the pages: only writing them again makes them safe.
      for (const change of [...syncing.values(), ...this.#unsynced.values()]) this.#markAgain(data, change.collection, change.id);
      this.#fail(error);
      return;
    }
    if (this.#isCompactionDue(data)) this.#compact();
  }

  /** A store of our own is synced aside. In a shared one another process may make us let go of the journal meanwhile, so that one is synced at once. */
  async #syncJournal(fd: number): Promise<void> {
    const { fs } = this.#place;
    if (this.#options.access !== "exclusive") return fs.fdatasyncSync(fd);
    await new Promise<void>((resolve, reject) => fs.fdatasync(fd, (error) => (error ? reject(error) : resolve())));
  }

  #load(): Loaded {
    return loadStore(this.#place, Object.keys(this.#options.defaults));
  }

  /** In a shared store an unfinished last line may be a write that goes on this very moment. */
  async #loadSettled(): Promise<Loaded> {
    let loaded = this.#load();
    for (let wait = 0; wait < 3 && (this.#options.access ?? "shared") === "shared" && loaded.damaged.some((file) => file.torn); wait++) {
      await sleep(10);
      loaded = this.#load();
    }
    return loaded;
  }

  #flush(data: Data): void {
    if (this.#options.access === "read" || (this.#changed.size === 0 && this.#reported.length === 0)) return;
    try {
      this.#appendChanges(data);
    } catch (error) {
      this.#fail(error);
      return;
    }
    const kept = this.#changed.size;
    for (const [key, { collection, id }] of this.#changed) this.#unsynced.set(key, { collection, id });
    this.#changed.clear();
    this.#reported = [];
    if (!this.degraded) return;
    this.degraded = false;
    this.#options.onRecovered?.({ path: this.#place.dir, kept, lost: 0 });
  }

  /** One write. Where another process has compacted meanwhile it may not hold the record, so it is appended to the new journal too. */
  #appendChanges(data: Data): void {
    const { fs } = this.#place;
    const id = `${this.#writer}${(this.#recordCount++).toString(36)}`;
    for (let attempt = 0; attempt < 8; attempt++) {
      const journal = this.#openJournal(data);
      const bytes = Buffer.from(this.#formatChanges(id));
      const written = fs.writeSync(journal.fd, bytes);
      if (written < bytes.length) {
        // The piece stays in the journal; it is written again whole, so the next start need not report it.
        this.#reported.push([`journal.${journal.generation}`, crcOf([bytes.subarray(1, written)]), 1]);
        throw new Error(`only ${written} of ${bytes.length} bytes could be written`);
      }
      if (this.#isCurrent(journal)) {
        this.#hasWritten = true;
        return;
      }
      if (this.#unsynced.size > 0) fs.fdatasyncSync(journal.fd);
      this.#closeJournal();
    }
    throw new Error("the store is compacted faster than it can be written");
  }

  #formatChanges(recordId: string): string {
    const operations = [...this.#changed.values()].map(
      ({ collection, id, json }) => `[${JSON.stringify(collection)},${JSON.stringify(id)}${json === undefined ? "" : `,${json}`}]`,
    );
    const known = this.#reported.length > 0 ? `,"k":${JSON.stringify(this.#reported)}` : "";
    return formatRecord(`{"v":${this.#options.version},"i":"${recordId}","o":[${operations.join(",")}]${known}}`);
  }

  /** Asked after a write: before it, the answer could be out of date when the write happens. */
  #isCurrent(journal: Journal): boolean {
    const { fs, dir } = this.#place;
    const isAlone = this.#options.access === "exclusive";
    const next = isAlone ? undefined : fs.lstatSync(join(dir, `snapshot.${journal.generation + 1}`), { throwIfNoEntry: false });
    const { nlink, size } = fs.fstatSync(journal.fd);
    journal.bytes = size;
    return next === undefined && nlink > 0;
  }

  #openJournal(data: Data): Journal {
    if (this.#journal) return this.#journal;
    const { fs, dir } = this.#place;
    const made = makeDirectories(fs, dir);
    this.#newPath ??= made;
    for (let attempt = 0; attempt < 8; attempt++) {
      const { generation, journals, snapshots } = listFiles(fs, dir);
      if (this.#hasWritten && journals.size + snapshots.size === 0) this.#startAgain(data);
      const fd = fs.openSync(join(dir, `journal.${generation}`), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
      if (!journals.has(generation)) this.#newPath ??= join(dir, `journal.${generation}`);
      if (listFiles(fs, dir).generation === generation) {
        this.#journal = { fd, generation, bytes: 0 };
        return this.#journal;
      }
      fs.closeSync(fd);
    }
    throw new Error("the store is compacted faster than it can be opened");
  }

  /** Somebody removed the files under a running store: what it holds in memory is written again. */
  #startAgain(data: Data): void {
    for (const [collection, items] of Object.entries(data)) {
      for (const id of Object.keys(items)) this.#markAgain(data, collection, id);
    }
  }

  #markAgain(data: Data, collection: string, id: string): void {
    this.mark(collection, id, JSON.stringify(data[collection]?.[id]));
  }

  #closeJournal(): void {
    const journal = this.#journal;
    this.#journal = undefined;
    try {
      if (journal) this.#place.fs.closeSync(journal.fd);
    } catch {
      // What was written is with the system; an error here takes nothing back.
    }
  }

  /** Makes the names of new files and directories durable, from the store upwards. */
  #syncNames(): void {
    const { fs, dir } = this.#place;
    if (this.#newPath === undefined) return;
    const top = dirname(this.#newPath);
    syncDirectory(fs, dir);
    for (let path = dir; path !== top && path !== dirname(path); ) {
      path = dirname(path);
      syncDirectory(fs, path);
    }
    this.#newPath = undefined;
  }

  #fail(error: unknown): void {
    this.#closeJournal();
    if (this.degraded) return;
    this.degraded = true;
    this.#options.onDegraded?.({ path: this.#place.dir, reason: errorMessage(error) });
  }

  /** Reports damage that no start has reported yet. A torn end counts when a store is opened; later it is another's write. */
  #report(loaded: Loaded, torn: boolean): void {
    for (const file of loaded.damaged) {
      const known = loaded.known.filter(([name]) => name === file.name);
      if ((file.torn && !torn) || known.some(([, crc]) => crc === file.crc)) continue;
      const lost = Math.max(0, file.lost - Math.max(0, ...known.map(([, , lines]) => lines)));
      const copy = file.torn || this.#options.access === "read" ? undefined : quarantine(this.#place, file);
      this.#reported.push([file.name, file.crc, file.lost]);
      this.#options.onRecovered?.({ path: join(this.#place.dir, file.name), kept: file.kept, lost, ...(copy && { quarantine: copy }) });
    }
  }

  /** Half of the journal is out of date, or it is large and would cost more to read than the snapshot did. */
  #isCompactionDue(data: Data): boolean {
    const bytes = this.#journal?.bytes ?? 0;
    if (bytes > LARGE_JOURNAL && bytes > this.#snapshotBytes) return true;
    if (bytes < this.#measureAt) return false;
    const live = measureData(data);
    this.#measureAt = Math.max(SMALL_JOURNAL, bytes * 1.5, live * 2);
    return bytes > live * 2;
  }

  /** A compaction that fails, or that another process does already, changes nothing. */
  #compact(): void {
    const { fs, dir } = this.#place;
    try {
      const lock = this.#options.access === "exclusive" ? undefined : tryLock(dir, fs);
      if (lock && "busy" in lock) return;
      try {
        this.#rewrite();
      } finally {
        lock?.release();
      }
    } catch {
      this.#measureAt = (this.#journal?.bytes ?? 0) * 2;
      this.#closeJournal();
    }
  }

  /** The next generation. Whoever calls has the lock. */
  #rewrite(): void {
    const loaded = this.#load();
    this.#report(loaded, false);
    loaded.known.push(...this.#reported);
    this.#snapshotBytes = writeSnapshot(this.#place, loaded);
    this.#measureAt = SMALL_JOURNAL;
    this.#closeJournal();
  }

  async #erase(data: Data): Promise<boolean> {
    const { fs, dir } = this.#place;
    const { access } = this.#options;
    await this.#sync(data);
    if (access === "read" || this.degraded || this.unreadable !== undefined) return false;
    try {
      if (isEmpty(fs, dir)) return true;
      const lock = access === "exclusive" ? undefined : await acquireLock({ dir, waitMs: ERASE_WAIT_MS, fs });
      if (lock && "busy" in lock) return false;
      try {
        const { generation, snapshots, journals } = listFiles(fs, dir);
        // One generation after the other, each a compaction like any other: until the files of now have all dropped out.
        for (let round = 0; round < KEPT_GENERATIONS && snapshots.size + journals.size > 0; round++) this.#rewrite();
        return removeAside(fs, dir, generation);
      } finally {
        lock?.release();
      }
    } catch {
      this.#closeJournal();
      return false;
    }
  }
}

function operationOf(data: Data, { collection, id, json }: Change): Operation {
  return json === undefined ? [collection, id] : [collection, id, data[collection]?.[id]];
}

function emptyData(defaults: Record<string, object>): Data {
  const data: Data = Object.create(null);
  for (const [collection, items] of Object.entries(defaults)) data[collection] = Object.assign(Object.create(null), structuredClone(items));
  return data;
}

function measureData(data: Data): number {
  let length = 0;
  for (const items of Object.values(data)) for (const value of Object.values(items)) length += JSON.stringify(value).length;
  return length;
}
