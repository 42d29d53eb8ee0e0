/** Values that a text holds as JSON, or as what models take for it. */
export interface LooseJson {
  values: unknown[];
  /** Where the first one begins; the length of the text where there is none. */
  start: number;
  /** The text ends in the middle of one. */
  isCut: boolean;
}

const DEPTH = 60;
/** Beginnings that run to the end of the text without a use: braces of prose. */
const TRIES = 5;

/** No Error: thousands of braces of prose would each trace the stack. It never leaves this file. */
class Unreadable {
  readonly at: number;
  readonly isCut: boolean;
  constructor(at: number, isCut: boolean) {
    this.at = at;
    this.isCut = isCut;
  }
}

/**
 * Reads every value whose beginning is found, amid prose and fences; a value that is broken or cut gives those of its objects
 * that are whole and `isWanted`. Each character is read once.
 */
export function readLooseJson(text: string, isWanted: (value: Record<string, unknown>) => boolean): LooseJson {
  const whole = parse(text);
  if (typeof whole === "object" && whole !== null) return { values: [whole], start: 0, isCut: false };
  if (typeof whole === "string") return readLooseJson(whole, isWanted);
  const values: unknown[] = [];
  const begin = /\{\s*(?=["'}A-Za-z_]|\/[/*]|$)|\[\s*(?=["'{[\]\w-]|\/[/*]|$)/g;
  let [start, isCut, tries] = [text.length, false, 0];
  for (let found = begin.exec(text); found !== null; found = begin.exec(text)) {
    const reader = new Reader(text, found.index, isWanted);
    try {
      const value = reader.readValue(0);
      if (isUseful(value)) {
        start = Math.min(start, found.index);
        values.push(value);
      }
      begin.lastIndex = reader.at;
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      if (reader.whole.length > 0) start = Math.min(start, found.index);
      values.push(...reader.whole);
      begin.lastIndex = Math.max(error.at, found.index + 1);
      if (!error.isCut) continue;
      isCut ||= reader.whole.length > 0 || reader.hasKeys;
      if (isCut) start = Math.min(start, found.index);
      if (isCut || ++tries >= TRIES) break;
      begin.lastIndex = found.index + 1;
    }
  }
  return { values, start, isCut };
}

/** A list of numbers, `[1]`, is a footnote, and brackets with nothing in them are code. */
const isUseful = (value: unknown): boolean =>
  Array.isArray(value) ? value.some((item) => typeof item === "object" && item !== null) : Object.keys(value as object).length > 0;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Comments of a model count as such. */
const SPACE = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[A-Za-z_$][\w$-]*/y;
const WORDS: Record<string, unknown> = { true: true, false: false, null: null, True: true, False: false, None: null, undefined: null, NaN: null };
/** What stands behind the end of a string; another quotation mark is one of the text. */
const BEHIND = /\s*(?:[:}\]]|,\s*(?:["'{[}\]\d-]|(?:true|false|null|None|True|False)\b|[A-Za-z_]\w{0,40}\s*:|$)|["']\w{1,40}["']\s*:|$)/y;

class Reader {
  at: number;
  /** Objects that are whole, in the order of their ends. */
  readonly whole: Record<string, unknown>[] = [];
  /** It has begun as an object with a key. */
  hasKeys = false;
  readonly #text: string;
  readonly #isWanted: (value: Record<string, unknown>) => boolean;

  constructor(text: string, at: number, isWanted: (value: Record<string, unknown>) => boolean) {
    this.#text = text;
    this.at = at;
    this.#isWanted = isWanted;
  }

  readValue(depth: number): unknown {
    const first = this.#next();
    if (depth > DEPTH) throw new Unreadable(this.at, false);
    if (first === "{") return this.#readObject(depth);
    if (first === "[") return this.#readList(depth);
    if (first === '"' || first === "'") return this.#readString(first);
    const number = this.#match(NUMBER);
    if (number !== undefined) return Number(number);
    const word = this.#match(WORD);
    if (word !== undefined && Object.hasOwn(WORDS, word)) return WORDS[word];
    throw new Unreadable(this.at, this.at >= this.#text.length);
  }

  #readObject(depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    this.at++;
    for (let next = this.#next(); next !== "}"; next = this.#next()) {
      const key = this.#readKey(next);
      if (this.#next() !== ":") throw new Unreadable(this.at, false);
      this.at++;
      this.hasKeys = true;
      entries.push([key, this.readValue(depth + 1)]);
      this.#skipComma("}");
    }
    this.at++;
    const value = Object.fromEntries(entries);
    if (this.#isWanted(value)) this.whole.push(value);
    return value;
  }

  #readKey(next: string): string {
    if (next === '"' || next === "'") return this.#readString(next);
    const word = this.#match(WORD);
    if (word === undefined) throw new Unreadable(this.at, false);
    return word;
  }

  #readList(depth: number): unknown[] {
    const items: unknown[] = [];
    this.at++;
    while (this.#next() !== "]") {
      items.push(this.readValue(depth + 1));
      this.#skipComma("]");
    }
    this.at++;
    return items;
  }

  /** A comma that is missing or too much is no harm. */
  #skipComma(end: string): void {
    const next = this.#next();
    if (next === ",") this.at++;
    else if (next !== end && next !== '"' && next !== "{") throw new Unreadable(this.at, false);
  }

  /** The next character that is no space. Throws at the end of the text. */
  #next(): string {
    this.#match(SPACE);
    if (this.at >= this.#text.length) throw new Unreadable(this.at, true);
    return this.#text[this.at] as string;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.at = pattern.lastIndex;
    return found[0];
  }

  #readString(quote: string): string {
    const from = this.at + 1;
    let to = from;
    for (;;) {
      const end = this.#text.indexOf(quote, to);
      if (end < 0) throw new Unreadable(this.#text.length, true);
      to = end + 1;
      if (isEscaped(this.#text, end, from)) continue;
      BEHIND.lastIndex = to;
      if (BEHIND.test(this.#text)) break;
    }
    this.at = to;
    return unescaped(this.#text.slice(from, to - 1));
  }
}

/** Whether an odd number of backslashes stands before the place. */
function isEscaped(text: string, at: number, from: number): boolean {
  let slashes = 0;
  while (at - slashes > from && text[at - slashes - 1] === "\\") slashes++;
  return slashes % 2 === 1;
}

const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f" };

/** An escape that JSON does not have is left as it stands: the path of a Windows file, a regular expression. */
function unescaped(raw: string): string {
  if (!raw.includes("\\")) return raw;
  return raw.replace(/\\(?:u([0-9a-fA-F]{4})|([\s\S]))/g, (all, code: string | undefined, character: string | undefined) => {
    if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
    if (character === undefined) return all;
    return ESCAPES[character] ?? (/["'\\/]/.test(character) ? character : all);
  });
}
