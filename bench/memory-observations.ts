import type { Observation } from "../plugins/memory/observation.ts";
import { type Case, makeObservation } from "./memory-measure.ts";
import { createRandom } from "./memory-random.ts";

export const GROUPS = ["identifier", "paraphrase", "path", "time", "latest", "none"] as const;

/** The time at which the set is searched. */
export const SET_NOW = Date.UTC(2026, 5, 15, 12);

interface Vocabulary {
  /** area | folder | what it keeps | old choice | new choice | purpose | setting | unit */
  areas: string[];
  verbs: string[];
  nouns: string[];
  /** what went wrong | what it was | the same, asked in other words */
  faults: string[];
  /** Questions about what was never worked on. */
  unknown: string[];
}

const TUNED: Vocabulary = {
  areas: [
    "login|src/auth|sessions|cookies|signed tokens|keeping users signed in|session timeout|minutes",
    "checkout|src/checkout|orders|a cron job|a message queue|sending receipts|retry limit|attempts",
    "search|packages/search|documents|a SQL query|an inverted index|finding articles|page size|results",
    "uploads|services/upload|files|local disk|object storage|keeping attachments|maximum upload size|megabytes",
    "billing|src/billing|invoices|floating point|integer cents|adding up amounts|grace period|days",
    "notifications|services/notify|messages|polling|web sockets|telling clients of changes|batch size|messages",
    "reports|packages/report|spreadsheets|a nightly export|streaming rows|building large tables|row limit|rows",
    "scheduler|src/schedule|jobs|timers in memory|a table of due jobs|running work later|polling interval|seconds",
    "cache|packages/cache|entries|a global map|an LRU per tenant|keeping hot values|time to live|seconds",
    "profile page|web/profile|avatars|client rendering|server rendering|showing the first view|image width|pixels",
    "importer|tools/import|records|a regular expression|a streaming parser|reading CSV|buffer size|kilobytes",
    "permissions|src/access|roles|a list of names|a policy file|deciding who may do what|cache lifetime|seconds",
  ],
  verbs: ["parse", "load", "merge", "flush", "resolve", "encode", "validate", "apply", "collect", "rotate", "restore", "split"],
  nouns: ["Header", "Snapshot", "Ledger", "Manifest", "Cursor", "Envelope", "Payload", "Receipt", "Token", "Bucket", "Frame", "Digest"],
  faults: [
    "crashes on an empty list|The loop read the first element before checking the length|why did it crash when a list had no items",
    "leaks file handles under load|Streams were opened for each request and closed only on success|running out of open files when the load is heavy",
    "returns stale values after a deploy|The key did not contain the build number|stale data shown once a new build is deployed",
    "drops the last character of names|An off-by-one in the slice|names that are cut short at the end",
    "hangs when the network is slow|There was no timeout on the socket|hanging forever on a bad connection to the network",
    "sorts numbers as text|The comparator was missing|wrong sorting: number 10 stands before 9",
    "sends the mail twice|The job was acknowledged after the work and not before|people get every mail two times",
    "ignores daylight saving time|Dates were added up in hours|one hour wrong since summer time, daylight",
    "fails on names with accents|The bytes were cut in the middle of a character|accented characters come out broken",
    "is slow with many tenants|Each tenant made a query of its own|slowness that grows with the number of tenants",
    "loses updates made at once|Two writers read the same version|lost update when two people write concurrently",
    "shows the wrong currency|The locale of the server was used|price in the wrong currency, dollars for euros",
  ],
  unknown: [
    "how do we deploy to kubernetes",
    "which graphql schema does the mobile client use",
    "what is the policy on vacation days",
    "terraform state bucket location",
    "how was the bluetooth pairing solved",
    "tuning of the gpu kernels",
    "where is the android keystore",
    "who approved the rebranding",
    "elasticsearch shard rebalancing",
    "what colour is the mascot",
    "quarterly revenue forecast",
    "swift concurrency migration",
    "recipe for pancakes",
    "webassembly sandbox escape",
    "firmware of the thermostat",
    "bgp route flapping",
    "why was the office moved",
    "license of the icon font",
    "haskell typeclass puzzle",
    "drone flight controller calibration",
    "xylophone",
    "qwertzuiop",
    "blockchain consensus",
    "how many astronauts",
    "ldap directory synchronisation",
  ],
};

const HELD_OUT: Vocabulary = {
  areas: [
    "chat rooms|apps/chat|threads|long polling|server-sent events|pushing replies|history length|lines",
    "maps view|apps/maps|tiles|raster pictures|vector shapes|drawing streets|zoom limit|levels",
    "payroll|domain/payroll|salaries|a spreadsheet|a rules engine|working out deductions|rounding step|cents",
    "video encoder|media/encode|clips|one process|a pool of workers|converting recordings|bitrate cap|kilobits",
    "audit trail|domain/audit|entries|a text log|hash-linked rows|proving who changed what|retention|months",
    "feature flags|platform/flags|switches|environment variables|a signed document|turning things on for some|refresh interval|seconds",
    "address book|apps/contacts|people|full copies|change tokens|keeping devices in step|conflict window|seconds",
    "printer bridge|devices/print|pages|raw sockets|a spooler|putting paper out|queue depth|pages",
    "metrics|platform/metrics|samples|averages|histograms|seeing how slow things are|scrape period|seconds",
    "translations|web/i18n|strings|nested objects|flat keys|loading a language|bundle limit|kilobytes",
  ],
  verbs: ["decode", "attach", "prune", "sync", "render", "measure", "seal", "replay", "fetch", "align"],
  nouns: ["Tile", "Roster", "Segment", "Lease", "Glyph", "Channel", "Quota", "Voucher", "Beacon", "Anchor"],
  faults: [
    "throws when the folder is missing|The directory was assumed to be there|exception for a folder that does not exist yet",
    "eats all memory on long inputs|Everything was collected before the first write|runs out of memory with big input files",
    "forgets settings after a restart|They were kept in a variable and never written|settings gone once it was restarted",
    "counts some rows twice|The join had no unique key|counting too many rows, totals too high",
    "blocks the interface while saving|The write was synchronous|frozen interface during a save",
    "accepts expired certificates|The date was compared as text|certificate past its date is trusted",
    "swaps first and last names|The columns were read by position|first name and surname swapped",
    "reconnects without any pause|The backoff was reset by each attempt|reconnecting all the time, no waiting between attempts",
    "cuts links at the ampersand|Escaping happened before splitting|broken links, ampersand escaped too early",
    "fails behind a proxy|The environment was not passed on|failing in company networks that have a proxy",
  ],
  unknown: [
    "salary of the chief executive",
    "kafka partition strategy",
    "how to water the plants",
    "objective-c bridging header",
    "solidity reentrancy",
    "neural network pruning schedule",
    "warehouse robot firmware",
    "what did the lawyers say",
    "oauth device flow for televisions",
    "mainframe cobol copybook",
    "birthday of the founder",
    "saml metadata exchange",
    "zookeeper quorum",
    "kernel panic on boot",
    "rust borrow checker lifetimes",
    "poem about autumn",
    "cafeteria opening hours",
    "helicopter",
    "asdfghjkl",
    "ansible inventory groups",
  ],
};

const DAY_MS = 86_400_000;
const MONTHS = ["January", "February", "March", "April", "May", "June"];

/**
 * Work on a dozen areas of a code base in half a year: faults mended (some told twice in other words), decisions that were replaced,
 * settings that were changed without a link between the two; and questions in six groups. The same for the same seed.
 */
export function makeObservationSet(seed: number, { heldOut = false }: { heldOut?: boolean } = {}): { observations: Observation[]; cases: Case[] } {
  const random = createRandom(seed);
  const vocabulary = heldOut ? HELD_OUT : TUNED;
  const made: Made = { observations: [], cases: [], random, vocabulary, names: new Set() };
  for (const [i, text] of vocabulary.areas.entries()) {
    const area = readArea(text);
    for (let n = 0; n < 7; n++) addFault(made, area, vocabulary.faults[(i + n * 5) % vocabulary.faults.length]!, n);
    addDecision(made, area);
    addSetting(made, area);
    for (let n = 0; n < 6; n++) addWork(made, area);
  }
  for (const text of vocabulary.unknown) made.cases.push({ text, evidence: [], group: "none" });
  made.observations.sort((a, b) => a.createdAt - b.createdAt);
  return { observations: made.observations, cases: made.cases };
}

interface Made {
  observations: Observation[];
  cases: Case[];
  random: ReturnType<typeof createRandom>;
  vocabulary: Vocabulary;
  names: Set<string>;
}

interface Area {
  name: string;
  folder: string;
  things: string;
  before: string;
  now: string;
  purpose: string;
  setting: string;
  unit: string;
}

function readArea(text: string): Area {
  const [name, folder, things, before, now, purpose, setting, unit] = text.split("|") as [string, string, string, string, string, string, string, string];
  return { name, folder, things, before, now, purpose, setting, unit };
}

function add({ observations, random }: Made, fields: Partial<Observation>): Observation {
  const createdAt = fields.createdAt ?? Date.UTC(2026, 0, 2) + Math.floor(random.next() * 160) * DAY_MS + Math.floor(random.next() * 8) * 3_600_000;
  const id = `obs_${String(observations.length).padStart(4, "0")}`;
  const observation = makeObservation({ createdAt, sessionId: `ses_${new Date(createdAt).toISOString().slice(0, 10)}`, by: "bench", ...fields, id });
  observations.push(observation);
  return observation;
}

/** A name of code that nothing else has; its parts many have. */
function nameSymbol({ random, vocabulary, names }: Made): string {
  for (;;) {
    const name = `${random.pick(vocabulary.verbs)}${random.pick(vocabulary.nouns)}${random.next() < 0.5 ? random.pick(vocabulary.nouns) : ""}`;
    if (names.has(name)) continue;
    names.add(name);
    return name;
  }
}

const kebab = (name: string) => name.replace(/\B[A-Z]/g, (letter) => `-${letter}`).toLowerCase();

function addFault(made: Made, area: Area, fault: string, n: number): void {
  const [what, why, asked] = fault.split("|") as [string, string, string];
  const symbol = nameSymbol(made);
  const file = `${area.folder}/${kebab(symbol)}.ts`;
  const first = add(made, {
    type: "bugfix",
    title: `${symbol} ${what}`,
    subtitle: `Mended in the ${area.name}`,
    facts: [`${why}.`, `${symbol} lies in ${file}.`],
    narrative: `Work on the ${area.name}: ${symbol}, which handles ${area.things}, ${what}. ${why}; it was changed and a test added.`,
    concepts: ["problem-solution"],
    filesModified: [file],
    symbols: [symbol],
  });
  const evidence = [first.id];
  // Told again by another session, in other words.
  if (n === 0)
    evidence.push(
      add(made, {
        type: "discovery",
        title: `Again: the ${area.name} ${what}`,
        narrative: `Looked into the ${area.name} once more. ${why}. See ${file}.`,
        filesRead: [file],
      }).id,
    );
  if (n < 2) made.cases.push({ text: n === 0 ? symbol : `what does ${symbol} do`, evidence: [first.id], group: "identifier" });
  if (n === 2 || n === 0) made.cases.push({ text: `${area.name}: ${asked}`, evidence, group: "paraphrase" });
  if (n === 3) made.cases.push({ text: file, evidence, group: "path" }, { text: `${kebab(symbol)}.ts`, evidence, group: "path" });
  if (n === 4) made.cases.push({ text: `changes of ${file.split("/").slice(-2).join("/")}`, evidence, group: "path" });
}

function addDecision(made: Made, { name, before, now, purpose }: Area): void {
  const at = Date.UTC(2026, 1, 1 + Math.floor(made.random.next() * 20));
  const old = add(made, {
    type: "decision",
    title: `${before} for ${purpose}`,
    narrative: `Decided for the ${name}: ${before} is used for ${purpose}, as it is simple.`,
    concepts: ["trade-off"],
    createdAt: at,
  });
  const next = add(made, {
    type: "decision",
    title: `${now} for ${purpose}`,
    narrative: `Decided for the ${name}: ${now} replaces ${before} for ${purpose}.`,
    concepts: ["trade-off"],
    createdAt: at + 60 * DAY_MS,
  });
  old.supersededBy = next.id;
  made.cases.push({ text: `what do we use for ${purpose} in the ${name}`, evidence: [next.id], group: "latest" });
  made.cases.push({ text: `${name} decision in ${MONTHS[1]} 2026`, evidence: [old.id], group: "time" });
}

/** Three values, one after the other, and nothing says that they belong together. */
function addSetting(made: Made, { name, setting, unit, folder }: Area): void {
  const values = made.random.shuffle([5, 10, 15, 30, 45, 60, 90, 120, 250, 500]).slice(0, 3);
  const start = Date.UTC(2026, 0, 5 + Math.floor(made.random.next() * 20));
  const told = values.map((value, i) =>
    add(made, {
      type: "change",
      title: `${setting} of the ${name} is ${value} ${unit}`,
      narrative: `The ${setting} of the ${name} was set to ${value} ${unit}.`,
      filesModified: [`${folder}/settings.ts`],
      createdAt: start + i * 45 * DAY_MS,
    }),
  );
  const last = told[2]!;
  made.cases.push({ text: `what is the current ${setting} of the ${name}`, evidence: [last.id], group: "latest" });
  const middle = told[1]!;
  const day = new Date(middle.createdAt);
  made.cases.push({ text: `${setting} of the ${name} in ${MONTHS[day.getUTCMonth()]}`, evidence: [middle.id], group: "time" });
  made.cases.push({ text: `${name} ${setting} on ${day.toISOString().slice(0, 10)}`, evidence: [middle.id], group: "time" });
}

/** What fills the days between. */
function addWork(made: Made, { name, things, folder, now }: Area): void {
  const { random } = made;
  const symbol = nameSymbol(made);
  const kind = random.pick([
    { type: "feature", title: `${symbol} added to the ${name}`, narrative: `The ${name} can now handle ${things} by ${symbol}, with ${now}.` },
    { type: "refactor", title: `${name}: ${symbol} split in two`, narrative: `${symbol} had grown; what reads ${things} and what writes them are apart now.` },
    { type: "discovery", title: `How ${symbol} works`, narrative: `${symbol} walks over ${things} of the ${name} and calls back for each. It does not retry.` },
  ]);
  add(made, { ...kind, filesModified: [`${folder}/${kebab(symbol)}.ts`], symbols: [symbol] });
}
