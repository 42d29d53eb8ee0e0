import { createHash, randomBytes } from "node:crypto";

export type IdPrefix = "ses" | "msg" | "prt" | "per" | "call";

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

let lastTime = 0;

/**
 * `prefix_`, 12 hex digits of time, 14 random letters of base 62. The time is `now` (ms since 1970), or one more than
 * that of the id before where the clock has not moved on: ids of one process sort in the order in which they were made.
 */
export function createId(prefix: IdPrefix, now: number, random: (length: number) => Uint8Array): string {
  lastTime = Math.max(now, lastTime + 1);
  return `${prefix}_${lastTime.toString(16).padStart(12, "0")}${randomLetters(14, random)}`;
}

export const newId = (prefix: IdPrefix): string => createId(prefix, Date.now(), takeRandom);

let pool: Uint8Array = new Uint8Array();
let taken = 0;

/** Random letters that nobody else knows. */
export const newSecret = (length: number): string => randomLetters(length, takeRandom);

/** A text without such ids: in two answers to the same question they differ. */
export const withoutIds = (text: string): string => text.replace(/\b(?:ses|msg|prt|per|call)_[0-9a-f]{12}[0-9A-Za-z]{14}\b/g, "");

/** Asking the system for a few bytes costs as much as asking for many. */
function takeRandom(length: number): Uint8Array {
  if (taken + length > pool.length) {
    pool = randomBytes(4096);
    taken = 0;
  }
  return pool.subarray(taken, (taken += length));
}

/** Random letters of base 62, each equally likely: bytes from 248 on are thrown away. */
export function randomLetters(length: number, random: (length: number) => Uint8Array): string {
  let letters = "";
  while (letters.length < length) {
    for (const byte of random(length - letters.length)) if (byte < 248) letters += LETTERS[byte % 62];
  }
  return letters;
}

/** Names a session to the cache of a provider and says nothing else of it; OpenAI takes at most 64 characters. */
export const cacheKeyOf = (sessionId: string): string => createHash("sha256").update(sessionId).digest("hex").slice(0, 32);
