import { type Inbox, type Turn, turnKeys } from "./inbox.ts";
import { describeItem, type ExtractedSession, sessionTurns } from "./instructions.ts";
import type { Mode } from "./mode.ts";
import { tokensOf } from "./note-text.ts";
import type { WorkItem } from "./work-item.ts";

export interface Window {
  /** Messages of one request, the system prompt aside. */
  maxMessages: number;
  /** Estimated tokens of one request. */
  maxTokens: number;
}

/** What was left out of a conversation because it had become too long. */
export interface Cut {
  /** Messages before, and after. */
  original: number;
  kept: number;
  dropped: number;
  /** Of what is kept. */
  estimatedTokens: number;
  limit: number;
}

/** One message, in order; the first is the user's, and they take turns. */
export interface Said {
  role: "user" | "assistant";
  text: string;
}

export interface Asking {
  said: Said[];
  /** What the item says in it, as it is kept. */
  ask: string;
  cut?: Cut;
}

export interface AskingOptions {
  mode: Mode;
  window: Window;
  /** The system prompt. */
  system: string;
  /** How often the reply to this was cut by its length: there is less to read then. */
  cuts: number;
}

const MAX_CUTS = 4;

/**
 * What the extractor is asked about an item: the beginning of the session, its turns as far as they fit, the item. When they no
 * longer fit the window, half of it is made free, so that the prefix stays the same for many requests. Turns that fall out never
 * come back: they are taken out of the store, which is not written yet. What strangers may have written is asked about without
 * the turns.
 */
export function openConversation(inbox: Inbox, item: WorkItem, { mode, window, system, cuts }: AskingOptions): Asking {
  const session = inbox.store.get("conversations", item.sessionId)?.session ?? sessionOf(inbox, item);
  const pinned: Said[] = sessionTurns(session);
  const base = sumOf([system, ...pinned.map(({ text }) => text)]);
  let less = cuts;
  let ask = describeItem(item, mode, { cuts });
  while (base + tokensOf(ask) > window.maxTokens && less < MAX_CUTS) ask = describeItem(item, mode, { cuts: ++less });
  if (window.maxMessages < pinned.length + 1) return { said: [{ role: "user", text: [pinned[0]?.text ?? "", ask].join("\n\n") }], ask };
  if (item.trust === "untrusted") return { said: [...pinned, { role: "user", text: ask }], ask };
  const { turns, cut } = fitTurns(inbox, item.sessionId, { ...window, fixed: base + tokensOf(ask), around: pinned.length + 1 });
  return { said: [...pinned, ...turns.flatMap(saidIn), { role: "user", text: ask }], ask, ...(cut && { cut }) };
}

/** Adds what was asked and answered; not written yet. */
export function addTurn(inbox: Inbox, item: WorkItem, { turn, now }: { turn: Turn; now: number }): void {
  const known = inbox.store.get("conversations", item.sessionId) ?? { session: sessionOf(inbox, item), from: 0, next: 0, at: now };
  inbox.store.put("turns", `${item.sessionId}#${known.next}`, turn);
  inbox.store.put("conversations", item.sessionId, { ...known, next: known.next + 1, at: now });
}

/** The same from the first item on, whatever the session says later. */
export function sessionOf(inbox: Inbox, item: WorkItem): ExtractedSession {
  const { sessionId, cwd, agent, at } = item;
  return { sessionId, request: inbox.session(sessionId)?.first ?? item.request, cwd, ...(agent !== undefined && { agent }), at };
}

interface Room extends Window {
  /** Tokens, and messages, that are there in any case. */
  fixed: number;
  around: number;
}

function fitTurns({ store }: Inbox, sessionId: string, room: Room): { turns: Turn[]; cut?: Cut } {
  const conversation = store.get("conversations", sessionId);
  if (conversation === undefined) return { turns: [] };
  const present = turnKeys(sessionId, conversation).flatMap((key) => {
    const turn = store.get("turns", key);
    return turn === undefined ? [] : [{ key, turn, tokens: sumOf([turn.ask, turn.reply]) }];
  });
  let tokens = room.fixed + present.reduce((sum, each) => sum + each.tokens, 0);
  const original = room.around + 2 * present.length;
  if (original <= room.maxMessages && tokens <= room.maxTokens) return { turns: present.map(({ turn }) => turn) };
  let messages = original;
  while (present.length > 0 && (messages > room.maxMessages / 2 || tokens > room.maxTokens / 2)) {
    const dropped = present.shift() as (typeof present)[number];
    store.remove("turns", dropped.key);
    tokens -= dropped.tokens;
    messages -= 2;
  }
  store.put("conversations", sessionId, { ...conversation, from: present[0] === undefined ? conversation.next : numberOf(present[0].key) });
  const cut = { original, kept: messages, dropped: original - messages, estimatedTokens: tokens, limit: room.maxTokens };
  return { turns: present.map(({ turn }) => turn), ...(original > messages && { cut }) };
}

const numberOf = (key: string): number => Number(key.slice(key.lastIndexOf("#") + 1));

const saidIn = ({ ask, reply }: Turn): Said[] => [
  { role: "user", text: ask },
  { role: "assistant", text: reply },
];

const sumOf = (texts: string[]): number => texts.reduce((sum, text) => sum + tokensOf(text), 0);
