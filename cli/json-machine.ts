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
  return new Machine();
}

type Step = ReturnType<JsonMachine["step"]>;

class Machine implements JsonMachine {
  readonly #open: number[] = [];
  #state: number = STATE.value;
  #isInString = false;
  #isEscaped = false;
  #isKey = false;

  step(byte: number): Step {
    if (this.#isInString) return this.#stepString(byte);
    if (this.#state === STATE.word) {
      if (isWord(byte)) return "more";
      this.#state = STATE.after;
    }
    return isBlank(byte) ? "more" : this.#stepToken(byte);
  }

  #stepString(byte: number): Step {
    if (byte === NEWLINE) return "broken";
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === BACKSLASH) this.#isEscaped = true;
    else if (byte === QUOTE) {
      this.#isInString = false;
      this.#state = this.#isKey ? STATE.colon : STATE.after;
    }
    return "more";
  }

  #stepToken(byte: number): Step {
    switch (this.#state) {
      case STATE.firstItem:
        return byte === CLOSE_LIST ? this.#closeNested(byte) : this.#stepValue(byte);
      case STATE.firstKey:
        return byte === CLOSE_OBJECT ? this.#closeNested(byte) : this.#stepKey(byte);
      case STATE.key:
        return this.#stepKey(byte);
      case STATE.colon:
        return this.#stepColon(byte);
      case STATE.after:
        return this.#stepAfter(byte);
      default:
        return this.#stepValue(byte);
    }
  }

  #stepKey(byte: number): Step {
    return byte === QUOTE ? this.#openString({ isKey: true }) : "broken";
  }

  #stepColon(byte: number): Step {
    if (byte !== COLON) return "broken";
    this.#state = STATE.value;
    return "more";
  }

  #stepValue(byte: number): Step {
    if (byte === QUOTE) return this.#openString({ isKey: false });
    if (byte === OPEN_OBJECT || byte === OPEN_LIST) return this.#openNested(byte);
    if (!isWord(byte)) return "broken";
    this.#state = STATE.word;
    return "more";
  }

  #stepAfter(byte: number): Step {
    if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) return this.#closeNested(byte);
    if (byte !== COMMA) return "broken";
    this.#state = this.#open.at(-1) === OPEN_OBJECT ? STATE.key : STATE.value;
    return "more";
  }

  #openString({ isKey }: { isKey: boolean }): Step {
    this.#isInString = true;
    this.#isKey = isKey;
    return "more";
  }

  #openNested(byte: number): Step {
    if (this.#open.length >= DEPTH_LIMIT) return "broken";
    this.#open.push(byte);
    this.#state = byte === OPEN_OBJECT ? STATE.firstKey : STATE.firstItem;
    return "more";
  }

  #closeNested(byte: number): Step {
    if (this.#open.pop() !== (byte === CLOSE_OBJECT ? OPEN_OBJECT : OPEN_LIST)) return "broken";
    this.#state = STATE.after;
    return this.#open.length === 0 ? "done" : "more";
  }
}
