import { cleanText } from "agent-runtime";
import { capField } from "./cap.ts";
import { readLooseJson } from "./loose-json.ts";
import { readLooseXml, type XmlRoot } from "./loose-xml.ts";
import type { Mode } from "./mode.ts";
import type { Content, Summary } from "./observation.ts";
import type { WorkItem } from "./work-item.ts";

/**
 * What a reply of an extraction model says. `isCut`: it ends in the middle; what stands there is whole all the same. `refused`:
 * the words of a provider that has no more to give; the piece of work stays, and nothing counts against it.
 */
export type Reply =
  | { kind: "observations"; observations: Content[]; isCut: boolean; dropped: number }
  | { kind: "summary"; summary: Summary; isCut: boolean }
  | { kind: "nothing"; reason: string }
  | { kind: "unusable"; reason: string; isCut: boolean }
  | { kind: "refused"; reason: "quota" | "auth"; message: string };

export interface ReplyPlace {
  mode: Mode;
  /** What the reply was asked for. A call's files are proof of what was written. */
  item: Pick<WorkItem, "kind" | "call">;
  /** Why the model has stopped: "length" is a cut. */
  reason?: string | undefined;
}

/** Characters of the fields, in UTF-16 units, and how many of each. */
const MOST = { title: 200, subtitle: 300, narrative: 4_000, fact: 500, facts: 20, concept: 60, concepts: 10, path: 500, paths: 50, symbol: 120, symbols: 50 };
/** More than any reply has room for; what is over is told. */
const MOST_OBSERVATIONS = 200;
const SUMMARY_CHARACTERS = 2_000;
const EXTRA_CHARACTERS = 2_000;

type Raw = Record<string, unknown>;

const SUMMARY_FIELDS = ["request", "investigated", "learned", "completed", "nextSteps", "notes"] as const;
const NAMES = new Map(
  Object.entries({
    files_read: "filesRead",
    files_modified: "filesModified",
    next_steps: "nextSteps",
    files: "filesRead",
    description: "narrative",
    text: "narrative",
    summary: "narrative",
    skip_summary: "skip",
  }),
);
const OWN = new Set(["type", "title", "subtitle", "facts", "narrative", "concepts", "filesRead", "filesModified", "symbols"]);

/** Names by their letters alone: models write `Title`, `files-read` and `nextSteps`. */
const SPELLINGS = new Map([...OWN, ...SUMMARY_FIELDS, ...NAMES.keys(), "observations", "observation", "skip", "error"].map((name) => [lettersOf(name), name]));

function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[\s_-]/g, "");
}

const isObject = (value: unknown): value is Raw => typeof value === "object" && value !== null && !Array.isArray(value);
const has = (value: Raw, ...keys: string[]): boolean => keys.some((key) => Object.hasOwn(value, key));
const isObservation = (value: Raw): boolean =>
  has(value, "title", "narrative", "facts") || (has(value, "type") && has(value, "subtitle", "concepts", "description"));
const isSummary = (value: Raw): boolean => !isObservation(value) && has(value, "request", "investigated", "learned", "completed", "next_steps", "nextSteps");

/** What was found in a reply, before it is judged. */
interface Found {
  observations: Raw[];
  summaries: Raw[];
  isSkip: boolean;
  /** Which kind came first. */
  first?: "observations" | "summary" | "skip";
  isCut: boolean;
  error?: unknown;
}

/** Reads a reply leniently. It never throws, and takes time in proportion to the reply. */
export function readReply(text: string, place: ReplyPlace): Reply {
  const isLength = place.reason === "length";
  const { said, isOpen } = withoutThoughts(text.replace(/^\uFEFF/, ""));
  if (said === "")
    return isOpen || isLength ? { kind: "unusable", reason: "it was cut before it said anything", isCut: true } : { kind: "nothing", reason: "empty" };
  const found = findRoots(said);
  const isCut = found.isCut || isLength;
  if (found.first === undefined) return judgeProse(said, found, isCut);
  if (found.first === "skip") return { kind: "nothing", reason: "skipped" };
  return found.first === "summary" ? judgeSummary(found.summaries, isCut, place) : judgeObservations(found.observations, isCut, place);
}

/** Models that think aloud: what stands before the answer is none. */
function withoutThoughts(text: string): { said: string; isOpen: boolean } {
  let said = text.trim();
  for (let tag = /^<(think|thinking|reasoning|thought)>/i.exec(said); tag !== null; tag = /^<(think|thinking|reasoning|thought)>/i.exec(said)) {
    const end = said.toLowerCase().indexOf(`</${tag[1]?.toLowerCase()}>`);
    if (end < 0) return { said: "", isOpen: true };
    said = said.slice(end + tag[0].length + 1).trim();
  }
  const fenced = /^```[\w-]*[ \t]*\r?\n/.exec(said);
  if (fenced !== null && said.endsWith("```") && said.length > fenced[0].length + 3) return { said: said.slice(fenced[0].length, -3).trim(), isOpen: false };
  return { said, isOpen: false };
}

/** The form of the first root decides; what stands in the other one is text of that. */
function findRoots(text: string): Found {
  const xml = readLooseXml(text);
  // What begins before the first element may hold it in one of its strings.
  const before = readLooseJson(text.slice(0, xml.start), isWanted);
  const isJson = xml.roots.length === 0 || before.isCut || sortValues(before.values).first !== undefined;
  if (!isJson) return sortRoots(xml.roots);
  const json = xml.roots.length === 0 ? before : readLooseJson(text, isWanted);
  return { ...sortValues(json.values), isCut: json.isCut };
}

const isWanted = (raw: Raw): boolean => {
  const value = spell(raw);
  return isObservation(value) || isSummary(value);
};

function sortRoots(roots: readonly XmlRoot[]): Found {
  const found: Found = { observations: [], summaries: [], isSkip: false, isCut: roots.some(({ isCut }) => isCut) };
  for (const { name, fields, isCut } of roots) {
    if (isCut) continue;
    if (name === "observation") found.observations.push(fields);
    else if (name === "summary") found.summaries.push(fields);
  }
  const first = roots[0]?.name;
  found.first = first === "skip_summary" ? "skip" : first === "summary" ? "summary" : "observations";
  return found;
}

function sortValues(values: readonly unknown[]): Found {
  const found: Found = { observations: [], summaries: [], isSkip: false, isCut: false };
  for (const value of values) sortValue(value, found, 0);
  return found;
}

function sortValue(value: unknown, found: Found, depth: number): void {
  if (depth > 4) return;
  if (Array.isArray(value)) {
    if (value.length === 0 && depth === 0) found.first ??= "observations";
    for (const item of value) sortValue(item, found, depth + 1);
    return;
  }
  if (isObject(value)) sortObject(spell(value), found, depth);
}

function sortObject(value: Raw, found: Found, depth: number): void {
  if (value.skip_summary !== undefined && value.skip_summary !== false) found.first ??= "skip";
  else if (value.skip === true) found.first ??= "skip";
  else if (isObject(value.summary) && !isObservation(value)) takeSummary(value.summary, found);
  else if (Array.isArray(value.observations)) takeObservations(value.observations, found);
  else if (isObject(value.observations)) takeObservations([value.observations], found);
  else if (isObservation(value)) takeObservations([value], found);
  else if (isSummary(value)) takeSummary(value, found);
  else if (value.error !== undefined) found.error = value.error;
  else if (Object.keys(value).length === 0 && depth === 0) found.first ??= "observations";
  else for (const item of Object.values(value).slice(0, 5)) if (typeof item === "object") sortValue(item, found, depth + 1);
}

function takeObservations(list: readonly unknown[], found: Found): void {
  found.first ??= "observations";
  for (const item of list) found.observations.push(toRaw(item));
}

/** A text in the place of an observation is what it tells. */
function toRaw(item: unknown): Raw {
  if (!isObject(item)) return { narrative: item };
  const named = spell(item);
  return isObject(named.observation) ? spell(named.observation) : named;
}

function takeSummary(summary: Raw, found: Found): void {
  found.first ??= "summary";
  found.summaries.push(summary);
}

function judgeObservations(raws: readonly Raw[], isCut: boolean, place: ReplyPlace): Reply {
  const observations = raws.flatMap((raw) => toContent(raw, place) ?? []);
  const dropped = Math.max(0, observations.length - MOST_OBSERVATIONS);
  if (observations.length > 0) return { kind: "observations", observations: observations.slice(0, MOST_OBSERVATIONS), isCut, dropped };
  if (isCut) return { kind: "unusable", reason: "it was cut before an observation was whole", isCut };
  if (raws.some((raw) => extraOf(rename(raw)) !== undefined)) return { kind: "unusable", reason: "observations whose fields have other names", isCut };
  return { kind: "nothing", reason: raws.length === 0 ? "no observations" : "observations without content" };
}

function judgeSummary(raws: readonly Raw[], isCut: boolean, { item }: ReplyPlace): Reply {
  const [raw] = raws;
  if (item.kind === "call") return { kind: "unusable", reason: "it is a summary, where observations were asked for", isCut };
  if (raw === undefined) return { kind: "unusable", reason: "it was cut before the summary was whole", isCut: true };
  const named = rename(spell(raw));
  const summary = Object.fromEntries(SUMMARY_FIELDS.map((field) => [field, capField(textOf(named[field]), SUMMARY_CHARACTERS)])) as Summary;
  if (SUMMARY_FIELDS.some((field) => summary[field] !== "")) return { kind: "summary", summary, isCut };
  // Asked for by a schema, every field is there: all of them empty say that nothing has happened.
  if (SUMMARY_FIELDS.some((field) => Object.hasOwn(named, field))) return { kind: "nothing", reason: "a summary without content" };
  return { kind: "unusable", reason: "a summary without any of its fields", isCut };
}

/** A summary as the observation that is kept of it. */
export function toSummaryContent(summary: Summary): Content {
  const lead = [summary.completed, summary.learned, summary.request, summary.investigated, summary.nextSteps, summary.notes].find((text) => text !== "") ?? "";
  const title = capField(/^[^\n]*?[.!?。](?=\s|$)|^[^\n]+/u.exec(lead)?.[0] ?? "", MOST.title);
  const narrative = [summary.learned, summary.completed].filter((text) => text !== "").join("\n");
  const facts = [summary.investigated, summary.nextSteps, summary.notes].filter((text) => text !== "").map((text) => capField(text, MOST.fact));
  const none = { concepts: [], filesRead: [], filesModified: [], symbols: [] };
  return {
    type: "summary",
    title,
    subtitle: capField(summary.request, MOST.subtitle),
    facts,
    narrative: capField(narrative, MOST.narrative),
    ...none,
    summary,
  };
}

const spell = (raw: Raw): Raw => withNames(raw, (key) => (OWN.has(key) || NAMES.has(key) ? key : (SPELLINGS.get(lettersOf(key)) ?? key)));

const rename = (raw: Raw): Raw => withNames(raw, (key) => NAMES.get(key) ?? key);

/** A field's own name goes before another one for the same. */
function withNames(raw: Raw, nameOf: (key: string) => string): Raw {
  const named: Raw = {};
  for (const [key, value] of Object.entries(raw)) {
    const name = nameOf(key);
    if (!Object.hasOwn(named, name) || name === key) named[name] = value;
  }
  return named;
}

function toContent(raw: Raw, { mode, item }: ReplyPlace): Content | undefined {
  const named = rename(raw);
  const title = capField(textOf(named.title).replace(/\s+/g, " "), MOST.title);
  const narrative = capField(textOf(named.narrative), MOST.narrative);
  const facts = textsOf(named.facts, MOST.facts, MOST.fact);
  const type = typeOf(textOf(named.type), mode);
  const concepts = conceptsOf(named.concepts, type);
  if (title === "" && narrative === "" && facts.length === 0 && concepts.length === 0) return undefined;
  const extra = extraOf(named);
  const filesRead = [...(item.call?.filesRead ?? []), ...textsOf(named.filesRead, MOST.paths, MOST.path)];
  return {
    type,
    title: title === "" ? capField((narrative || facts[0] || concepts.join(", ")).split("\n")[0] ?? "", MOST.title) : title,
    subtitle: capField(textOf(named.subtitle).replace(/\s+/g, " "), MOST.subtitle),
    facts,
    narrative,
    concepts,
    filesRead: [...new Set(filesRead)].slice(0, MOST.paths),
    filesModified: item.call?.filesModified ?? [],
    symbols: textsOf(named.symbols, MOST.symbols, MOST.symbol),
    ...(extra !== undefined && { extra }),
  };
}

/** The first of the mode where there is none; one that the mode does not know stays, and so does the list of all of them that a model has copied: its first. */
function typeOf(said: string, { types }: Mode): string {
  const fallback = types[0]?.name ?? "discovery";
  const [first = ""] = said.replace(/^[\s[("'`]+|[\s\])"'`]+$/g, "").split(/\s*[|,]\s*/);
  if (first === "") return fallback;
  return types.find(({ name }) => name.toLowerCase() === first.toLowerCase())?.name ?? capField(first.replace(/\s+/g, " "), MOST.concept);
}

function conceptsOf(value: unknown, type: string): string[] {
  const said = typeof value === "string" ? value.split(/[,\n]/) : value;
  const names = textsOf(said, MOST.concepts * 2, MOST.concept * 4).map((text) => capField((text.split(":")[0] ?? "").trim().toLowerCase(), MOST.concept));
  return [...new Set(names)].filter((name) => name !== "" && name !== type.toLowerCase()).slice(0, MOST.concepts);
}

const LONE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/** Half a character breaks the requests of some providers. */
const clean = (text: string): string => cleanText(text).replace(LONE, "\uFFFD").trim();

/** Any value as text: of a list its items, of an object with one text that. */
function textOf(value: unknown): string {
  if (typeof value === "string") return clean(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value))
    return value
      .map(textOf)
      .filter((text) => text !== "")
      .join("\n");
  if (!isObject(value)) return "";
  const texts = Object.values(value).filter((item) => typeof item === "string");
  return texts.length === 1 ? textOf(texts[0]) : clean(JSON.stringify(value));
}

function textsOf(value: unknown, most: number, characters: number): string[] {
  const list = Array.isArray(value) ? value : typeof value === "string" ? value.split("\n") : isObject(value) ? Object.values(value) : [];
  // What a model writes before the items of a list.
  const texts = list.slice(0, most * 4).map((item) => capField(textOf(item).replace(/^(?:[-*•]|\d{1,3}[.)])\s+/, ""), characters));
  return [...new Set(texts.filter((text) => text !== ""))].slice(0, most);
}

function extraOf(named: Raw): Raw | undefined {
  const others = Object.entries(named).filter(([key, value]) => !OWN.has(key) && value !== null && value !== "" && key !== "__proto__");
  if (others.length === 0) return undefined;
  const extra = Object.fromEntries(others);
  return JSON.stringify(extra).length <= EXTRA_CHARACTERS ? (cleanIn(extra) as Raw) : undefined;
}

function cleanIn(value: unknown): unknown {
  if (typeof value === "string") return clean(value);
  if (Array.isArray(value)) return value.map(cleanIn);
  return isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, item]) => [clean(key), cleanIn(item)])) : value;
}

const PROSE_CHARACTERS = 200;
const REFUSAL_CHARACTERS = 1_000;
const NOTHING =
  /^(?:\W{0,4})(?:no|none|nothing|n\/a|skip(?:ped)?|empty|-)\b(?:[^.]{0,120}\b(?:observations?|record|store|remember|note|notable|worth|report|new|learned|here)\b[^.]{0,60})?\W*$/i;

/** Text in which no observation was found. */
function judgeProse(text: string, { error, isCut: isBroken }: Found, isCut: boolean): Reply {
  const message = capField(text.replace(/\s+/g, " "), PROSE_CHARACTERS);
  const refusal = findRefusal(error === undefined ? text : textOf(error), error);
  if (refusal !== undefined) return { kind: "refused", reason: refusal, message };
  if (isCut || isBroken) return { kind: "unusable", reason: "it was cut before an observation was whole", isCut: true };
  if (text.length <= PROSE_CHARACTERS && NOTHING.test(text)) return { kind: "nothing", reason: "said in words" };
  // A list, or an object, with nothing in it.
  if (/^(?:\[\s*\]|\{\s*\}|<observations>\s*<\/observations>|<(?:observations|skip)\s*\/>)$/i.test(text)) return { kind: "nothing", reason: "no observations" };
  const form = /^\s*[{[]/.test(text) ? "JSON without an observation" : /<[a-z_]+>/i.test(text) ? "elements without an observation" : "prose";
  return { kind: "unusable", reason: `${form}: ${message}`, isCut: false };
}

/** How such a text begins. One that speaks of limits and keys as its subject begins in another way. */
const SPEAKER =
  /^[\W_]*(?:(?:api|http|request|provider|server)?\s*error\b|failed to authenticate|you(?:'ve|’ve| have| are|'re|’re)?\b|your\b|please (?:run|log|sign|check|re-?auth|upgrade|wait|try)|(?:429|401|402|403)\b|too many requests|rate[ _-]limit|quota|insufficient|usage limit|(?:claude|gemini|openai|openrouter|anthropic)\b|invalid (?:api|x-api|auth)|incorrect api|unauthori[sz]ed|not logged in|no auth|authentication|oauth|credit|this (?:request|model|key|api key|account)|(?:the )?(?:api key|token|account|free tier|daily)|(?:5|five)-hour|weekly|session limit|exceeded)/i;
const QUOTA =
  /\b(?:(?:rate|usage|spending|request|token|message|session|weekly|daily|monthly|5-hour|five-hour|key|credit|free)[ _-]?limits?\b.{0,60}\b(?:reached|exceeded|hit|resets?|reset at)|(?:reached|exceeded|hit|over)\b.{0,40}\b(?:limits?|quota)|out of (?:credits?|quota|usage|extra usage)|insufficient (?:credits?|quota|funds|balance)|insufficient_quota|rate_limit(?:ed|_error|_exceeded)?|resource_exhausted|too many requests|credit balance is too low|quota (?:exceeded|exhausted|reached)|upgrade to increase|add (?:more )?credits|requires more credits)/is;
const AUTH =
  /\b(?:invalid (?:api|x-api)[ _-]?key|incorrect api key|api key (?:is )?(?:invalid|expired|missing|not valid|revoked)|invalid bearer|invalid authentication|authentication_error|authentication (?:failed|error|required)|failed to authenticate|(?:please )?run \/login|not logged in|log(?:ged)? ?in again|(?:oauth )?token (?:has |is )?(?:expired|revoked)|unauthori[sz]ed|no auth credentials|account (?:is |has been )?(?:disabled|suspended|deactivated)|permission_error|invalid_api_key|re-?authenticate)/i;

function findRefusal(text: string, error: unknown): "quota" | "auth" | undefined {
  const code = isObject(error) ? Number(error.code ?? error.status) : Number.NaN;
  if (code === 401 || code === 403) return "auth";
  if (code === 402 || code === 429) return "quota";
  if (text.length > REFUSAL_CHARACTERS || (error === undefined && !SPEAKER.test(text))) return undefined;
  if (QUOTA.test(text)) return "quota";
  return AUTH.test(text) ? "auth" : undefined;
}
