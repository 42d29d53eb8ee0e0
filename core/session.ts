import * as nodeFs from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AgentError } from "./errors.ts";
import type { EventFacts } from "./events.ts";
import { listFiles, makeDirectories } from "./generation.ts";
import { newId } from "./id.ts";
import { acquireLock, type Lock, tryLock } from "./lock.ts";
import { type Entry, NO_TOKENS, type TokenCount } from "./message.ts";
import { closeToolCalls, emptySession, loadConversation, loadLog, type SessionData, SessionLog } from "./session-log.ts";
import type { Snapshots } from "./snapshot.ts";
import { createMemoryStore, openStore, type Store, type StoreFs, type StoreRecovery } from "./store.ts";
import type { SessionState } from "./tool.ts";

export interface SessionMeta {
  id: string;
  title: string;
  /** ms since 1970 */
  createdAt: number;
  updatedAt: number;
  cwd: string;
  /** The session whose `task` started this one. */
  parentId?: string;
  forkedFrom?: string;
  steps: number;
  /** Undefined while no cost is known. */
  costUsd?: number;
  tokens: TokenCount;
}

/** One conversation. Only one process has it open at a time. */
export interface Session {
  readonly id: string;
  readonly meta: Readonly<SessionMeta>;
  /** Values that live with the session; written with the next append or commit. */
  readonly state: SessionState;
  /** What tools changed; undefined where nothing is kept on disk. */
  readonly snapshots: Snapshots | undefined;
  /** The conversation in force: always the same array, grown in place, until `replace` puts another in its place. */
  entries(): readonly Entry[];
  /** Written to the operating system when it returns. A disk that fails shows in `persisted`, never here. */
  append(entry: Entry): void;
  /** What is in force from now on. What it replaces stays in the log. */
  replace(entries: Entry[]): void;
  /** Adds a step to the meta (`steps: 0`: a request that is none); written with the next append or commit. */
  count(step: { costUsd?: number; tokens: TokenCount; steps?: number }): void;
  /** Makes everything so far survive a loss of power: the step is acknowledged. `list` shows it within a second. */
  commit(): Promise<void>;
  /** Commits, with what the calls changed that have ended, and brings what `list` shows up to date. */
  settle(): Promise<void>;
  /** False from a write that failed until it has been made good; always false where nothing is kept on disk. */
  readonly persisted: boolean;
  /** Settles and lets go. Idempotent. */
  close(): Promise<void>;
}

/** What is kept of a session. */
export interface StoredSession {
  meta: SessionMeta;
  /** The conversation in force. */
  entries: Entry[];
  state: Record<string, unknown>;
  /** Every entry there ever was: also what compaction took out or made shorter. */
  log(): Entry[];
}

export interface Sessions {
  /** Nothing is written before the first append. `id` names the session; one that is taken throws OPTION_INVALID. */
  create(options: { cwd: string; title?: string; parentId?: string; id?: string }): Promise<Session>;
  /** Throws SESSION_NOT_FOUND, SESSION_BUSY after 2 s, STORE_NEWER, STORE_DAMAGED. */
  open(id: string): Promise<Session>;
  /** A copy of the conversation in force with a new id and nothing spent; the original may be in use. */
  fork(id: string): Promise<Session>;
  /** The newest session of this workspace that no other session started. */
  newest(cwd: string): Promise<string | undefined>;
  /** Newest first, from the index; a session that the index does not know is found by its directory. */
  list(): Promise<SessionMeta[]>;
  /** Reads without a lock, also what is in use. Throws SESSION_NOT_FOUND, STORE_NEWER, STORE_DAMAGED. */
  read(id: string): Promise<StoredSession>;
  /** With all the sessions that it started. Throws SESSION_NOT_FOUND, and SESSION_BUSY before anything is deleted. */
  delete(id: string): Promise<void>;
  /** Closes what is still open. */
  close(): Promise<void>;
}

export interface SessionsOptions {
  dir: string;
  now?: () => number;
  on(event: Extract<EventFacts, { type: "store.degraded" | "store.recovered" }>): void;
  fs?: StoreFs;
}

/** Sessions on disk: one store each, in `dir/<id>`, and an index that can be made again from them. */
export function createSessions(options: SessionsOptions): Sessions {
  return new DiskSessions(options);
}

/** The same without a disk: a session lives as long as this object. */
export function createMemorySessions(now: () => number = Date.now): Sessions {
  return new MemorySessions(now);
}

interface IndexItem {
  meta: SessionMeta;
  /** Entries in its log when it was last committed. */
  entries: number;
  /** The higher, the newer: the time, but always more than that of the session before, whatever the clock does. */
  order: number;
}

type CreateOptions = Parameters<Sessions["create"]>[0];

const VERSION = 1;
const BUSY_WAIT_MS = 2_000;
const ID = /^(?!index$)[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

class DiskSessions implements Sessions {
  readonly #options: SessionsOptions;
  readonly #fs: StoreFs;
  readonly #now: () => number;
  readonly #opened = new Set<Session>();
  #index: Promise<Store<{ session: IndexItem }>> | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#fs = options.fs ?? nodeFs;
    this.#now = options.now ?? Date.now;
  }

  async create(options: CreateOptions): Promise<Session> {
    if (options.id !== undefined && this.#exists(checkNewId(options.id))) throw takenId(options.id);
    return this.#createLog(newMeta(options, this.#now()));
  }

  async open(id: string): Promise<Session> {
    this.#find(id);
    const lock = await this.#lock(id);
    try {
      // Whoever had it may have deleted it.
      this.#find(id);
      const store = await this.#openStore(id, "exclusive");
      const session = this.#keep({ store, meta: await this.#metaOf(id, store), lock, isNew: false });
      session.closeInterruptedCalls();
      await session.snapshots?.settle();
      return session;
    } catch (error) {
      lock?.release();
      throw error;
    }
  }

  async fork(id: string): Promise<Session> {
    const { meta, entries, state } = await this.read(id);
    const session = await this.#createLog(forkMeta(meta, this.#now()));
    return adoptCopy(session, { entries, state, now: this.#now() });
  }

  async newest(cwd: string): Promise<string | undefined> {
    return newestOf(await this.list(), cwd);
  }

  async list(): Promise<SessionMeta[]> {
    const index = await this.#openIndex();
    await index.refresh();
    const ids = new Set(this.#directories());
    for (const id of Object.keys(index.all("session"))) if (!ids.has(id)) index.remove("session", id);
    for (const id of ids) {
      if (index.get("session", id)) continue;
      const item = await this.#readIndexItem(id);
      if (item) index.put("session", id, item);
    }
    await index.write();
    return Object.values(index.all("session"))
      .sort((a, b) => b.order - a.order)
      .map(({ meta }) => meta);
  }

  async read(id: string): Promise<StoredSession> {
    this.#find(id);
    const store = await this.#openStore(id, "read");
    return readStored(await this.#metaOf(id, store), store);
  }

  async delete(id: string): Promise<void> {
    this.#find(id);
    const ids = familyOf(id, await this.list());
    const locks: (Lock | undefined)[] = [];
    try {
      for (const each of ids) locks.push(await this.#lock(each));
      const index = await this.#openIndex();
      // Children first: what a crash leaves behind is still found under its parent.
      for (const each of ids.reverse()) {
        await this.#removeDirectory(each);
        index.remove("session", each);
      }
      await index.sync();
    } finally {
      for (const lock of locks) lock?.release();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#opened].map((session) => session.close()));
    await (await this.#index)?.close();
    this.#index = undefined;
  }

  async #createLog(meta: SessionMeta): Promise<SessionLog> {
    const store = await openStore({
      dir: this.#path(meta.id),
      version: VERSION,
      defaults: emptySession(),
      access: "exclusive",
      fs: this.#fs,
      ...this.#reports(),
    });
    return this.#keep({ store, meta, lock: undefined, isNew: true });
  }

  #keep({ store, meta, lock, isNew }: { store: Store<SessionData>; meta: SessionMeta; lock: Lock | undefined; isNew: boolean }): SessionLog {
    let held = lock;
    const session: SessionLog = new SessionLog({
      store,
      meta,
      now: this.#now,
      touch: (latest, entries) => this.#touch(latest, entries),
      files: { dir: join(this.#path(meta.id), "files"), skip: [this.#options.dir, dirname(this.#options.dir)] },
      release: () => {
        held?.release();
        this.#opened.delete(session);
      },
      ...(isNew && {
        begin: () => {
          held = this.#lockNew(meta.id);
        },
      }),
    });
    this.#opened.add(session);
    return session;
  }

  /** Opens an existing session's store. What the index knows of its length turns a report of damage into an exact one. */
  async #openStore(id: string, access: "exclusive" | "read"): Promise<Store<SessionData>> {
    const { onRecovered, onDegraded } = this.#reports();
    const found: StoreRecovery[] = [];
    let tell = (recovery: StoreRecovery): void => void found.push(recovery);
    const dir = this.#path(id);
    const store = await openStore({
      dir,
      version: VERSION,
      defaults: emptySession(),
      access,
      fs: this.#fs,
      onDegraded,
      onRecovered: (recovery) => tell(recovery),
    });
    if (store.unreadable !== undefined) throw new AgentError("STORE_DAMAGED", { path: dir, reason: store.unreadable });
    tell = onRecovered;
    const kept = Object.keys(store.all("log")).length;
    const expected = (await this.#openIndex()).get("session", id)?.entries ?? 0;
    const copy = found.find((recovery) => recovery.quarantine)?.quarantine;
    if (kept < expected) tell({ path: found[0]?.path ?? dir, kept, lost: expected - kept, ...(copy && { quarantine: copy }) });
    else found.forEach(tell);
    return store;
  }

  #reports() {
    const { on } = this.#options;
    return {
      onRecovered: (recovery: StoreRecovery) => on({ type: "store.recovered", ...recovery }),
      onDegraded: (degraded: { path: string; reason: string }) => on({ type: "store.degraded", ...degraded }),
    };
  }

  async #metaOf(id: string, store: Store<SessionData>): Promise<SessionMeta> {
    return store.get("session", "meta") ?? (await this.#openIndex()).get("session", id)?.meta ?? newMeta({ id, cwd: "" }, this.#now());
  }

  #openIndex(): Promise<Store<{ session: IndexItem }>> {
    this.#index ??= openStore<{ session: IndexItem }>({
      dir: this.#path("index"),
      version: VERSION,
      defaults: { session: {} },
      fs: this.#fs,
      // It can be made again from the sessions: only what happens to those is worth telling.
    });
    return this.#index;
  }

  async #touch(meta: SessionMeta, entries: number): Promise<void> {
    try {
      const index = await this.#openIndex();
      const newest = Object.values(index.all("session")).reduce((highest, item) => Math.max(highest, item.order), 0);
      index.put("session", meta.id, { meta, entries, order: Math.max(this.#now(), newest + 1) });
      await index.write();
    } catch {
      // The index is of a newer version. The session itself is safe, and found by its directory.
    }
  }

  async #readIndexItem(id: string): Promise<IndexItem | undefined> {
    try {
      const store = await openStore({ dir: this.#path(id), version: VERSION, defaults: emptySession(), access: "read", fs: this.#fs });
      const meta = store.get("session", "meta");
      return meta && { meta, entries: Object.keys(store.all("log")).length, order: meta.updatedAt };
    } catch {
      // It is of a newer version: opening it says so.
      return undefined;
    }
  }

  #path(id: string): string {
    return join(this.#options.dir, id);
  }

  #exists(id: string): boolean {
    try {
      const { journals, snapshots } = listFiles(this.#fs, this.#path(id));
      return journals.size + snapshots.size > 0;
    } catch (error) {
      // A file that lies where sessions do is none.
      if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return false;
      throw error;
    }
  }

  #find(id: string): void {
    if (!ID.test(id) || !this.#exists(id)) throw new AgentError("SESSION_NOT_FOUND", { id });
  }

  #directories(): string[] {
    try {
      return this.#fs.readdirSync(this.#options.dir).filter((name) => ID.test(name));
    } catch (error) {
      if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
      throw error;
    }
  }

  /** Undefined where the disk takes no lock file: then nobody can write to it either. */
  async #lock(id: string): Promise<Lock | undefined> {
    let outcome: Awaited<ReturnType<typeof acquireLock>>;
    try {
      outcome = await acquireLock({ dir: this.#path(id), waitMs: BUSY_WAIT_MS, fs: this.#fs });
    } catch {
      return undefined;
    }
    if ("busy" in outcome) throw new AgentError("SESSION_BUSY", { id, pid: outcome.busy });
    return outcome;
  }

  /** Nobody knows the session before its journal is there, so nobody else can have the lock. */
  #lockNew(id: string): Lock | undefined {
    try {
      makeDirectories(this.#fs, this.#path(id));
      const outcome = tryLock(this.#path(id), this.#fs);
      return "busy" in outcome ? undefined : outcome;
    } catch {
      // The store reports what the disk is missing.
      return undefined;
    }
  }

  /** Renamed first, so that a crash leaves no half of a session. */
  async #removeDirectory(id: string): Promise<void> {
    const removed = this.#path(`.removed-${id}`);
    await rm(removed, { recursive: true, force: true });
    this.#fs.renameSync(this.#path(id), removed);
    await rm(removed, { recursive: true, force: true });
  }
}

class MemorySessions implements Sessions {
  readonly #now: () => number;
  readonly #stores = new Map<string, { store: Store<SessionData>; meta: SessionMeta }>();
  readonly #opened = new Set<string>();

  constructor(now: () => number) {
    this.#now = now;
  }

  async create(options: CreateOptions): Promise<Session> {
    if (options.id !== undefined && this.#stores.has(checkNewId(options.id))) throw takenId(options.id);
    return this.#start(createMemoryStore(emptySession()), newMeta(options, this.#now()));
  }

  async open(id: string): Promise<Session> {
    const { store, meta } = this.#find(id);
    if (this.#opened.has(id)) throw new AgentError("SESSION_BUSY", { id, pid: process.pid });
    const session = this.#start(store, meta);
    session.closeInterruptedCalls();
    return session;
  }

  async fork(id: string): Promise<Session> {
    const { meta, entries, state } = await this.read(id);
    const session = this.#start(createMemoryStore(emptySession()), forkMeta(meta, this.#now()));
    return adoptCopy(session, { entries, state, now: this.#now() });
  }

  async newest(cwd: string): Promise<string | undefined> {
    return newestOf(await this.list(), cwd);
  }

  async list(): Promise<SessionMeta[]> {
    return [...this.#stores.keys()].map((id) => this.#find(id).meta).reverse();
  }

  async read(id: string): Promise<StoredSession> {
    const { store, meta } = this.#find(id);
    return readStored(meta, store);
  }

  async delete(id: string): Promise<void> {
    this.#find(id);
    const ids = familyOf(id, await this.list());
    for (const each of ids) if (this.#opened.has(each)) throw new AgentError("SESSION_BUSY", { id: each, pid: process.pid });
    for (const each of ids) this.#stores.delete(each);
  }

  async close(): Promise<void> {
    this.#stores.clear();
  }

  #start(store: Store<SessionData>, meta: SessionMeta): SessionLog {
    this.#opened.add(meta.id);
    const touch = async (latest: SessionMeta) => {
      // Taken out first: the last one is the newest.
      this.#stores.delete(latest.id);
      this.#stores.set(latest.id, { store, meta: latest });
    };
    const release = () => void this.#opened.delete(meta.id);
    const isNew = !this.#stores.has(meta.id);
    return new SessionLog({ store, meta, now: this.#now, touch, release, ...(isNew && { begin: () => void touch(meta) }) });
  }

  #find(id: string): { store: Store<SessionData>; meta: SessionMeta } {
    const found = this.#stores.get(id);
    if (!found) throw new AgentError("SESSION_NOT_FOUND", { id });
    return { store: found.store, meta: found.store.get("session", "meta") ?? found.meta };
  }
}

const readStored = (meta: SessionMeta, store: Store<SessionData>): StoredSession => ({
  meta,
  entries: loadConversation(store).entries,
  state: { ...store.all("state") },
  log: () => loadLog(store),
});

function newMeta({ id, cwd, title, parentId }: CreateOptions, now: number): SessionMeta {
  return {
    id: id ?? newId("ses"),
    title: title ?? "",
    createdAt: now,
    updatedAt: now,
    cwd,
    ...(parentId !== undefined && { parentId }),
    steps: 0,
    tokens: NO_TOKENS,
  };
}

const forkMeta = ({ id, cwd, title }: SessionMeta, now: number): SessionMeta => ({ ...newMeta({ cwd, title }, now), forkedFrom: id });

const newestOf = (metas: SessionMeta[], cwd: string): string | undefined => metas.find((meta) => meta.cwd === cwd && meta.parentId === undefined)?.id;

/** A session and all that it started, parents before children. */
function familyOf(id: string, metas: SessionMeta[]): string[] {
  const ids = [id];
  for (const parent of ids) ids.push(...metas.filter((meta) => meta.parentId === parent && !ids.includes(meta.id)).map((meta) => meta.id));
  return ids;
}

function checkNewId(id: string): string {
  if (ID.test(id)) return id;
  throw new AgentError("OPTION_INVALID", { option: "--session-id", reason: `"${id}" is not a usable id: use 1 to 128 letters, digits, - and _.` });
}

const takenId = (id: string): AgentError =>
  new AgentError("OPTION_INVALID", { option: "--session-id", reason: `there is a session ${id} already; go on with it with --session ${id}.` });

/** Fills a fork. Calls that the original still waits for get a result, so that a provider accepts the copy. */
function adoptCopy(session: SessionLog, { entries, state, now }: { entries: readonly Entry[]; state: Record<string, unknown>; now: number }): SessionLog {
  // Steps are counted anew, and what was changed stays with the original.
  const copied = entries.map(({ step: _, ...entry }): Entry => entry);
  session.adopt(
    closeToolCalls(copied, (message) => ({ id: newId("msg"), at: now, message })),
    state,
  );
  return session;
}
