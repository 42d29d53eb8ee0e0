/**
 * Follows one JSON object byte by byte, just strictly enough to know at once where it ends or stops being JSON.
 * Numbers, literals and escapes are left to JSON.parse, which has the last word.
 */
export interface JsonMachine {
  /** Takes the next byte; the first must be `{`. */
  step(byte: number): "more" | "done" | "broken";
}

const STATE = { value: 0, firstKey: 1, key: 2, colon: 3, after: 4, firstItem: 5, word: 6 } as const;

/** Deeper objects are refused: what reads them later is recursive. */
const DEPTH_LIMIT = 256;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;
export const NEWLINE = 0x0a;

export const isBlank = (byte: number): boolean => byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09;

const isWord = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x2b || byte === 0x2d || byte === 0x2e;

export function createJsonMachine(): JsonMachine {
  const open: number[] = [];
  let state: number = STATE.value;
  let inString = false;
  let escaped = false;
  let isKey = false;

  const stepString = (byte: number) => {
    if (byte === NEWLINE) return "broken";
    if (escaped) escaped = false;
    else if (byte === BACKSLASH) escaped = true;
    else if (byte === QUOTE) {
      inString = false;
      state = isKey ? STATE.colon : STATE.after;
    }
    return "more";
  };

  const openString = (key: boolean) => {
    inString = true;
    isKey = key;
    return "more" as const;
  };

  const openNested = (byte: number) => {
    if (open.length >= DEPTH_LIMIT) return "broken";
    open.push(byte);
    state = byte === OPEN_OBJECT ? STATE.firstKey : STATE.firstItem;
    return "more";
  };

  const close = (byte: number) => {
    if (open.pop() !== (byte === CLOSE_OBJECT ? OPEN_OBJECT : OPEN_LIST)) return "broken";
    state = STATE.after;
    return open.length === 0 ? "done" : "more";
  };

  const stepValue = (byte: number) => {
    if (byte === QUOTE) return openString(false);
    if (byte === OPEN_OBJECT || byte === OPEN_LIST) return openNested(byte);
    if (!isWord(byte)) return "broken";
    state = STATE.word;
    return "more";
  };

  const stepAfter = (byte: number) => {
    if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) return close(byte);
    if (byte !== COMMA) return "broken";
    state = open.at(-1) === OPEN_OBJECT ? STATE.key : STATE.value;
    return "more";
  };

  const stepToken = (byte: number) => {
    switch (state) {
      case STATE.firstItem:
        return byte === CLOSE_LIST ? close(byte) : stepValue(byte);
      case STATE.firstKey:
        return byte === QUOTE ? openString(true) : byte === CLOSE_OBJECT ? close(byte) : "broken";
      case STATE.key:
        return byte === QUOTE ? openString(true) : "broken";
      case STATE.colon:
        if (byte !== COLON) return "broken";
        state = STATE.value;
        return "more";
      case STATE.after:
        return stepAfter(byte);
      default:
        return stepValue(byte);
    }
  };

  return {
    step(byte) {
      if (inString) return stepString(byte);
      if (state === STATE.word) {
        if (isWord(byte)) return "more";
        state = STATE.after;
      }
      return isBlank(byte) ? "more" : stepToken(byte);
    },
  };
}
