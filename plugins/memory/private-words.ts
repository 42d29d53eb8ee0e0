/** Takes the place of what was private elsewhere in the session. */
export const PRIVATE_MARK = "[private]";

/** What was private once in a session stays so: an answer or a call that says it again is remembered without it. */
export interface PrivateWords {
  readonly size: number;
  /** What `withoutPrivate` has taken out. It is kept in memory alone. */
  remember(fragments: readonly string[]): void;
  remove(text: string): { text: string; removed: number };
  /** The same in every string of a value as JSON has them, its keys too. */
  removeIn(value: unknown): { value: unknown; removed: number };
}

/** Shorter lines and words say too little to be looked for. */
const LEAST = 8;
/** A whole fragment may be shorter: a word for a door. It is then taken only where it stands by itself. */
const LEAST_WHOLE = 4;
/** Of one fragment: a page that was taken whole because it speaks of tags is no list of secrets. */
const FRAGMENT_CHARACTERS = 16_384;
const DEPTH = 100;

/** A digit, capitals within, or a mark within: what no language has as a word. A full stop and a slash make names of files, which are none. */
const isDistinctive = (word: string): boolean => /\p{N}/u.test(word) || /\p{Ll}\p{Lu}/u.test(word) || /[\p{L}\p{N}][^\p{L}\p{N}./\\’]+[\p{L}\p{N}]/u.test(word);

function needlesOf(fragment: string): string[] {
  const text = fragment.slice(0, FRAGMENT_CHARACTERS).trim();
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const words = text.split(/[\s"'`()[\]{}<>,;]+/).flatMap((word) => [word, word.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, ""), ...word.split(/[=:]/)]);
  const found = [...lines.filter((line) => line.length >= LEAST), ...words.filter((word) => word.length >= LEAST && isDistinctive(word))];
  if (text.length >= LEAST_WHOLE) found.push(text);
  // As they stand in text that is JSON.
  return [...new Set(found.flatMap((each) => [each, JSON.stringify(each).slice(1, -1)]))];
}

/** Case aside, where that leaves every character in its place. */
function fold(text: string): string {
  const lower = text.toLowerCase();
  return lower.length === text.length ? lower : text;
}

const isWordAt = (text: string, at: number): boolean => /[\p{L}\p{N}_]/u.test(text[at] ?? "");

/** Finds by the first characters of what is looked for: the time depends on the text, not on how much is looked for. */
class Words implements PrivateWords {
  readonly #known = new Set<string>();
  /** By their first LEAST characters, the longest first. */
  readonly #long = new Map<string, string[]>();
  readonly #short = new Set<string>();

  get size(): number {
    return this.#known.size;
  }

  remember(fragments: readonly string[]): void {
    for (const fragment of fragments) for (const needle of needlesOf(fragment)) this.#add(fold(needle));
  }

  #add(needle: string): void {
    if (this.#known.has(needle)) return;
    this.#known.add(needle);
    if (needle.length < LEAST) {
      this.#short.add(needle);
      return;
    }
    const start = needle.slice(0, LEAST);
    this.#long.set(
      start,
      [...(this.#long.get(start) ?? []), needle].sort((a, b) => b.length - a.length),
    );
  }

  remove(text: string): { text: string; removed: number } {
    const left = this.#removeFrom(text);
    return { text: left, removed: countRemoved(text, left) };
  }

  removeIn(value: unknown): { value: unknown; removed: number } {
    if (this.size === 0) return { value, removed: 0 };
    let removed = 0;
    const take = (text: string): string => {
      const left = this.#removeFrom(text);
      removed += countRemoved(text, left);
      return left;
    };
    const left = mapTexts(value, take, 0);
    return { value: left, removed };
  }

  #removeFrom(text: string): string {
    const rest = this.#long.size === 0 ? text : this.#removeLong(text);
    return [...this.#short].reduce(removeShort, rest);
  }

  #removeLong(text: string): string {
    const folded = fold(text);
    const kept: string[] = [];
    let [from, at] = [0, 0];
    while (at + LEAST <= folded.length) {
      const here = at;
      const needle = this.#long.get(folded.slice(at, at + LEAST))?.find((each) => folded.startsWith(each, here));
      if (needle === undefined) at++;
      else {
        kept.push(text.slice(from, at), PRIVATE_MARK);
        at += needle.length;
        from = at;
      }
    }
    return from === 0 ? text : kept.join("") + text.slice(from);
  }
}

function removeShort(text: string, needle: string): string {
  const folded = fold(text);
  const kept: string[] = [];
  let from = 0;
  for (let at = folded.indexOf(needle); at >= 0; at = folded.indexOf(needle, at + needle.length)) {
    if (isWordAt(folded, at - 1) || isWordAt(folded, at + needle.length)) continue;
    kept.push(text.slice(from, at), PRIVATE_MARK);
    from = at + needle.length;
  }
  return from === 0 ? text : kept.join("") + text.slice(from);
}

const countRemoved = (before: string, after: string): number => (before === after ? 0 : Math.max(1, before.length - after.length));

function mapTexts(value: unknown, change: (text: string) => string, depth: number): unknown {
  if (typeof value === "string") return change(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [change(key), mapTexts(item, change, depth + 1)]));
}

/** Of one session. */
export const createPrivateWords = (): PrivateWords => new Words();
