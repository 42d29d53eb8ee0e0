import type { AgentEvent, Message } from "agent-runtime";
import type { Cleaning } from "./cleaning.ts";
import type { Inbox } from "./inbox.ts";
import { createDuplicates, findEndLeftOut, findLeftOut, type LeftOut } from "./left-out.ts";
import { cleanAnswer, cleanPrompt, makeCallItem, makeEndItem, type SessionFacts } from "./make-item.ts";
import { findBrought, hear, isFromOutside, isHeard } from "./outside.ts";
import { createPrivateWords, withoutPrivate } from "./private-text.ts";
import type { WorkItem } from "./work-item.ts";

type EventOf<T extends AgentEvent["type"]> = Extract<AgentEvent, { type: T }>;

export interface ObserverNeeds {
  inbox(): Promise<Inbox>;
  skipTools(): readonly string[];
  /** The memory's own directory. */
  dir: string;
  cleaning: Cleaning;
}

/** A session of this process, as it stands. */
export interface WatchedSession extends SessionFacts {
  parentId?: string | undefined;
  /** Its first prompt. */
  first: string;
  /** A prompt of it is being answered. */
  isAsked: boolean;
  /** All of that prompt is private. */
  isPrivate: boolean;
  /** The prompt before has said the same just now. */
  isRepeated: boolean;
  /** What the session was told of the memory; undefined before it was made. */
  context?: string | undefined;
  /** It is gone on with, and what was private in it is not known yet. */
  isUnread: boolean;
  /** It knows what files earlier sessions have brought from outside. */
  knowsBrought?: boolean;
}

/** Sessions that are kept in mind; of an older one its record says what counts. */
const MOST_SESSIONS = 200;
/** Files of strangers that a session's record names. */
const MOST_BROUGHT = 50;

/**
 * Makes work of what happens: who, where, which prompt and whose words are fixed at that moment, private text is out before
 * anything is written, and each thing is one small append. Nothing of the archive is read.
 */
export class Observer {
  readonly #needs: ObserverNeeds;
  readonly #sessions = new Map<string, WatchedSession>();
  readonly #duplicates = createDuplicates();

  constructor(needs: ObserverNeeds) {
    this.#needs = needs;
  }

  session(id: string): WatchedSession | undefined {
    return this.#sessions.get(id);
  }

  start({ sessionId, parentId, cwd, resumed }: EventOf<"session.start">): void {
    const known = this.#sessions.get(sessionId);
    const parent = parentId === undefined ? undefined : this.#sessions.get(parentId);
    const fresh = {
      prompt: 0,
      request: "",
      first: "",
      words: parent?.words ?? createPrivateWords(),
      hasOutside: false,
      brought: parent?.brought ?? [],
      isUnread: resumed,
    };
    this.#sessions.delete(sessionId);
    this.#sessions.set(sessionId, {
      ...(known ?? { sessionId, ...fresh, heard: parent?.heard ?? new Set() }),
      ...{ parentId, cwd, isAsked: false, isRepeated: false, isPrivate: parent?.isPrivate ?? false },
      hasOutside: known?.hasOutside === true || parent?.hasOutside === true,
    });
    for (const [id, session] of this.#sessions) if (this.#sessions.size > MOST_SESSIONS && !session.isAsked && id !== sessionId) this.#sessions.delete(id);
  }

  async prompt({ sessionId, text, agent, at }: EventOf<"prompt">): Promise<void> {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return;
    const clean = cleanPrompt(text, session.words, this.#needs.cleaning);
    // First of all: what fails behind this makes nothing public.
    session.isPrivate ||= clean.isPrivate;
    Object.assign(session, { agent, request: session.isPrivate ? "" : clean.text });
    if (session.prompt === 0) await this.#recall(session);
    session.isRepeated = !clean.isPrivate && this.#duplicates.hasPrompt(sessionId, clean.text, at);
    if (!session.isRepeated) session.prompt++;
    session.isAsked = true;
    if (session.first === "") session.first = session.request;
  }

  /** What earlier processes knew of it. */
  async #recall(session: WatchedSession): Promise<void> {
    if (!session.isUnread) return;
    const record = (await this.#needs.inbox()).session(session.sessionId);
    // Nobody has watched it: it may have read anything.
    if (record === undefined) session.hasOutside = true;
    if (record === undefined) return;
    Object.assign(session, { prompt: record.prompts, first: record.first, hasOutside: session.hasOutside || record.tainted });
    if (record.context !== undefined) session.context = record.context;
  }

  async #recallBrought(session: WatchedSession): Promise<void> {
    try {
      const inbox = await this.#needs.inbox();
      session.brought = [...new Set([...session.brought, ...inbox.brought()])];
      session.knowsBrought = true;
    } catch (error) {
      session.hasOutside = true;
      throw error;
    }
  }

  async finishTool(event: EventOf<"tool.finish">): Promise<void> {
    const session = this.#sessions.get(event.sessionId);
    if (session === undefined) return;
    if (!session.knowsBrought) await this.#recallBrought(session);
    const isNew = this.#noteOutside(event, session);
    const made = this.#makeItem(event, session);
    const inbox = await this.#needs.inbox();
    if (typeof made === "string") inbox.skip(made);
    if (typeof made !== "string") this.keep(inbox, session, made);
    else if (isNew) this.keep(inbox, session);
  }

  #makeItem(event: EventOf<"tool.finish">, session: WatchedSession): WorkItem | LeftOut {
    const { dir, cleaning, skipTools } = this.#needs;
    const place = { cwd: session.cwd, memoryDir: dir, skipTools: skipTools(), isPrivatePrompt: session.isPrivate };
    const reason = findLeftOut(event, place);
    if (reason !== undefined) return reason;
    if (this.#duplicates.hasCall(session.sessionId, event.callId)) return "duplicate";
    return makeCallItem(event, session, cleaning) ?? "private";
  }

  /** Whoever has read a stranger's words may repeat them: the session, and those that have given it as a task. Whether that is news. */
  #noteOutside({ tool, input, state, source }: EventOf<"tool.finish">, session: WatchedSession): boolean {
    if (source === undefined) return false;
    const output = state.status === "completed" ? state.output : state.error;
    const call = { tool, input, output, ...source };
    const hasRecalled = tool.startsWith("memory_") && Number(state.metadata?.untrusted ?? 0) > 0;
    const brought = findBrought(call, session).filter((path) => !session.brought.includes(path));
    if (brought.length > 0) session.brought = [...session.brought, ...brought];
    const isOutside = hasRecalled || isFromOutside(call, session);
    if (isOutside && session.heard !== undefined && isHeard(call, session)) hear(session.heard, output);
    if (session.hasOutside || !isOutside) return brought.length > 0;
    for (let each: WatchedSession | undefined = session; each !== undefined; each = this.#sessions.get(each.parentId ?? "")) each.hasOutside = true;
    return true;
  }

  /** The session's record goes with what is written. */
  keep(inbox: Inbox, session: WatchedSession, item?: WorkItem): void {
    const { sessionId, first, prompt, hasOutside, agent, context } = session;
    const brought = session.brought.slice(-MOST_BROUGHT).map((path) => cleanAnswer(path, session.words, this.#needs.cleaning).text);
    const own = { ...(agent !== undefined && { agent }), ...(context !== undefined && { context }), ...(brought.length > 0 && { brought }) };
    const record = { first, prompts: prompt, tainted: hasOutside, at: Date.now(), ...own };
    if (item === undefined) inbox.putSession(sessionId, record);
    else {
      inbox.store.put("sessions", sessionId, record);
      inbox.append(item);
    }
  }

  async finish({ sessionId, parentId, result, at }: EventOf<"session.finish">): Promise<void> {
    const session = this.#sessions.get(sessionId);
    if (session === undefined || !session.isAsked) return;
    session.isAsked = false;
    const { request, isPrivate } = session;
    const reason = session.isRepeated ? "duplicate" : findEndLeftOut({ parentId, request, answer: result.text, isPrivatePrompt: isPrivate });
    const item = reason === undefined ? makeEndItem(result, at, { session, cleaning: this.#needs.cleaning }) : undefined;
    const inbox = await this.#needs.inbox();
    if (reason !== undefined) inbox.skip(reason);
    if (item !== undefined) this.keep(inbox, session, item);
    if (parentId !== undefined) this.#sessions.delete(sessionId);
  }

  /** What was private in the prompts and answers that another process has seen: it stays so. */
  readEarlier(sessionId: string, messages: readonly Message[]): void {
    const session = this.#sessions.get(sessionId);
    if (session === undefined || !session.isUnread) return;
    session.isUnread = false;
    for (const text of textsIn(messages)) session.words.remember(withoutPrivate(text).fragments);
  }
}

function* textsIn(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) for (const each of Object.values(value)) yield* textsIn(each);
}
