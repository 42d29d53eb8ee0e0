import type { Content, Observation } from "./observation.ts";

type Said = Pick<Content, "title" | "subtitle" | "facts" | "narrative">;

const MOST_SYMBOLS = 32;
const LONGEST = 80;

const ENDLESS = /[^\s`]{300,}|`{4,}/g;
const URL = /\b[a-z][\w+.-]*:\/\/\S+/gi;
const SPAN = /`([^`\n]{1,200})`/g;
const SPAN_NAME = /(?:--?[a-z][\w-]*|\$?[\p{L}_][\p{L}\p{N}_]*(?:(?:\.|::|->|#)[\p{L}_][\p{L}\p{N}_]*)*)/gu;
/** A name of code as it stands in prose: `openStore`, `RetryError`, `read_file`, `MAX_SIZE`, `E2BIG`, `$HOME`, `--dry-run`, `close()`, `store.put()`. */
const NAMES = [
  "(?<![\\w-])--[a-z][\\w-]*[a-z\\d]",
  "\\$\\{?[A-Za-z_]\\w*",
  "(?<![\\w.$/-])(?:[A-Za-z_$][\\w$]*(?:\\.|::|->|#))*[A-Za-z_$][\\w$]*(?=\\(\\))",
  "(?<![\\w.$/-])[a-z][a-z\\d]*(?:[A-Z][a-z\\d]*)+(?:\\.[A-Za-z_]\\w*)*(?![\\w/])",
  "(?<![\\w.$/-])[A-Z][a-z\\d]+(?:[A-Z]+[a-z\\d]*)+(?![\\w/])",
  "(?<![\\w.$/-])_*[A-Za-z][A-Za-z\\d]*(?:_[A-Za-z\\d]+)+(?![\\w/])",
  "(?<![\\w.$/-])E(?:[A-Z]{4,}|\\d[A-Z]{3,})(?![\\w/])",
  "(?<![\\w.$/-])[A-Z]{2,5}\\d{3,5}(?![\\w/])",
];
const PROSE = new RegExp(NAMES.join("|"), "gu");
const PATH =
  /(?<![\w.@:/-])(?:\.{0,2}\/)?(?:[\w@.+-]+\/)*[\w@+-][\w@.+-]*\.[a-z][a-z\d]{0,5}(?![\w/(])|(?<![\w.@:/-])(?:\.{1,2}\/)?(?:[\w@.+-]+\/)+[\w@.+-]*/gi;
/** Brands that are written like names of code. */
const NO_NAMES = new Set(
  "github gitlab javascript typescript openrouter openai nodejs postgresql mysql mongodb graphql youtube linkedin macos ios ipv4 ipv6 oauth devops iphone stackoverflow bitbucket webassembly".split(
    " ",
  ),
);
/** Words of a span that is a command or prose. */
const NO_SPAN_NAMES = new Set(
  "true false null undefined the a an is of to in and or not if for run npm npx node git test if else return const let var function class import export from".split(
    " ",
  ),
);

/** The symbols of code that a text speaks of, in their order: functions, classes, constants, flags, variables, codes of errors. */
export function findSymbols({ title, subtitle, facts, narrative }: Said): string[] {
  const found = new Set<string>();
  for (const text of [title, subtitle, ...facts, narrative]) {
    const bare = toPlain(text);
    const paths = new Set(bare.match(PATH) ?? []);
    const inSpans = [...bare.matchAll(SPAN)].flatMap(([, span = ""]) => namesOfSpan(span, paths));
    const inProse = bare.replace(SPAN, " ").replace(PATH, " ").match(PROSE) ?? [];
    for (const name of [...inSpans, ...inProse]) if (isName(name)) found.add(plain(name));
  }
  return [...found].slice(0, MOST_SYMBOLS);
}

/** Without addresses, and without what no name is as long as: a pattern would look at each of its letters again and again. */
const toPlain = (text: string): string => text.replace(ENDLESS, " ").replace(URL, " ");

const plain = (name: string): string => name.replace(/^\$\{?/, "").replace(/\(\)$/, "");
const isName = (name: string): boolean => plain(name).length > 1 && name.length <= LONGEST && !NO_NAMES.has(name.toLowerCase());

/** A span of one word is a name whatever it looks like; of several, what looks like one. */
function namesOfSpan(span: string, paths: ReadonlySet<string>): string[] {
  const bare = span.trim().replace(/\(.*\)$/s, "");
  if (paths.has(bare) || NO_SPAN_NAMES.has(bare)) return [];
  const [whole] = bare.match(SPAN_NAME) ?? [];
  if (whole === bare && !/^\d/.test(bare)) return [bare];
  return span.replace(PATH, " ").match(PROSE) ?? [];
}

/** The same with the symbols that its text names, those that it has already first. */
export function withSymbols<T extends Said & Pick<Content, "symbols">>(said: T): T {
  const symbols = [...new Set([...said.symbols.map((name) => name.trim()).filter((name) => name !== ""), ...findSymbols(said)])].slice(0, MOST_SYMBOLS);
  return symbols.length === said.symbols.length ? said : { ...said, symbols };
}

/** An observation that has to do with another one, and what links them. */
export interface Related {
  observation: Observation;
  /** Files and symbols that both name. */
  files: string[];
  symbols: string[];
  /** The rarer what they share, the higher; only good for comparing. */
  strength: number;
}

/** What else is known of the files and symbols of an observation, the closest first. What everybody names links nobody. */
export function relatedBy(observation: Observation, all: readonly Observation[], limit = 20): Related[] {
  const [counts, own] = [countEntities(all), entitiesOf(observation)];
  const weight = (entity: string) => Math.log((1 + all.length) / (1 + (counts.get(entity) ?? 0))) + 0.01;
  const related = all.flatMap((other): Related[] => {
    if (other.id === observation.id) return [];
    const shared = [...entitiesOf(other)].filter((entity) => own.has(entity));
    if (shared.length === 0) return [];
    const strength = shared.reduce((sum, entity) => sum + weight(entity), 0);
    const [files, symbols] = ["file ", "symbol "].map((kind) => shared.filter((entity) => entity.startsWith(kind)).map((entity) => entity.slice(kind.length)));
    return [{ observation: other, files: files!, symbols: symbols!, strength }];
  });
  return related
    .sort((a, b) => b.strength - a.strength || b.observation.createdAt - a.observation.createdAt || (a.observation.id < b.observation.id ? -1 : 1))
    .slice(0, limit);
}

function countEntities(all: readonly Observation[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const one of all) for (const entity of entitiesOf(one)) counts.set(entity, (counts.get(entity) ?? 0) + 1);
  return counts;
}

function entitiesOf(observation: Observation): Set<string> {
  const { filesRead, filesModified, symbols } = observation;
  return new Set([...filesModified, ...filesRead].map((file) => `file ${file}`).concat(symbols.map((name) => `symbol ${name}`)));
}
