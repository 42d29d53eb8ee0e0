import { termsOf } from "./statement.ts";

/** What one sentence says of one thing, where that can have one value only: a port, a limit, whether something is so. */
export interface Claim {
  /** Kind and subject: two claims of one key that have different values cannot both hold. */
  key: string;
  value: string;
  /** Values of this kind exclude each other, also where nobody says that one replaces the other. */
  isExclusive: boolean;
  /** It says that it takes the place of something; `from`: of this value. */
  replaces?: { from?: string };
}

/** "B instead of A": what held of A in that context does not any more. */
export interface Substitution {
  from: string[];
  to: string[];
  context: string[];
}

/** A qualifier belongs to the subject: a port in production is another one than in tests. */
const QUALIFIER = /\s+(?:in|on|for|with|at|during|when|while|if|unless|by|under|per|via|inside|within|only)\s+.*$/i;
const REASON = /\s*(?:[,;(–—]|\bbecause\b|\bsince\b|\bso that\b|\bwhich\b|\bbut\b|\bas\b|\bto avoid\b|\bin order to\b|\band\b).*$/i;
/** What one thing has one of. */
const SLOT =
  /\b(?:ports?|timeout|time-out|limit|default|version|database|format|name|path|url|host|branch|manager|framework|language|engine|licen[cs]e|owner|location|directory|folder|interval|delay|size|length|window|encoding|strategy|algorithm|mode|level|maximum|minimum|max|min|count|ttl|rate|budget|threshold|width|depth|concurrency|retries|attempts|runner|linter|formatter|region|provider|model|type|protocol|schema|backend|store|deadline|date)\b/i;
/** Counts that change with every day say nothing against each other. */
const COUNTED =
  /^\d[\d.,]*\s*(?:[a-z]+\s+)?(?:tests?|files?|lines?|errors?|warnings?|commits?|packages?|cases?|examples?|matches|results?|items?|times|bugs?|issues?|failures?|modules?|functions?|tasks?|steps?)\b/i;
const LEAD = /^(?:(?:we |i )?(?:found|discovered|learned|learnt|noted?|confirmed|decided|verified|remember|saw)(?: out)?(?: that)?:?\s+)+/i;
/** What happened is no state: it stays true. */
const EVENT = /^(?:ran|run|read|wrote|found|built|made|saw|got|took|did|went|gave|began|broke|left|put|sent|spent|tried|\p{L}+ed)\b/iu;
const NEGATION = /\b(?:not|never|no longer|cannot|no)\b|\b\p{L}+n['’]t\b/giu;

const CHANGE = "changed|changes|switched|moved|migrated|raised|increased|lowered|reduced|decreased|bumped|upgraded|downgraded|updated|set|reset|converted";
const FROM_TO = new RegExp(`^(?:(.+?)\\s+)?(?:(?:was|is|were|has been|have been|got)\\s+)?(?:${CHANGE})\\s+(.+?\\s+)?from\\s+(.+?)\\s+to\\s+(.+)$`, "i");
const SET_TO = new RegExp(`^(?:(.+?)\\s+)?(?:(?:was|is|were|has been|have been|got|is now|are now)\\s+)?(?:${CHANGE})\\s+(.+?\\s+)?to\\s+(.+)$`, "i");
const ASSIGNED = /^([\w.$-]{2,60})\s*(?:(=)\s*(\S{1,60}(?:\s?[a-z]{1,7})?)|(:)\s*(\S+(?: \S+){0,2}))$/;
/** Names that stand for any. */
const PLACEHOLDER = /^(?:name|names|key|keys|value|values|foo|bar|x|y|id|note|notes|todo|type|title)$/i;
/** What begins like this speaks of something that its own words do not name. */
const UNNAMED =
  /^(?:what|who|whom|whose|whether|which|where|when|why|how|if|it|its|this|that|they|there|these|those|he|she|we|you|i|nobody|nothing|no|none|any|some|every|each|all|most|many|one|ones|as|so|but|and|or|because|then|here|only|both|either|such|another|other|others)\b/i;
/** A duration that was measured is another one each time. */
const MEASURED = /\b(?:took|takes|lasted|running for|elapsed|measured|(?:finished|completed|passed|ran|done) in|so far)\b/i;
const IS =
  /^(.+?)\s+(now\s+)?(is|are|defaults? to|equals?|must be|should be|listens? on|runs? on|lives? in|lies in|expires? after|uses?|requires?|needs|times out after|time out after)\s+(now\s+|no longer\s+|not\s+|never\s+|set to\s+|only\s+)*(.+)$/i;

/** What a sentence claims. */
export function readClaims(sentence: string): Claim[] {
  const text = sentence.replace(LEAD, "").trim();
  const change = readChange(text);
  if (change !== undefined) return [change];
  const assigned = readAssigned(text);
  if (assigned !== undefined) return [assigned];
  if (EVENT.test(text) || UNNAMED.test(text) || /[?]$/.test(text)) return [];
  return [readIs(text), readNumber(text), readPolarity(text)].filter((claim) => claim !== undefined);
}

const subjectOf = (text: string): string =>
  [...new Set(termsOf(text))]
    .filter((term) => term !== "now" && term !== "new" && term !== "current")
    .sort()
    .join(" ");

/** "(the) port changed from 1 to 2", "changed the port from 1 to 2", "set the port to 2" */
function readChange(text: string): Claim | undefined {
  const [, before = "", between = "", from, to] = FROM_TO.exec(text) ?? [];
  if (from !== undefined && to !== undefined) return claimOf(`${before} ${between}`, to, { replaces: { from: readValue(from).value } });
  const [, subject = "", object = "", value] = SET_TO.exec(text) ?? [];
  return value === undefined || /\bfrom\b/i.test(text) ? undefined : claimOf(`${subject} ${object}`, value, { replaces: {} });
}

/** `KEY=value`, `retry.max: 5`: the same key with another value has another value now. A word and a colon is a heading. */
function readAssigned(text: string): Claim | undefined {
  const [, key = "", equals, set, colon, listed] = ASSIGNED.exec(text) ?? [];
  const [sign, value] = equals === undefined ? [colon, listed] : [equals, set];
  if (value === undefined || PLACEHOLDER.test(key) || (sign === ":" && !/[_.\d$-]|\p{Ll}\p{Lu}/u.test(key))) return undefined;
  return { key: `: ${key.toLowerCase()}`, value: normalValue(value), isExclusive: true, replaces: {} };
}

function readIs(text: string): Claim | undefined {
  const [whole, subject = "", early, verb = "", , value] = IS.exec(text) ?? [];
  if (value === undefined || whole === undefined) return undefined;
  const middle = whole.slice(subject.length, whole.length - value.length).toLowerCase();
  if (/\b(?:not|no longer|never)\b/.test(middle) || (EVENT.test(value) && !isSwitch(value.split(" ")[0]!.toLowerCase()))) return undefined;
  const isNow = early !== undefined || /\bnow\b/.test(middle) || /\b(?:now|from now on|as of now)$/i.test(value);
  const relation = /^(?:is|are|equal|must|should|default)/i.test(verb) || /set to/.test(middle) ? "" : `${termsOf(verb.split(" ")[0]!)[0]} `;
  const about = /^default/i.test(verb) ? `${subject} default` : subject;
  return claimOf(about, value.replace(/\s*\b(?:now|from now on|as of now)$/i, ""), { relation, ...(isNow && { replaces: {} }) });
}

/** A sentence with one number: everything but the number is what it is about. */
function readNumber(text: string): Claim | undefined {
  const numbers = [...text.matchAll(/(?<![\w.\-/])v?\d+(?:[.,]\d+)*\s?(?:%|[a-z]{1,7}\b)?(?![\w/-])/gi)];
  if (numbers.length !== 1) return undefined;
  const [{ 0: number, index }] = numbers as [RegExpMatchArray & { index: number }];
  if (COUNTED.test(text.slice(index)) || MEASURED.test(text)) return undefined;
  const { value, rest } = readValue(number);
  const unit = value.replace(/^\S+\s?/, "");
  const subject = subjectOf(`${text.slice(0, index)} ${rest} ${text.slice(index + number.length)}`);
  if (subject.split(" ").length < 2) return undefined;
  return { key: `# ${unit} ${subject}`, value, isExclusive: true, ...(/\bnow\b/i.test(text) && { replaces: {} }) };
}

const MOST_WORDS = 25;

/** Whether it is so. What only an order of words tells apart is not compared here. */
function readPolarity(text: string): Claim | undefined {
  const negations = text.match(NEGATION) ?? [];
  const bare = text
    .replace(/\bno longer\b/gi, " ")
    .replace(NEGATION, " ")
    .replace(/\b(?:now|any ?more|currently|still)\b/gi, " ");
  const terms = [...new Set(termsOf(bare))].sort();
  if (negations.length > 1 || terms.length < 2 || terms.length > MOST_WORDS) return undefined;
  const replaces = /\bno longer\b|\bnow\b|\bany ?more\b/i.test(text);
  return {
    key: `? ${terms.join(" ")}`,
    value: negations.length === 0 ? "yes" : "no",
    isExclusive: terms.length >= 3 || replaces,
    ...(replaces && { replaces: {} }),
  };
}

function claimOf(about: string, said: string, { relation = "", replaces }: { relation?: string; replaces?: Claim["replaces"] }): Claim | undefined {
  const bare = said.replace(REASON, "").trim();
  const qualifier = QUALIFIER.exec(bare)?.[0] ?? "";
  const { value, rest, isNumber } = readValue(bare.slice(0, bare.length - qualifier.length));
  const subject = subjectOf(`${about} ${qualifier} ${rest}`);
  if (subject === "" || value === "" || value.split(" ").length > 4 || (COUNTED.test(bare) && !SLOT.test(about))) return undefined;
  const isExclusive = isNumber || isSwitch(value) || (SLOT.test(about) && isName(bare, value, subject));
  return { key: `${relation === "" ? "=" : relation.trim()} ${subject}`, value, isExclusive, ...(replaces && { replaces }) };
}

/** Of one thing there is one name; "a journal" or "told" only describes it. */
function isName(said: string, value: string, subject: string): boolean {
  const words = value.split(" ").length;
  if (/^(?:an?|also|always|often|too|very|at|in|on|like|part|kept|made|told|\p{L}+(?:ed|ing|ly))\b/iu.test(said)) return false;
  return subject.includes(" ") ? words <= 2 : words === 1 && /[\d_./\p{Lu}]/u.test(said);
}

/** Pairs that exclude each other, whatever they are said of. */
const SWITCHES =
  "true false on off enabled disabled yes no allowed forbidden required optional synchronous asynchronous public private supported unsupported".split(" ");
const isSwitch = (value: string): boolean => SWITCHES.includes(value);

const UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  sec: 1000,
  secs: 1000,
  second: 1000,
  seconds: 1000,
  min: 60_000,
  mins: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
};

/** A number with its unit as one value: 1 s is 1,000 ms. What follows that is no unit belongs to the subject. */
function readValue(said: string): { value: string; rest: string; isNumber: boolean } {
  const [, digits, unit = "", rest = ""] = /^(v?\d+(?:[.,]\d+)*)\s?(%|[a-z]{1,8}\b)?(.*)$/is.exec(said.trim()) ?? [];
  if (digits === undefined) return { value: normalValue(said), rest: "", isNumber: false };
  const number = digits.replace(/^v/i, "").replace(/,(?=\d{3}\b)/g, "");
  const factor = UNITS[unit.toLowerCase()];
  if (factor !== undefined && !/\..*\./.test(number)) return { value: `${Number(number) * factor} ms`, rest, isNumber: true };
  return { value: `${number} ${unit.toLowerCase()}`.trim(), rest, isNumber: true };
}

const normalValue = (text: string): string =>
  text
    .replace(/[`"'“”]/g, "")
    .replace(/^(?:the|a|an)\s+/i, "")
    .replace(/\s+/g, " ")
    .trim()
    .toLowerCase();

const WORDS = "([\\w.@/-]+(?: [\\w.@/-]+){0,3}?)";
const CONTEXT = "(?:\\s+(?:for|to|in|as|on|when|with|across)\\s+(.+))?";
const SUBSTITUTIONS: [RegExp, (found: string[]) => [from: string, to: string, context: string]][] = [
  [
    new RegExp(
      `^(.*?)\\b(?:uses?|using|prefer|run|runs|install|installs|chose|choose|take|takes)\\s+(?:now\\s+)?${WORDS}\\s+instead of\\s+${WORDS}${CONTEXT}$`,
      "i",
    ),
    ([, before = "", to = "", from = "", after = ""]) => [from, to, `${before} ${after}`],
  ],
  [
    new RegExp(`^(.*?)\\b(?:switched|migrated|moved|switches|moves)\\s+from\\s+${WORDS}\\s+to\\s+${WORDS}${CONTEXT}$`, "i"),
    ([, before = "", from = "", to = "", after = ""]) => [from, to, `${before} ${after}`],
  ],
  [
    new RegExp(`^(.*?)\\breplaced\\s+${WORDS}\\s+(?:with|by)\\s+${WORDS}${CONTEXT}$`, "i"),
    ([, before = "", from = "", to = "", after = ""]) => [from, to, `${before} ${after}`],
  ],
  [
    new RegExp(`^(.*?)\\b${WORDS}\\s+(?:now )?replaces?\\s+${WORDS}${CONTEXT}$`, "i"),
    ([, before = "", to = "", from = "", after = ""]) => [from, to, `${before} ${after}`],
  ],
];

const SUBSTITUTES = /\binstead of\b|\breplace[sd]?\b|\b(?:switch|migrate|move)/i;

/** What a sentence puts into the place of something else. */
export function readSubstitution(sentence: string): Substitution | undefined {
  if (!SUBSTITUTES.test(sentence)) return undefined;
  const text = sentence.replace(LEAD, "").trim();
  for (const [pattern, take] of SUBSTITUTIONS) {
    const found = pattern.exec(text);
    if (found === null) continue;
    const [from, to, context] = take([...found]).map(termsOf) as [string[], string[], string[]];
    if (to.length > 0 && from.some((term) => !GENERAL.has(term))) return { from, to, context: context.filter((term) => !USAGE.has(term)) };
  }
  return undefined;
}

/** What stands for anything, and is no name of what was replaced. */
const GENERAL = new Set(
  termsOf("first last one ones before after other others old new next previous same whole all it them value values text name existing current default"),
);

/** Words that a sentence about using something has besides. */
const USAGE = new Set(
  termsOf("use uses using run runs with project repository code app now all we manage write handle install prefer chose choose decision decided"),
);

/** The sentence says no more than that what was replaced is used in that context. */
export function isReplaced(terms: readonly string[], { from, to, context }: Substitution): boolean {
  const has = new Set(terms);
  if (!from.every((term) => has.has(term)) || to.every((term) => has.has(term))) return false;
  const shared = context.filter((term) => has.has(term));
  const left = terms.filter((term) => !from.includes(term) && !context.includes(term) && !USAGE.has(term));
  return left.length <= 1 && (context.length === 0 || shared.length >= 0.6 * context.length) && !has.has("not") && terms.length - from.length >= 1;
}
