/** Characters that are looked at together. */
const BLOCK = 3;
const TABLE = 1 << 16;
const LARGEST_WINDOW = 64;

type Place = [start: number, end: number];

/**
 * Finds many texts of 8 characters or more in one, at once. Wu and Manber, "A fast algorithm for multi-pattern searching"
 * (1994): a block of three characters says how far the next beginning can be at the least, so most characters are never
 * looked at.
 */
export class LiteralSearch {
  readonly #window: number;
  readonly #longest: number;
  readonly #shifts: Uint8Array;
  readonly #beginnings: Map<number, string[]>;
  readonly #byFirst: Map<number, string[]>;

  constructor(literals: readonly string[]) {
    const longestFirst = [...literals].sort((a, b) => b.length - a.length);
    this.#window = Math.min(LARGEST_WINDOW, ...longestFirst.map(({ length }) => length));
    this.#longest = longestFirst[0]?.length ?? 0;
    const { shifts, beginnings } = makeTables(longestFirst, this.#window);
    this.#shifts = shifts;
    this.#beginnings = beginnings;
    this.#byFirst = groupBy(longestFirst, (literal) => literal.charCodeAt(0));
  }

  /** The places of all occurrences, those that overlap as one, in order. */
  find(text: string): Place[] {
    const found: Place[] = [];
    for (let place = this.#next(text, 0); place !== undefined; place = this.#next(text, found.at(-1)![1])) found.push(this.#widen(text, place));
    return found;
  }

  /** Where the end of the text may be the beginning of one of them; its length where it is not. */
  holdFrom(text: string): number {
    for (let at = Math.max(0, text.length - this.#longest + 1); at < text.length; at++) {
      const rest = text.length - at;
      const candidates = this.#byFirst.get(text.charCodeAt(at));
      if (candidates?.some((literal) => literal.length > rest && text.endsWith(literal.slice(0, rest)))) return at;
    }
    return text.length;
  }

  /** Where the occurrence begins that goes on across `at`; else `at`. */
  startAround(text: string, at: number): number {
    let start = at;
    for (let from = Math.max(0, start - this.#longest); from < start; ) {
      const found = this.#next(text, from, start);
      if (found === undefined) break;
      const isAcross = found[1] > start;
      if (isAcross) start = found[0];
      from = isAcross ? Math.max(0, start - this.#longest) : found[0] + 1;
    }
    return start;
  }

  /** The first occurrence that begins at `from` or later and before `limit`; the longest of those that begin there. */
  #next(text: string, from: number, limit = text.length): Place | undefined {
    if (this.#longest === 0) return undefined;
    const [window, shifts] = [this.#window, this.#shifts];
    const last = Math.min(text.length, limit + window - 1);
    for (let at = from + window - 1; at < last; ) {
      const block = blockAt(text, at);
      const shift = shifts[block] as number;
      if (shift === 0) {
        const start = at - window + 1;
        const found = this.#beginnings.get(block)?.find((literal) => text.startsWith(literal, start));
        if (found !== undefined) return [start, start + found.length];
      }
      at += shift || 1;
    }
    return undefined;
  }

  /** What overlaps with it counts too: the rest of another secret would be left. */
  #widen(text: string, [start, end]: Place): Place {
    for (let from = start + 1, to = end; ; ) {
      const other = this.#next(text, from, to);
      if (other === undefined) return [start, to];
      [from, to] = [other[0] + 1, Math.max(to, other[1])];
    }
  }
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
