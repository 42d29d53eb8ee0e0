/** Finds many texts in one at once. */
export interface LiteralSearch {
  has(text: string): boolean;
  /** The places of all occurrences, those that overlap as one: [start, end), in order. */
  find(text: string): [start: number, end: number][];
  /** Where the end of the text may be the beginning of one of them; its length where it is not. */
  holdFrom(text: string): number;
  /** Where the occurrence begins that goes on across `at`; else `at`. */
  startAround(text: string, at: number): number;
}

/** Characters that are looked at together. */
const BLOCK = 3;
const TABLE = 1 << 16;
const LARGEST_WINDOW = 64;

/**
 * Wu and Manber, "A fast algorithm for multi-pattern searching" (1994): a block of three characters says how far the next
 * beginning can be at the least, so most characters are never looked at. Each of the texts has 8 characters or more.
 */
export function createLiteralSearch(literals: readonly string[]): LiteralSearch {
  const longestFirst = [...literals].sort((a, b) => b.length - a.length);
  const window = Math.min(LARGEST_WINDOW, ...longestFirst.map(({ length }) => length));
  const { shifts, beginnings } = makeTables(longestFirst, window);
  const byFirst = groupBy(longestFirst, (literal) => literal.charCodeAt(0));
  const longest = longestFirst[0]?.length ?? 0;

  /** The first occurrence that begins at `from` or later and before `limit`; the longest of those that begin there. */
  const next = (text: string, from: number, limit = text.length): [start: number, end: number] | undefined => {
    const last = Math.min(text.length, limit + window - 1);
    for (let at = from + window - 1; at < last; ) {
      const block = blockAt(text, at);
      const shift = shifts[block] as number;
      if (shift === 0) {
        const start = at - window + 1;
        const found = beginnings.get(block)?.find((literal) => text.startsWith(literal, start));
        if (found !== undefined) return [start, start + found.length];
      }
      at += shift || 1;
    }
    return undefined;
  };
  /** What overlaps with it counts too: the rest of another secret would be left. */
  const widen = (text: string, [start, end]: [number, number]): [number, number] => {
    for (let from = start + 1, to = end; ; ) {
      const other = next(text, from, to);
      if (other === undefined) return [start, to];
      [from, to] = [other[0] + 1, Math.max(to, other[1])];
    }
  };
  return {
    has: (text) => longest > 0 && next(text, 0) !== undefined,
    find(text) {
      const found: [number, number][] = [];
      for (let place = longest > 0 ? next(text, 0) : undefined; place !== undefined; place = next(text, found.at(-1)![1])) found.push(widen(text, place));
      return found;
    },
    holdFrom(text) {
      for (let at = Math.max(0, text.length - longest + 1); at < text.length; at++) {
        const rest = text.length - at;
        if (byFirst.get(text.charCodeAt(at))?.some((literal) => literal.length > rest && text.endsWith(literal.slice(0, rest)))) return at;
      }
      return text.length;
    },
    startAround(text, at) {
      for (let from = Math.max(0, at - longest); from < at; ) {
        const found = longest > 0 ? next(text, from, at) : undefined;
        if (found === undefined) return at;
        if (found[1] > at) return this.startAround(text, found[0]);
        from = found[0] + 1;
      }
      return at;
    },
  };
}

function makeTables(literals: readonly string[], window: number) {
  const shifts = new Uint8Array(TABLE).fill(Math.max(1, window - BLOCK + 1));
  for (const literal of literals) {
    for (let at = BLOCK - 1; at < window; at++) {
      const block = blockAt(literal, at);
      shifts[block] = Math.min(shifts[block] as number, window - 1 - at);
    }
  }
  return { shifts, beginnings: groupBy(literals, (literal) => blockAt(literal, window - 1)) };
}

const blockAt = (text: string, at: number): number =>
  (((text.charCodeAt(at - 2) & 0xff) << 10) ^ ((text.charCodeAt(at - 1) & 0xff) << 5) ^ (text.charCodeAt(at) & 0xff)) & (TABLE - 1);

function groupBy(literals: readonly string[], keyOf: (literal: string) => number): Map<number, string[]> {
  const groups = new Map<number, string[]>();
  for (const literal of literals) {
    const group = groups.get(keyOf(literal));
    if (group === undefined) groups.set(keyOf(literal), [literal]);
    else group.push(literal);
  }
  return groups;
}
