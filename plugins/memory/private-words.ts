/** Takes the place of what was private elsewhere in the session. */
export const PRIVATE_MARK = "[private]";

/** What was private once in a session stays so: an answer or a call that says it again is remembered without it. */
export interface PrivateWords {
  readonly size: number;
  /** What `withoutPrivate` has taken out. It is kept in memory alone. */
  remember(fragments: readonly string[]): void;
  remove(text: string): { text: string; removed: number };
  /** The same in every string of a value as JSON has them, keys aside. */
  removeIn(value: unknown): { value: unknown; removed: number };
}

/** Shorter lines and words say too little to be looked for. */
const LEAST = 8;
/** A whole fragment may be shorter: a word for a door. It is then taken only where it stands by itself. */
const LEAST_WHOLE = 4;
/** Of one fragment: a page that was taken whole because it speaks of tags is no list of secrets. */
const FRAGMENT_CHARACTERS = 16_384;
const DEPTH = 100;

/** A digit, capitals within, or a mark within: what no language has as a word. */
const isDistinctive = (word: string): boolean => /\p{N}/u.test(word) || /\p{Ll}\p{Lu}/u.test(word) || /[\p{L}\p{N}][^\p{L}\p{N}][\p{L}\p{N}]/u.test(word);

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
export function createPrivateWords(): PrivateWords {
  const known = new Set<string>();
  /** By their first LEAST characters, the longest first. */
  const long = new Map<string, string[]>();
  const short = new Set<string>();

  function add(needle: string): void {
    if (known.has(needle)) return;
    known.add(needle);
    if (needle.length < LEAST) {
      short.add(needle);
      return;
    }
    const list = long.get(needle.slice(0, LEAST)) ?? [];
    list.push(needle);
    long.set(
      needle.slice(0, LEAST),
      list.sort((a, b) => b.length - a.length),
    );
  }

  function removeLong(text: string): string {
    const folded = fold(text);
    const kept: string[] = [];
    let [from, at] = [0, 0];
    while (at + LEAST <= folded.length) {
      const here = at;
      const needle = long.get(folded.slice(at, at + LEAST))?.find((each) => folded.startsWith(each, here));
      if (needle === undefined) at++;
      else {
        kept.push(text.slice(from, at), PRIVATE_MARK);
        at += needle.length;
        from = at;
      }
    }
    return from === 0 ? text : kept.join("") + text.slice(from);
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

  function removeFrom(text: string): string {
    const rest = long.size === 0 ? text : removeLong(text);
    return [...short].reduce(removeShort, rest);
  }

  return {
    get size() {
      return known.size;
    },
    remember(fragments) {
      for (const fragment of fragments) for (const needle of needlesOf(fragment)) add(fold(needle));
    },
    remove(text) {
      if (known.size === 0) return { text, removed: 0 };
      const left = removeFrom(text);
      return { text: left, removed: left === text ? 0 : Math.max(1, text.length - left.length) };
    },
    removeIn(value) {
      if (known.size === 0) return { value, removed: 0 };
      let removed = 0;
      const walk = (item: unknown, depth: number): unknown => {
        if (typeof item === "string") {
          const left = removeFrom(item);
          if (left !== item) removed += Math.max(1, item.length - left.length);
          return left;
        }
        if (typeof item !== "object" || item === null) return item;
        if (depth >= DEPTH) return null;
        if (Array.isArray(item)) return item.map((each) => walk(each, depth + 1));
        return Object.fromEntries(Object.entries(item).map(([key, each]) => [removeFrom(key), walk(each, depth + 1)]));
      };
      const left = walk(value, 0);
      return { value: left, removed };
    },
  };
}
