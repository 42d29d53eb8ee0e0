import { AgentError } from "./errors.ts";
import { newId } from "./id.ts";
import { addTokens, type Entry, type Message, messageText, type TokenCount, type ToolMessage, toolCallsOf } from "./message.ts";
import type { Session, SessionMeta } from "./session.ts";
import { emptySnapshots, type SnapshotData, Snapshots } from "./snapshot.ts";
import type { Store } from "./store.ts";
import type { SessionState } from "./tool.ts";

/** What the store of one session holds. */
export interface SessionData extends SnapshotData {
  /** One, under "meta". */
  session: SessionMeta;
  state: unknown;
  /** Every entry there ever was, by its number. */
  log: LogItem;
  /** Text of entries that cannot stand in the log as they are. */
  piece: string;
  /** One, under "current": what compaction left in force. */
  view: View;
}

interface LogItem {
  /** How often the conversation had been replaced when the entry came. */
  epoch: number;
  entry?: unknown;
  /** The entry is the JSON of this many pieces. */
  pieces?: number;
}

/** In force is what is listed here, and then all of this epoch that is not. */
interface View {
  epoch: number;
  keys: string[];
}

export interface SessionParts {
  store: Store<SessionData>;
  meta: SessionMeta;
  now(): number;
  /** Called before the first append of a new session; undefined where it has begun already. */
  begin?(): void;
  /** Called after each commit. */
  touch(meta: SessionMeta, entries: number): Promise<void>;
  /** Where contents of files are kept, and what is no part of a workspace; undefined where nothing is kept on disk. */
  files?: { dir: string; skip: string[] };
  release(): void;
}

export const emptySession = (): { [C in keyof SessionData]: Record<string, SessionData[C]> } => ({
  session: {},
  state: {},
  log: {},
  piece: {},
  view: {},
  ...emptySnapshots(),
});

const INTERRUPTED = "Interrupted: the run ended before this call did. It may have taken effect; check before you repeat it.";
const PIECE_LENGTH = 1024 * 1024;
const TITLE_LENGTH = 50;

/** How long the list of sessions may lag behind a run that goes on. */
const LIST_EVERY_MS = 1_000;

/** A session over a store: appending costs the same however long the conversation is. */
export class SessionLog implements Session {
  readonly state: SessionState;
  readonly snapshots: Snapshots | undefined;
  readonly #parts: SessionParts;
  #meta: SessionMeta;
  #entries: Entry[] = [];
  #keys = new WeakMap<Entry, string>();
  #epoch = 0;
  #nextKey = 0;
  /** Entries that damage has taken. */
  #lost = 0;
  #listedAt = Number.NEGATIVE_INFINITY;
  #begun: boolean;
  #closing: Promise<void> | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#meta = parts.meta;
    this.#begun = parts.begin === undefined;
    const { store, files } = parts;
    this.snapshots = files && new Snapshots({ store, ...files });
    this.state = {
      get: <T>(key: string) => store.get("state", key) as T | undefined,
      set: (key, value) => (value === undefined ? store.remove("state", key) : store.put("state", key, value)),
    };
    this.#load();
  }

  get id(): string {
    return this.#meta.id;
  }

  get meta(): Readonly<SessionMeta> {
    return this.#meta;
  }

  get persisted(): boolean {
    return this.#parts.store.persisted;
  }

  entries(): readonly Entry[] {
    return this.#entries;
  }

  append(entry: Entry): void {
    this.#begin();
    this.#log(entry);
    this.#entries.push(entry);
    this.#change({ updatedAt: this.#parts.now(), title: this.#meta.title || titleOf(entry.message) });
    void this.#parts.store.write();
  }

  replace(entries: Entry[]): void {
    this.#begin();
    this.#epoch++;
    this.#entries = [...entries];
    for (const entry of entries) if (!this.#keys.has(entry)) this.#log(entry);
    this.#parts.store.put("view", "current", { epoch: this.#epoch, keys: entries.map((entry) => this.#keys.get(entry) as string) });
    this.#change({ updatedAt: this.#parts.now() });
    void this.#parts.store.write();
  }

  count({ costUsd, tokens, steps: added = 1 }: { costUsd?: number; tokens: TokenCount; steps?: number }): void {
    const { steps, tokens: before, costUsd: spent } = this.#meta;
    this.#change({ steps: steps + added, tokens: addTokens(before, tokens), ...(costUsd !== undefined && { costUsd: (spent ?? 0) + costUsd }) });
  }

  async commit(): Promise<void> {
    if (!this.#begun) return;
    await this.#parts.store.sync();
    if (performance.now() - this.#listedAt >= LIST_EVERY_MS) await this.#list();
  }

  async settle(): Promise<void> {
    await this.snapshots?.ended();
    await this.commit();
    if (this.#begun) await this.#list();
  }

  async #list(): Promise<void> {
    this.#listedAt = performance.now();
    await this.#parts.touch(this.#meta, this.#nextKey - this.#lost);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Takes over a conversation; nothing of it is written before the first append. */
  adopt(entries: readonly Entry[], state: Record<string, unknown>): void {
    for (const entry of entries) this.#log(entry);
    this.#entries = [...entries];
    for (const [key, value] of Object.entries(state)) this.state.set(key, value);
  }

  /** Answers calls that a killed run left open, so that a provider accepts the conversation. They are never run again. */
  closeInterruptedCalls(): void {
    const closed = closeToolCalls(this.#entries, (message) => ({ id: newId("msg"), at: this.#parts.now(), message }));
    const added = closed.slice(this.#entries.length);
    if (this.#entries.every((entry, index) => entry === closed[index])) for (const entry of added) this.append(entry);
    else this.replace(closed);
  }

  async #close(): Promise<void> {
    if (this.#begun) {
      await this.snapshots?.close();
      await this.settle();
      await this.#parts.store.close();
    }
    this.#parts.release();
  }

  #load(): void {
    const { store } = this.#parts;
    const { entries, keys, epoch, nextKey, lost } = loadConversation(store);
    this.#entries = entries;
    this.#epoch = epoch;
    this.#nextKey = nextKey;
    this.#lost = lost;
    for (const [index, entry] of entries.entries()) this.#keys.set(entry, keys[index] as string);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#parts.begin?.();
  }

  #change(changes: Partial<SessionMeta>): void {
    this.#meta = { ...this.#meta, ...changes };
    this.#parts.store.put("session", "meta", this.#meta);
  }

  #log(entry: Entry): void {
    const { store } = this.#parts;
    const key = String(this.#nextKey++);
    this.#keys.set(entry, key);
    const encoded = encodeEntry(entry);
    try {
      store.put("log", key, { epoch: this.#epoch, entry: encoded });
    } catch (error) {
      if (!(error instanceof AgentError) || error.code !== "STORE_REFUSED") throw error;
      store.put("log", key, { epoch: this.#epoch, pieces: this.#logPieces(key, encoded) });
    }
  }

  /** What is too long, too deep or strangely named for a record is text to the store. */
  #logPieces(key: string, entry: unknown): number {
    const text = JSON.stringify(entry);
    const count = Math.ceil(text.length / PIECE_LENGTH);
    for (let index = 0; index < count; index++) this.#parts.store.put("piece", `${key}.${index}`, text.slice(index * PIECE_LENGTH, (index + 1) * PIECE_LENGTH));
    return count;
  }
}

interface Conversation {
  entries: Entry[];
  keys: string[];
  /** Where the log goes on. */
  epoch: number;
  nextKey: number;
  /** Numbers below `nextKey` that are not there any more. */
  lost: number;
}

/** The conversation in force. */
export function loadConversation(store: Store<SessionData>): Conversation {
  const log = store.all("log");
  const view = store.get("view", "current") ?? { epoch: 0, keys: [] };
  const listed = new Set(view.keys);
  const all = Object.keys(log);
  const inForce = [...view.keys, ...all.filter((key) => (log[key] as LogItem).epoch >= view.epoch && !listed.has(key))];
  const entries: Entry[] = [];
  const keys: string[] = [];
  for (const key of inForce) {
    const entry = decodeEntry(store, key);
    if (!entry) continue;
    entries.push(entry);
    keys.push(key);
  }
  const epoch = all.reduce((highest, key) => Math.max(highest, (log[key] as LogItem).epoch), view.epoch);
  const nextKey = all.reduce((next, key) => Math.max(next, Number(key) + 1), 0);
  return { entries, keys, epoch, nextKey, lost: nextKey - all.length };
}

/** Every entry there ever was, in the order in which they came, each as it was first. */
export function loadLog(store: Store<SessionData>): Entry[] {
  const first = new Map<string, Entry>();
  for (const key of Object.keys(store.all("log"))) {
    const entry = decodeEntry(store, key);
    if (entry && !first.has(entry.id)) first.set(entry.id, entry);
  }
  return [...first.values()];
}

/**
 * The conversation as providers demand it: every call has its result before the next message, every result its call.
 * Missing results say that the call was interrupted; results without a call are left out.
 */
export function closeToolCalls(entries: readonly Entry[], create: (message: ToolMessage) => Entry): Entry[] {
  const closed: Entry[] = [];
  let open = new Map<string, string>();
  const closeOpen = () => {
    if (open.size > 0) closed.push(create(interruptedResults(open)));
    open = new Map();
  };
  for (const entry of entries) {
    const { message } = entry;
    if (message.role === "tool") {
      const kept = keepAnswers(entry, message, open);
      if (kept) closed.push(kept);
      continue;
    }
    closeOpen();
    closed.push(entry);
    for (const call of toolCallsOf(message)) open.set(call.toolCallId, call.toolName);
  }
  closeOpen();
  return closed;
}

function keepAnswers(entry: Entry, message: ToolMessage, open: Map<string, string>): Entry | undefined {
  const content = message.content.filter((part) => part.type !== "tool-result" || open.delete(part.toolCallId));
  if (content.length === message.content.length) return entry;
  return content.length === 0 ? undefined : { ...entry, message: { ...message, content } };
}

const interruptedResults = (open: Map<string, string>): ToolMessage => ({
  role: "tool",
  content: [...open].map(([toolCallId, toolName]) => ({ type: "tool-result", toolCallId, toolName, output: { type: "error-text", value: INTERRUPTED } })),
});

function titleOf(message: Message): string {
  if (message.role !== "user") return "";
  return [...messageText(message).replace(/\s+/g, " ").trim()].slice(0, TITLE_LENGTH).join("");
}

/** Bytes become base64, which a file part may hold as well; a URL is marked, or it would be taken for base64. */
function encodeEntry(entry: Entry): unknown {
  return mapFileData(entry, (data) =>
    data instanceof Uint8Array
      ? Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64")
      : data instanceof URL
        ? { url: data.href }
        : data,
  );
}

function decodeEntry(store: Store<SessionData>, key: string): Entry | undefined {
  const item = store.get("log", key);
  const encoded = item?.pieces === undefined ? item?.entry : readPieces(store, key, item.pieces);
  if (typeof (encoded as Entry | undefined)?.message?.role !== "string") return undefined;
  return mapFileData(encoded as Entry, (data) => (isUrl(data) ? new URL(data.url) : data));
}

const isUrl = (data: unknown): data is { url: string } =>
  typeof data === "object" && data !== null && "url" in data && typeof data.url === "string" && URL.canParse(data.url);

function readPieces(store: Store<SessionData>, key: string, count: number): unknown {
  let text = "";
  for (let index = 0; index < count; index++) text += store.get("piece", `${key}.${index}`) ?? "";
  try {
    return JSON.parse(text);
  } catch {
    // A piece was lost with a damaged record; the start has reported it.
    return undefined;
  }
}

function mapFileData(entry: Entry, map: (data: unknown) => unknown): Entry {
  const { message } = entry;
  if (message.role === "system" || !message.content.some((part) => part.type === "file")) return entry;
  const content = message.content.map((part) => (part.type === "file" ? { ...part, data: map(part.data) } : part));
  return { ...entry, message: { ...message, content } as Message };
}
