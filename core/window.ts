import type { Entry, Message } from "./message.ts";
import { charactersOf, estimateTokens } from "./token-estimate.ts";

/** How much of a conversation one request holds. What is undefined is not limited. */
export interface WindowLimits {
  /** Messages without the system prompt. */
  messages?: number | undefined;
  /** Estimated tokens of the whole request: system prompt, tools and messages. */
  tokens?: number | undefined;
}

/** The window of a plain chat. Runs with tools have none unless it is set: compaction serves them, and what slides breaks the provider's cache. */
export const CHAT_WINDOW = { messages: 20, tokens: 100_000 } as const;

export interface WindowOptions {
  limits: WindowLimits;
  /** Characters of what every request holds besides: the system prompt and the tools. */
  fixedCharacters: number;
  charactersPerToken: number;
  /** Id of the newest prompt, where it could be taken for what a tool has left. */
  promptId?: string | undefined;
  /** Where the last request's window began: it stays there as long as what follows fits. */
  from?: string | undefined;
}

export interface WindowView {
  entries: readonly Entry[];
  /** Id of the entry with which the window begins; undefined while nothing is left out. */
  from: string | undefined;
  original: number;
  kept: number;
  dropped: number;
  /** Messages whose middle was left out. */
  elided: number;
  estimatedTokens: number;
}

/**
 * The part of a conversation that is sent: the first prompt, then a suffix of it that begins with a prompt, or with a
 * step whose prompt then stands before it. Calls and their results stay together. When the window is full its beginning
 * jumps until only half is in use, and then stays: so the prefix of the requests, which providers cache, holds for many
 * steps. What is too long by itself loses its middle; nothing is ever empty.
 */
export function slideWindow(entries: readonly Entry[], options: WindowOptions): WindowView {
  const measure = createMeasure(options);
  if (measure.fits([], entries, 1)) return viewOf(entries, entries, { from: undefined, measure });
  const short = capMessages(entries, measure.most / 4);
  if (measure.fits([], short, 1)) return viewOf(entries, short, { from: undefined, measure });
  const prompts = promptsOf(short, options.promptId);
  const starts = startsOf(short, prompts);
  const start = chooseStart(starts, {
    before: short.findIndex(({ id }) => id === options.from),
    fits: (at, share) => measure.fits(pinnedAt(at, { prompts, entries: short }), short.slice(at), share),
  });
  const suffix = short.slice(start);
  const all = pinnedAt(start, { prompts, entries: short });
  // Where there is not even room for the first prompt beside the newest step, the prompt of that step is what counts.
  const pinned = measure.hasRoom(all.length + suffix.length)
    ? all
    : pinnedAt(start, { prompts: prompts.filter((at) => at <= start).slice(-1), entries: short });
  const kept = shorten([...pinned, ...suffix], measure);
  return viewOf(entries, kept, { from: entries[start]?.id, measure });
}

interface Measure {
  mostTokens: number;
  /** Characters that fit the window, by a ratio that changes seldom: what it cuts must stay cut in the same place. */
  most: number;
  tokens(entries: readonly Entry[]): number;
  /** Whether what follows the pinned entries takes no more than this share of the room that they leave. */
  fits(pinned: readonly Entry[], suffix: readonly Entry[], share: number): boolean;
  /** Whether there may be so many messages. */
  hasRoom(messages: number): boolean;
}

function createMeasure({ limits, fixedCharacters, charactersPerToken }: WindowOptions): Measure {
  const { messages = Number.POSITIVE_INFINITY, tokens: mostTokens = Number.POSITIVE_INFINITY } = limits;
  const fixed = estimateTokens(fixedCharacters, charactersPerToken);
  const count = (entries: readonly Entry[]) => entries.reduce((sum, { message }) => sum + estimateTokens(charactersOf(message), charactersPerToken), 0);
  return {
    mostTokens,
    most: mostTokens * 2 ** Math.floor(Math.log2(charactersPerToken)),
    tokens: (entries) => fixed + count(entries),
    fits: (pinned, suffix, share) => suffix.length <= (messages - pinned.length) * share && count(suffix) <= (mostTokens - fixed - count(pinned)) * share,
    hasRoom: (length) => length <= messages,
  };
}

/** Places of the messages that a person wrote: what follows a tool's result are files that it read, or a warning. */
function promptsOf(entries: readonly Entry[], promptId: string | undefined): number[] {
  const prompts: number[] = [];
  let isLeft = false;
  for (const [at, { id, message }] of entries.entries()) {
    isLeft = message.role === "tool" || (message.role === "user" && isLeft);
    if (message.role === "user" && (!isLeft || id === promptId)) prompts.push(at);
  }
  return prompts;
}

/** Where a window may begin: at a prompt, and at each step. */
function startsOf(entries: readonly Entry[], prompts: number[]): number[] {
  const isPrompt = new Set(prompts);
  return [...entries.keys()].filter((at) => at > 0 && (entries[at]?.message.role === "assistant" || isPrompt.has(at)));
}

interface StartChoice {
  /** Place of the last beginning, or -1. */
  before: number;
  fits(start: number, share: number): boolean;
}

function chooseStart(starts: number[], { before, fits }: StartChoice): number {
  if (before >= 0 && starts.includes(before) && fits(before, 1)) return before;
  return starts.find((at) => fits(at, 0.5)) ?? starts.find((at) => fits(at, 1)) ?? starts.at(-1) ?? 0;
}

/** What is kept before the window: the first prompt, and the prompt that its first step answers. */
function pinnedAt(start: number, { prompts, entries }: { prompts: number[]; entries: readonly Entry[] }): Entry[] {
  const pinned = new Set([prompts[0], prompts.findLast((at) => at <= start)]);
  return [...pinned].flatMap((at) => (at !== undefined && at < start ? [entries[at] as Entry] : []));
}

/** The least that is kept of a message, in characters. */
const LEAST_KEPT = 200;

const capMessages = (entries: readonly Entry[], most: number): readonly Entry[] =>
  entries.map((entry) => (charactersOf(entry.message) > most ? { ...entry, message: elideMessage(entry.message, most) } : entry));

/** Halves what a message may have until everything fits: in powers of two, so that the same cut serves many requests. */
function shorten(entries: readonly Entry[], measure: Measure): readonly Entry[] {
  let kept = entries;
  for (let most = measure.most / 8; most >= LEAST_KEPT && measure.tokens(kept) > measure.mostTokens; most /= 2) kept = capMessages(entries, most);
  return kept;
}

function viewOf(entries: readonly Entry[], kept: readonly Entry[], { from, measure }: { from: string | undefined; measure: Measure }): WindowView {
  const whole = new Set(entries);
  return {
    entries: kept,
    from,
    original: entries.length,
    kept: kept.length,
    dropped: entries.length - kept.length,
    elided: kept.filter((entry) => !whole.has(entry)).length,
    estimatedTokens: measure.tokens(kept),
  };
}

/** Head and tail of every long text of the message; calls and files stay as they are. */
function elideMessage(message: Message, most: number): Message {
  if (message.role === "system") return message;
  const share = Math.max(LEAST_KEPT, Math.floor(most / message.content.length));
  const content = message.content.map((part) => {
    if (part.type === "text") return { ...part, text: elideMiddle(part.text, share) };
    if (part.type !== "tool-result") return part;
    const { output } = part;
    if (output.type === "text" || output.type === "error-text") return { ...part, output: { ...output, value: elideMiddle(output.value, share) } };
    return part;
  });
  return { ...message, content } as Message;
}

/** The head and the tail of a text, `most` characters with the note between them; never cut inside a character. */
export function elideMiddle(text: string, most: number): string {
  if (text.length <= most) return text;
  const room = Math.max(2, most - 50);
  const head = text.slice(0, Math.ceil(room / 2)).replace(/[\uD800-\uDBFF]$/, "");
  const tail = text.slice(text.length - Math.floor(room / 2)).replace(/^[\uDC00-\uDFFF]/, "");
  return `${head}\n[… ${text.length - head.length - tail.length} characters left out …]\n${tail}`;
}
