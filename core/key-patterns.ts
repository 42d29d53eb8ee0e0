/** Of a private key: more than the largest one has. */
export const PEM_CHARACTERS = 16_384;

/** How a key begins: what stands before its `-` or `_`, and not within a word. */
const PREFIXED: Record<string, string> = {
  // OpenAI, OpenRouter (sk-or-v1-), Anthropic (sk-ant-). A digit tells a key from "sk-learn-documentation".
  "sk-": "(?=[\\w-]{0,80}\\d)[\\w-]{16,}",
  // GitHub, GitLab, Slack
  "gh[pousr]_": "[A-Za-z0-9]{20,}",
  github_pat_: "\\w{20,}",
  "glpat-": "[\\w-]{20,}",
  "xox[abeoprs]-": "[\\w-]{10,}",
  "xapp-": "\\d-[\\w-]{20,}",
  // npm, PyPI, Hugging Face
  npm_: "[A-Za-z0-9]{36,}",
  "pypi-": "AgE[\\w-]{40,}",
  hf_: "[A-Za-z0-9]{30,}",
  // Stripe, Groq, xAI, DigitalOcean, Google's OAuth
  "[rs]k_(?:live|test)_": "[A-Za-z0-9]{16,}",
  gsk_: "[A-Za-z0-9]{40,}",
  "xai-": "[A-Za-z0-9]{40,}",
  dop_v1_: "[a-f0-9]{40,}",
  "GOCSPX-": "[\\w-]{20,}",
};

const prefixes = Object.entries(PREFIXED).map(([prefix, rest]) => `${prefix}${rest}`);

/*
 * What looks like a key. Each is linear on any input: a start is tied to a boundary, or what follows is bounded.
 * A group named `keep…` stays before the mark.
 */
export const LOOKS_LIKE_A_KEY = new RegExp(
  [
    `(?<![A-Za-z0-9])(?:${prefixes.join("|")})`,
    "(?<![A-Za-z0-9])A[KS]IA[0-9A-Z]{16}",
    "(?<![\\w-])AIza[\\w-]{35}",
    "(?<![\\w-])eyJ[\\w-]{8,}\\.eyJ[\\w-]{8,}(?:\\.[\\w-]*)?",
    `-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----)){0,${PEM_CHARACTERS}}(?:-----END [A-Z ]{0,40}-----)?`,
    // What stands for a password in a program or in a text about it is none.
    `(?<keepUrl>://[^\\s/:@"'<>[\\]{}]{0,256}:)(?!(?:password|passwd|pass|pw|secret|token|\\*+|x+)@|\\$?\\{|\\$[A-Z_]+@|\\$\\(|[%[])[^\\s/@"'<>]{1,256}(?=@)`,
    "(?<keepBearer>\\b[Bb]earer\\s{1,8})(?=[\\w.~+/=-]{0,200}\\d)[\\w.~+/=-]{16,}",
  ].join("|"),
  "g",
);

/** A private key that has begun and not ended. */
export const OPEN_PEM = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----))*$/;

const BEFORE_DASH = /(?<![A-Za-z0-9])(?:sk|glpat|xox[abeoprs]|xapp|pypi|xai|GOCSPX)$/;
const BEFORE_UNDERSCORE = /(?<![A-Za-z0-9])(?:gh[pousr]|github_pat|npm|hf|[rs]k_(?:live|test)|gsk|dop_v1)$/;
/** The two characters before a `-` or `_` that one of them ends with. */
const PAIRS = markPairs("sk at xa xb xe xo xp xr xs pp pi ai PX hp ho hu hs hr pm hf ve st v1".split(" "));
const LONGEST_PREFIX = 12;
const LONGEST_URL_USER = 520;

function markPairs(pairs: string[]): Uint8Array {
  const marked = new Uint8Array(1 << 16);
  for (const pair of pairs) marked[(pair.charCodeAt(0) << 8) | pair.charCodeAt(1)] = 1;
  return marked;
}

/**
 * Whether a pattern may match at all: what clean text costs. Rare characters are looked for, which the engine does many at
 * a time, and only what stands around them is looked at.
 */
export function hasTrace(text: string): boolean {
  return (
    hasPrefix(text, "-", BEFORE_DASH) ||
    hasPrefix(text, "_", BEFORE_UNDERSCORE) ||
    ["AKIA", "ASIA", "AIza", "PRIVATE KEY"].some((start) => text.includes(start)) ||
    hasAround(text, "J", (at) => text.startsWith("ey", at - 2)) ||
    hasAround(text, "@", (at) => text.slice(Math.max(0, at - LONGEST_URL_USER), at).includes("://")) ||
    hasAround(text, "B", (at) => text.startsWith("earer", at + 1)) ||
    hasAround(text, "b", (at) => text.charCodeAt(at + 1) === 101 && text.startsWith("earer", at + 1))
  );
}

function hasPrefix(text: string, mark: string, before: RegExp): boolean {
  return hasAround(text, mark, (at) => {
    const pair = ((text.charCodeAt(at - 2) & 0xff) << 8) | (text.charCodeAt(at - 1) & 0xff);
    return PAIRS[pair] === 1 && before.test(text.slice(Math.max(0, at - LONGEST_PREFIX), at));
  });
}

function hasAround(text: string, mark: string, isTrace: (at: number) => boolean): boolean {
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) if (isTrace(at)) return true;
  return false;
}

/** Longer than any key that is one word. */
const LONGEST_WORD = 4096;
const BEARER = /\b[Bb]earer\s{0,8}$/;
const BEGUN_KEY = new RegExp(`(?<![A-Za-z0-9])(?:${Object.keys(PREFIXED).join("|")}|A[KS]IA|AIza|eyJ)|-----BEGIN|://|[Bb]earer\\s`);
/** Longer than the beginning of any key, by one character that stands before it. */
const LONGEST_START = 16;
/** The beginnings of those, at the end of a text. */
const STARTS = [
  ..."sk- ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp- npm_ pypi- hf_".split(" "),
  ..."sk_live_ sk_test_ rk_live_ rk_test_ gsk_ xai- dop_v1_ GOCSPX- AKIA ASIA AIza eyJ Bearer bearer".split(" "),
];
const PARTS = [...new Set(STARTS.flatMap((start) => [...start].map((_, index) => start.slice(0, index + 1))))];
const BEGUN_START = new RegExp(`(?:(?<![A-Za-z0-9])(?:${PARTS.join("|")})|-{1,5}(?:B(?:E(?:G(?:IN?)?)?)?)?|:/?/?)$`);

/** Where the end of a text may be the beginning of what looks like a key; the length of the text where it is not. */
export function holdKeyFrom(text: string): number {
  let start = text.length;
  const last = Math.max(0, text.length - LONGEST_WORD);
  // Backwards by hand: an expression would try each word from each of its characters.
  while (start > last && text.charCodeAt(start - 1) > 0x20 && text.charCodeAt(start - 1) < 0x7f) start--;
  start -= BEARER.exec(text.slice(Math.max(0, start - 16), start))?.[0].length ?? 0;
  const word = text.slice(start);
  const begun = BEGUN_KEY.exec(word);
  if (begun !== null) return start + begun.index;
  const end = Math.max(start, text.length - LONGEST_START);
  const started = BEGUN_START.exec(text.slice(end));
  return started === null ? text.length : end + started.index;
}
