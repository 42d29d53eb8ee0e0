import { type Observation, observationSchema } from "./observation.ts";

/*
 * Observations as Markdown that people read and change: a section each. What it shows is read from there again; what it
 * cannot show, or would not give back letter by letter, stands as JSON at the section's end, and counts.
 */

/** Line by which a file is known for one of ours; the number is the version of the form. */
export const MARKDOWN_MARK = "<!-- agent-memory 1 -->";

const BLOCK = "```json agent-memory";
const FACTS = "Facts";
const SUMMARY = { request: "Request", investigated: "Investigated", learned: "Learned", completed: "Completed", nextSteps: "Next steps", notes: "Notes" };
const SHOWN = [
  "title",
  "type",
  "createdAt",
  "trust",
  "concepts",
  "filesRead",
  "filesModified",
  "symbols",
  "subtitle",
  "facts",
  "narrative",
  "summary",
] as const;
const LISTS = { read: "filesRead", modified: "filesModified", symbols: "symbols" } as const;

type Shown = Partial<Pick<Observation, (typeof SHOWN)[number]>>;

/** Keys in the order of the schema, whatever way the observation took: the same one is always the same bytes. */
export function inOrder(observation: Observation): Observation {
  const keys = Object.keys(observationSchema.shape) as (keyof Observation)[];
  return Object.fromEntries(keys.filter((key) => observation[key] !== undefined).map((key) => [key, observation[key]])) as Observation;
}

export function formatMarkdown(observations: readonly Observation[]): string {
  return ["# Agent memory\n", `${MARKDOWN_MARK}\n`, ...observations.map(formatSection)].join("\n");
}

/** Values of our own Markdown, one for each section; whether they are observations is for others to say. */
export function readMarkdown(text: string): Record<string, unknown>[] {
  const lines = withoutReturns(text).split("\n");
  const starts = lines.flatMap((line, index) => (/^##(?: |$)/.test(line) ? [index] : []));
  return starts.map((start, index) => readSection(lines.slice(start, starts[index + 1])));
}

/** Of a file that an editor has given the line ends of Windows. */
const withoutReturns = (text: string): string => (/[^\r]\n/.test(text) ? text : text.replaceAll("\r\n", "\n"));

function formatSection(observation: Observation): string {
  const visible = formatShown(observation);
  // As a file gives it back: half a character does not survive there.
  const read = readSection(Buffer.from(visible).toString().split("\n"));
  const isKept = (key: string) =>
    (SHOWN as readonly string[]).includes(key) && JSON.stringify(read[key]) === JSON.stringify(observation[key as keyof Observation]);
  const rest = Object.fromEntries(Object.entries(inOrder(observation)).filter(([key]) => !isKept(key)));
  return `${visible}\n${BLOCK}\n${JSON.stringify(rest, null, 2)}\n\`\`\`\n`;
}

function formatShown(observation: Observation): string {
  const { title, subtitle, narrative, facts, summary } = observation;
  const parts = [`## ${oneLine(title)}`.trimEnd(), formatProperties(observation)];
  if (subtitle !== "") parts.push(`> ${oneLine(subtitle)}`);
  if (narrative !== "") parts.push(escapeLines(narrative));
  if (facts.length > 0) parts.push(`### ${FACTS}`, facts.map((fact) => `- ${escapeLines(fact).replaceAll("\n", "\n  ")}`).join("\n"));
  for (const [key, heading] of Object.entries(SUMMARY)) {
    const text = summary?.[key as keyof typeof SUMMARY] ?? "";
    if (text !== "") parts.push(`### ${heading}`, escapeLines(text));
  }
  return `${parts.join("\n\n")}\n`;
}

function formatProperties(observation: Observation): string {
  const lines = [`- type: ${oneLine(observation.type)}`, `- date: ${formatDate(observation.createdAt)}`, `- trust: ${observation.trust}`];
  if (observation.concepts.length > 0) lines.push(`- concepts: ${oneLine(observation.concepts.join(", "))}`);
  for (const [name, key] of Object.entries(LISTS)) {
    if (observation[key].length > 0) lines.push(`- ${name}: ${oneLine(observation[key].map((value) => `\`${value}\``).join(", "))}`);
  }
  return lines.join("\n");
}

const formatDate = (at: number): string => (Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : "unknown");
const oneLine = (text: string): string => text.replace(/\s*[\r\n]\s*/g, " ");

/** A line that would be read as a part of the form gets a backslash in front, as Markdown has it. */
const escapeLines = (text: string): string => text.replace(/^(?=\\|##|>|```json agent-memory)/gm, "\\");
const unescapeLine = (line: string): string => (line.startsWith("\\") ? line.slice(1) : line);

function readSection([title = "", ...lines]: string[]): Record<string, unknown> {
  const blockAt = lines.findIndex((line) => line.trimEnd() === BLOCK);
  const own = (blockAt < 0 ? lines : lines.slice(0, blockAt)).slice(
    Math.max(
      0,
      lines.findIndex((line) => line !== ""),
    ),
  );
  const end = own.findIndex((line) => !line.startsWith("- "));
  const [properties, body] = end < 0 ? [own, []] : [own.slice(0, end), own.slice(end)];
  const shown = { title: title.slice(2).trim(), ...readProperties(properties), ...readBody(body) };
  return { ...shown, ...(blockAt >= 0 && readBlock(lines.slice(blockAt + 1))) };
}

function readProperties(lines: string[]): Shown {
  const shown: Shown = { concepts: [], filesRead: [], filesModified: [], symbols: [] };
  for (const line of lines) {
    const [, name = "", value = ""] = /^- (\w+): (.*)$/.exec(line) ?? [];
    if (name === "type") shown.type = value;
    if (name === "date" && !Number.isNaN(Date.parse(value))) shown.createdAt = Date.parse(value);
    if (name === "trust" && (value === "trusted" || value === "untrusted")) shown.trust = value;
    if (name === "concepts") shown.concepts = value.split(",").map((concept) => concept.trim());
    if (Object.hasOwn(LISTS, name)) shown[LISTS[name as keyof typeof LISTS]] = value.replace(/^`|`$/g, "").split(/`, ?`/);
  }
  return shown;
}

/** The running text, by the heading that it stands under; what comes before the first is the narrative. */
function readBody(lines: string[]): Shown {
  const texts = new Map<string, string[]>([["", []]]);
  let heading = "";
  let subtitle = "";
  for (const line of lines) {
    const isQuoted = heading === "" && line.startsWith("> ") && subtitle === "";
    if (isQuoted) subtitle = line.slice(2);
    else if (line.startsWith("### ")) texts.set((heading = line.slice(4).trim()), []);
    else texts.get(heading)?.push(line);
  }
  const textOf = (name: string): string =>
    (texts.get(name) ?? [])
      .map(unescapeLine)
      .join("\n")
      .replace(/^\n+|\n+$/g, "");
  const parts = Object.entries(SUMMARY).map(([key, name]) => [key, textOf(name)] as const);
  const summary = parts.some(([, text]) => text !== "") ? { summary: Object.fromEntries(parts) as unknown as Observation["summary"] } : {};
  return { subtitle, narrative: textOf(""), facts: readFacts(texts.get(FACTS) ?? []), ...summary } as Shown;
}

function readFacts(lines: string[]): string[] {
  const facts: string[][] = [];
  for (const line of lines) {
    if (line.startsWith("- ")) facts.push([unescapeLine(line.slice(2))]);
    else if (line.startsWith("  ")) facts.at(-1)?.push(unescapeLine(line.slice(2)));
  }
  return facts.map((fact) => fact.join("\n"));
}

/** Nothing where somebody has broken it: the section then says what it shows. */
function readBlock(lines: string[]): Record<string, unknown> {
  const end = lines.findIndex((line) => line.trimEnd() === "```");
  try {
    const value: unknown = JSON.parse(lines.slice(0, end < 0 ? lines.length : end).join("\n"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
