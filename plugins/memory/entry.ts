import { EMPTY_CONTENT, mergedSchema, type Observation, observationId, observationSchema, sourceSchema, summarySchema, TRUST } from "./observation.ts";

/** Takes private text and secrets out of a value as JSON has them: a tag that opens in one text may close in a later one. */
export type Clean = (value: unknown) => unknown;

/** What stands around the entries of a file that is imported. */
export interface EntryContext {
  /** The file, as `source.from` keeps it. */
  from: string;
  /** ms since 1970: of entries that give no time. */
  at: number;
  clean: Clean;
  /** Over what the entries say. */
  trust?: Observation["trust"] | undefined;
}

/**
 * `private`: nothing was left of it when private text was taken out. `time`: it is an observation of ours, whose time is exact;
 * it says when it happened; or it does not.
 */
export type Entry = { observation: Observation; time: "ours" | "given" | "none" } | { fault: string } | { private: true };

/** Session of what says none. */
export const IMPORT_SESSION = "import";

/** Our names, with those that other memories have for the same thing. */
const NAMES = {
  id: ["id"],
  type: ["type"],
  title: ["title"],
  subtitle: ["subtitle"],
  facts: ["facts"],
  narrative: ["narrative", "text"],
  concepts: ["concepts"],
  filesRead: ["files", "filesRead", "files_read"],
  filesModified: ["filesModified", "files_modified"],
  symbols: ["symbols"],
  sessionId: ["session", "sessionId", "session_id", "memory_session_id", "sdk_session_id"],
  callId: ["callId"],
  prompt: ["prompt", "prompt_number"],
  agent: ["agent"],
  createdAt: ["createdAt", "created_at_epoch", "created_at"],
  importance: ["importance"],
  trust: ["trust"],
  source: ["source"],
  summary: ["summary"],
  merged: ["merged"],
  supersededBy: ["supersededBy"],
  conflictsWith: ["conflictsWith"],
  extra: ["extra"],
} as const;

type Given = { -readonly [name in keyof typeof NAMES]?: unknown };

class Fault extends Error {}

/**
 * One entry of a file: an observation of ours as it is, or `{type, title, subtitle, facts, narrative, concepts, files, session,
 * createdAt}`, all but a title or a narrative optional. What is unknown goes to `extra`.
 */
export function readEntry(value: unknown, context: EntryContext): Entry {
  const own = observationSchema.safeParse(value);
  try {
    const { observation, time } = own.success ? { observation: own.data, time: "ours" as const } : readForeign(value, context);
    const kept = cleanObservation({ ...observation, ...(context.trust && { trust: context.trust }) }, context.clean);
    // An entry that has none is called after its narrative.
    const cleaned = own.success || kept.title.trim() !== "" ? kept : { ...kept, title: titleOf(kept.narrative) };
    if (saysNothing(cleaned) && !saysNothing(observation)) return { private: true };
    if (JSON.stringify(cleaned).length > LARGEST) throw new Fault(`it is larger than ${LARGEST / 1_000_000} million characters.`);
    return { observation: { ...cleaned, id: observation.id || observationId(cleaned) }, time };
  } catch (error) {
    if (error instanceof Fault) return { fault: error.message };
    throw error;
  }
}

/** An observation is a note, not an archive. */
const LARGEST = 1_000_000;

const saysNothing = ({ title, narrative, facts, summary }: Observation): boolean =>
  [title, narrative, ...facts, ...Object.values(summary ?? {})].every((text) => text.trim() === "");

const OBSERVATION_ID = /^obs_[0-9a-f]{16}$/;

function readForeign(value: unknown, { at, from }: EntryContext): { observation: Observation; time: "ours" | "given" | "none" } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Fault("it is no object.");
  const { given, extra } = takeNames(value as Record<string, unknown>);
  const text = (name: keyof typeof NAMES): string => readText(name, given[name]);
  const [title, narrative] = [text("title"), text("narrative")];
  if (title.trim() === "" && narrative.trim() === "") throw new Fault("it has neither a title nor a narrative.");
  const id = typeof given.id === "string" && OBSERVATION_ID.test(given.id) ? given.id : "";
  const more = { ...readRecord(given.extra), ...extra, ...(given.id !== undefined && id === "" && { id: given.id }) };
  const observation: Observation = {
    ...EMPTY_CONTENT,
    ...{ id, type: text("type").trim() || EMPTY_CONTENT.type, title, subtitle: text("subtitle"), narrative },
    facts: readList("facts", given.facts),
    concepts: readList("concepts", given.concepts, /[,\n]/),
    filesRead: readList("files", given.filesRead, /[,\n]/),
    filesModified: readList("filesModified", given.filesModified, /[,\n]/),
    symbols: readList("symbols", given.symbols, /[,\n]/),
    sessionId: text("sessionId") || IMPORT_SESSION,
    ...readOptional(given),
    prompt: readNumber("prompt", given.prompt) ?? 0,
    createdAt: given.createdAt === undefined ? at : readTime(given.createdAt),
    source: sourceSchema.safeParse(given.source).data ?? { kind: "import", from },
    trust: TRUST.find((trust) => trust === given.trust) ?? "trusted",
    by: "import",
    importance: Math.min(1, Math.max(0, readNumber("importance", given.importance) ?? 0.5)),
    ...(Object.keys(more).length > 0 && { extra: checkKeys(more) }),
  };
  return { observation, time: given.createdAt === undefined ? "none" : id === "" ? "given" : "ours" };
}

/** Of several names of one thing the first that says something. A null says nothing. */
function takeNames(value: Record<string, unknown>) {
  const given: Given = {};
  const extra: Record<string, unknown> = {};
  const ours = new Map<string, keyof typeof NAMES>();
  for (const [name, aliases] of Object.entries(NAMES) as [keyof typeof NAMES, readonly string[]][]) {
    const alias = aliases.find((key) => Object.hasOwn(value, key) && value[key] !== null && value[key] !== "");
    if (alias === undefined) continue;
    given[name] = value[alias];
    ours.set(alias, name);
  }
  for (const [key, item] of Object.entries(checkKeys(value))) if (!ours.has(key) && item !== null && item !== "") extra[key] = item;
  for (const key of ["created_at", "created_at_epoch"]) if (given.createdAt !== undefined) delete extra[key];
  return { given, extra };
}

/** What only our own listings give; what has another shape there means nothing to us. */
function readOptional(given: Given): Partial<Observation> {
  const { callId, agent, supersededBy } = given;
  const summary = summarySchema.safeParse(given.summary).data;
  const merged = mergedSchema.array().safeParse(given.merged).data;
  const conflictsWith = Array.isArray(given.conflictsWith) ? given.conflictsWith.filter((id) => typeof id === "string") : undefined;
  return {
    ...(typeof callId === "string" && { callId }),
    ...(typeof agent === "string" && { agent }),
    ...(typeof supersededBy === "string" && { supersededBy }),
    ...(summary && { summary }),
    ...(merged && { merged }),
    ...(conflictsWith && { conflictsWith }),
  };
}

function readText(name: string, value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  if (name === "sessionId" && typeof value === "number") return String(value);
  throw new Fault(`its ${name} is no text.`);
}

/** A list of texts; a text is one of them, or several where something separates them, or a list in JSON. */
function readList(name: string, value: unknown, separator?: RegExp): string[] {
  if (value === undefined) return [];
  const list = typeof value === "string" ? splitText(value, separator) : value;
  if (!Array.isArray(list) || list.some((item) => typeof item !== "string")) throw new Fault(`its ${name} are neither a text nor a list of texts.`);
  return list.map((item: string) => item.trim()).filter((item) => item !== "");
}

function splitText(text: string, separator: RegExp | undefined): unknown {
  if (text.trimStart().startsWith("[")) {
    const list = parseJson(text);
    if (Array.isArray(list)) return list;
  }
  return separator === undefined ? [text] : text.split(separator);
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readNumber(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) throw new Fault(`its ${name} is no number.`);
  return number;
}

/** Before 1973 nothing of ours happened: a number that small counts seconds. */
const SMALLEST_MS = 1e11;
const LARGEST_MS = 8.64e15;

/** ISO text, ms or s since 1970. */
function readTime(value: unknown): number {
  const number = typeof value === "string" ? (/^\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : Date.parse(value)) : value;
  if (typeof number !== "number" || !(number >= 0 && number <= LARGEST_MS)) throw new Fault(`its createdAt ${JSON.stringify(value)} is no time.`);
  const isText = typeof value === "string" && Number.isNaN(Number(value));
  return Math.round(number < SMALLEST_MS && !isText ? number * 1000 : number);
}

const readRecord = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : value === undefined ? {} : { extra: value };

const MAX_DEPTH = 100;

/** What no store would keep is said before anything is stored. */
function checkKeys<T>(value: T, depth = 0): T {
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH) throw new Fault(`it is nested deeper than ${MAX_DEPTH} levels.`);
  for (const [key, item] of Object.entries(value)) {
    if (key === "__proto__" || key === "constructor") throw new Fault(`it has the key "${key}".`);
    checkKeys(item, depth + 1);
  }
  return value;
}

/** Of what it says, not of what it is named by: its own id and those of sessions, calls and other observations stay. */
export function cleanObservation(observation: Observation, clean: Clean): Observation {
  const { type, title, subtitle, facts, narrative, concepts, filesRead, filesModified, symbols, summary, source, merged, extra } = observation;
  const names = { concepts, filesRead, filesModified, symbols };
  // Where it comes from stands first: a tag that opens in what it says does not reach it.
  const texts = {
    from: source.from,
    type,
    title,
    subtitle,
    facts,
    narrative,
    ...names,
    summary,
    merged: merged?.map((part) => part.title),
    extra: checkKeys(extra),
  };
  const before = withoutUndefined(texts);
  const said = clean(before) as Partial<typeof texts>;
  if (JSON.stringify(said) === JSON.stringify(before)) return observation;
  const list = (items: string[] = []) => items.filter((text) => text !== "");
  return {
    ...observation,
    ...{ type: said.type || EMPTY_CONTENT.type, title: said.title ?? "", subtitle: said.subtitle ?? "", narrative: said.narrative ?? "" },
    ...{ facts: list(said.facts), concepts: list(said.concepts), symbols: list(said.symbols) },
    ...{ filesRead: list(said.filesRead), filesModified: list(said.filesModified) },
    source: source.from === undefined ? source : { ...source, from: said.from ?? "" },
    ...(summary && { summary: { ...EMPTY_SUMMARY, ...said.summary } }),
    ...(merged && { merged: merged.map((part, index) => ({ ...part, title: said.merged?.[index] ?? "" })) }),
    ...(extra && { extra: said.extra ?? {} }),
  };
}

const EMPTY_SUMMARY = { request: "", investigated: "", learned: "", completed: "", nextSteps: "", notes: "" };

const withoutUndefined = <T extends object>(value: T): Partial<T> =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as Partial<T>;

const LONGEST_TITLE = 120;

/** The first line, or the beginning of it. */
export function titleOf(said: string): string {
  const line =
    said
      .split("\n")
      .find((part) => part.trim() !== "")
      ?.trim() ?? "";
  if (line.length <= LONGEST_TITLE) return line;
  const cut = line.slice(0, LONGEST_TITLE - 1).replace(/[\ud800-\udbff]$/, "");
  const space = cut.lastIndexOf(" ");
  return `${space > LONGEST_TITLE / 2 ? cut.slice(0, space) : cut}…`;
}
