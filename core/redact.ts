import { hasTrace, holdKeyFrom, LOOKS_LIKE_A_KEY, OPEN_PEM, PEM_CHARACTERS } from "./key-patterns.ts";
import { LiteralSearch } from "./literal-search.ts";
import { replaceNamedSecrets } from "./named-secrets.ts";
import { spellingsOf } from "./secret-spellings.ts";

/** Makes text safe to show and to keep. Pure; the secrets it knows never leave it. */
export interface Redactor {
  /**
   * Known secrets and what looks like a key are replaced by `[redacted]`; the same string where there is none. With `strict` also
   * what is named a password, a token or a key, and long words of chance: for what is kept as knowledge, where code may lose a word.
   */
  redact(text: string, options?: { strict?: boolean }): string;
  /** Known secrets alone: for what has to stay as it is otherwise. */
  redactKnown(text: string): string;
  /** The same for every string and key of a JSON value; the same object where nothing changed. Other objects are left as they are. */
  redactValue<T>(value: T, options?: { knownOnly?: boolean }): T;
  /** For a text that comes in pieces: no secret slips through where it is cut. */
  stream(): RedactedStream;
  /** One more known secret; one of less than 8 characters is ignored, because it would hit ordinary words. */
  add(secret: string): void;
}

export interface RedactedStream {
  /** What may be shown by now: what may be the beginning of a secret waits for the next piece. */
  push(piece: string): string;
  /** The rest. */
  end(): string;
  /** What is held back although nothing more has come for a while. What comes later is still looked at together with it. */
  flush(): string;
}

const MARK = "[redacted]";
const MIN_SECRET_LENGTH = 8;

/** `secrets` are values as they are; see `spellingsOf` for the other forms in which each is found. */
export function createRedactor(secrets: Iterable<string> = []): Redactor {
  const known = new Set<string>();
  for (const secret of secrets) if (secret.length >= MIN_SECRET_LENGTH) known.add(secret);
  let made: LiteralSearch | undefined;
  const search = () => (made ??= new LiteralSearch([...new Set([...known].flatMap(spellingsOf))].filter(({ length }) => length >= MIN_SECRET_LENGTH)));
  const redactKnown = (text: string, isWrapped = false): string => {
    const safe = replaceFound(text, search());
    return isWrapped || hasWrapped(safe) ? replaceWrapped(safe, search()) : safe;
  };
  const redact = (text: string, isWrapped = false): string => {
    // Known secrets first: a pattern that begins before one could end within it.
    const safe = known.size === 0 ? text : redactKnown(text, isWrapped);
    return hasTrace(safe) ? replaceKeys(safe) : safe;
  };
  const redactor: Redactor = {
    redact: (text, { strict = false } = {}) => (strict ? replaceNamedSecrets(redact(text), MARK) : redact(text)),
    redactKnown: (text) => (known.size === 0 ? text : redactKnown(text)),
    redactValue: <T>(value: T, { knownOnly = false } = {}): T => redactValue(value, knownOnly ? redactor.redactKnown : (text) => redact(text)) as T,
    stream: () => new RedactedPieces(redact, search),
    add(secret) {
      if (secret.length < MIN_SECRET_LENGTH || known.has(secret)) return;
      known.add(secret);
      made = undefined;
    },
  };
  return redactor;
}

function replaceFound(text: string, search: LiteralSearch): string {
  const places = search.find(text);
  return places.length === 0 ? text : replacePlaces(text, places);
}

function replacePlaces(text: string, places: [start: number, end: number][]): string {
  const pieces: string[] = [];
  let end = 0;
  for (const [from, to] of places) {
    pieces.push(text.slice(end, from), MARK);
    end = to;
  }
  return pieces.join("") + text.slice(end);
}

const replaceKeys = (text: string): string =>
  text.replace(LOOKS_LIKE_A_KEY, (...match) => {
    const { keepUrl, keepBearer } = match.at(-1) as Record<string, string | undefined>;
    return (keepUrl ?? keepBearer ?? "") + MARK;
  });

/** A line break, also as JSON has it, and the number that a tool writes before the next line. */
const LINE_BREAK = "(?:\\r?\\n|(?:\\\\+r)?\\\\+n)(?: {0,8}(?:Line )?\\d{1,8}[|:] ?)?";
const BREAK = new RegExp(LINE_BREAK, "g");
/** Lines of base64 or hex as programs wrap them. */
const WRAPPED = new RegExp(`(?<![\\w+/=-])[\\w+/=-]+(?:${LINE_BREAK}[\\w+/=-]+)+`, "g");
/** A line that was wrapped has this many such characters before its end. */
const WRAPPED_CHARACTERS = 39;
const ENCODED = /^[\w+/=-]+$/;

/** A secret may go on in the next line: `base64` and `xxd` break theirs. */
function replaceWrapped(text: string, search: LiteralSearch): string {
  return text.replace(WRAPPED, (block) => {
    const places = search.find(block.replace(BREAK, ""));
    if (places.length === 0) return block;
    const offsets = offsetsWithoutBreaks(block);
    return replacePlaces(
      block,
      places.map(([from, to]) => [offsets[from]!, offsets[to - 1]! + 1]),
    );
  });
}

const hasWrapped = (text: string): boolean => hasLong(text, "\n") || hasLong(text, "\\n") || hasLong(text, "\\r");

function hasLong(text: string, lineBreak: string): boolean {
  for (let at = text.indexOf(lineBreak, WRAPPED_CHARACTERS); at >= 0; at = text.indexOf(lineBreak, at + 1)) {
    let end = at;
    while (text.charCodeAt(end - 1) === 13 || text.charCodeAt(end - 1) === 92) end--;
    // The ends first: in an ordinary line one of them is no such character.
    if (
      isEncoded(text, end - 1) &&
      isEncoded(text, end - 13) &&
      isEncoded(text, end - 26) &&
      ENCODED.test(text.slice(Math.max(0, end - WRAPPED_CHARACTERS), end))
    )
      return true;
  }
  return false;
}

function isEncoded(text: string, at: number): boolean {
  const code = text.charCodeAt(at) | 0x20;
  return (code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code === 43 || code === 47 || code === 45 || code === 0x3d || code === 0x7f;
}

/** Of each character that is no line break, where it stands. */
function offsetsWithoutBreaks(block: string): number[] {
  const offsets: number[] = [];
  let start = 0;
  for (const { index, 0: found } of [...block.matchAll(BREAK), { index: block.length, 0: "" }]) {
    for (let at = start; at < index; at++) offsets.push(at);
    start = index + found.length;
  }
  return offsets;
}

/** Nothing is held for longer than this; no key is so long. */
const LONGEST_HELD = 16_384;

class RedactedPieces implements RedactedStream {
  readonly #redact: (text: string, isWrapped: boolean) => string;
  readonly #search: () => LiteralSearch;
  #held = "";
  /** What was shown last: whether a key begins depends on what stands before it. */
  #before = "";
  /** Whether something was held because it may go on in the next line: its first line may be too short to tell. */
  #isWrapped = false;
  /** Characters of a private key that are still left out; 0 outside of one. */
  #pem = 0;

  constructor(redact: (text: string, isWrapped: boolean) => string, search: () => LiteralSearch) {
    [this.#redact, this.#search] = [redact, search];
  }

  push(piece: string): string {
    const whole = this.#held + piece;
    const text = this.#pem > 0 ? this.#skipPem(whole) : whole;
    this.#held = text;
    if (this.#pem > 0) return "";
    const open = text.includes("PRIVATE KEY") ? OPEN_PEM.exec(text) : null;
    if (open !== null && text.length - open.index > LONGEST_HELD / 4) {
      this.#held = "";
      this.#pem = Math.max(0, PEM_CHARACTERS - (text.length - open.index));
      return this.#show(text);
    }
    const from = this.#safeLength(text, open?.index);
    const isHeld = text.length - from <= LONGEST_HELD;
    this.#held = isHeld ? text.slice(from) : "";
    return this.#show(isHeld ? text.slice(0, from) : text);
  }

  flush(): string {
    if (this.#pem > 0 || this.#held === "") return "";
    const held = this.#held;
    this.#held = "";
    const shown = this.#show(held);
    this.#before = held;
    return shown;
  }

  end(): string {
    const rest = this.#pem > 0 ? "" : this.#held;
    this.#held = "";
    this.#pem = 0;
    return this.#show(rest);
  }

  #show(text: string): string {
    if (text === "") return "";
    const safe = this.#redact(this.#before + text, this.#isWrapped);
    const shown = safe.startsWith(this.#before) ? safe.slice(this.#before.length) : safe;
    this.#before = text.slice(-1);
    this.#isWrapped = false;
    return shown;
  }

  /** How much of the text has no beginning of a secret at its end. */
  #safeLength(text: string, openPem = text.length): number {
    const search = this.#search();
    const begun = search.startAround(text, Math.min(openPem, holdKeyFrom(text), search.holdFrom(text)));
    const from = holdWrappedFrom(text, begun, search);
    this.#isWrapped ||= from < begun;
    return from;
  }

  /** Leaves out what belongs to a private key whose beginning was shown as the mark. */
  #skipPem(text: string): string {
    const end = text.indexOf("-----");
    // The end of its last line may be still to come.
    if (end >= 0 && /^-----(E(N(D[A-Z ]{0,40}-{0,4})?)?)?$/.test(text.slice(end))) return text.slice(end);
    const rest = end < 0 ? text.slice(/-{0,4}$/.exec(text)!.index) : text.slice(end).replace(/^-----END [A-Z ]{0,40}-----/, "");
    this.#pem = end < 0 ? Math.max(0, this.#pem - (text.length - rest.length)) : 0;
    return rest;
  }
}

/** The same as `at`, or before it, where a wrapped secret may begin that goes on in the next line or across `at`. */
function holdWrappedFrom(text: string, at: number, search: LiteralSearch): number {
  let start = text.length;
  const last = Math.max(0, text.length - LONGEST_HELD / 4);
  while (start > last && (isEncoded(text, start - 1) || text[start - 1] === "\n" || text[start - 1] === "\r")) start--;
  const block = text.slice(start);
  if (!block.includes("\n")) return at;
  const offsets = offsetsWithoutBreaks(block);
  const joined = block.replace(BREAK, "");
  const place = offsets.findIndex((offset) => start + offset >= at);
  const from = search.startAround(joined, Math.min(search.holdFrom(joined), place < 0 ? joined.length : place));
  return from < offsets.length ? Math.min(at, start + offsets[from]!) : at;
}

function redactValue(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") return redact(value);
  if (value instanceof URL) return redactUrl(value, redact);
  if (Array.isArray(value)) {
    const items = value.map((item) => redactValue(item, redact));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  if (!isPlainObject(value)) return value;
  const entries = Object.entries(value);
  const safe = entries.map(([key, item]): [string, unknown] => [redact(key), redactValue(item, redact)]);
  return safe.some(([key, item], index) => key !== entries[index]![0] || item !== entries[index]![1]) ? Object.fromEntries(safe) : value;
}

function redactUrl(url: URL, redact: (text: string) => string): URL {
  const safe = redact(url.href);
  return safe === url.href ? url : new URL(URL.canParse(safe) ? safe : "about:blank");
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
