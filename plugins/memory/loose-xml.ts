/** One root element of a reply, with the texts of its fields. */
export interface XmlRoot {
  name: "observation" | "summary" | "skip_summary";
  fields: Record<string, string | string[]>;
  /** Its end is missing, and the last of its fields too. */
  isCut: boolean;
}

export interface LooseXml {
  roots: XmlRoot[];
  /** Where the first one begins; the length of the text where there is none. */
  start: number;
}

const ROOT = /<(\/?)(observation|summary|skip_summary)(?:\s[^<>]{0,500})?(\/?)>/gi;
const LISTS = new Set(["facts", "concepts", "files_read", "files_modified", "symbols", "files"]);
const FIELDS = new Set([...LISTS, "type", "title", "subtitle", "narrative", "request", "investigated", "learned", "completed", "next_steps", "notes"]);
const OTHERS = 20;

interface RootTag {
  name: XmlRoot["name"];
  kind: "open" | "close" | "empty";
  from: number;
  to: number;
}

/** Reads the elements that a reply may hold, amid prose. The text of a field may hold any `<`. Linear: no block is looked at for more than its own fields. */
export function readLooseXml(text: string): LooseXml {
  const tags = [...text.matchAll(ROOT)].map(
    ({ 0: all, 1: slash, 2: name, 3: empty, index }): RootTag => ({
      name: (name as string).toLowerCase() as XmlRoot["name"],
      kind: slash !== "" ? "close" : empty !== "" ? "empty" : "open",
      from: index,
      to: index + all.length,
    }),
  );
  const roots: XmlRoot[] = [];
  for (let at = 0; at < tags.length; at++) {
    const tag = tags[at] as RootTag;
    if (tag.kind === "close") continue;
    if (tag.kind === "empty" || tag.name === "skip_summary") {
      roots.push({ name: tag.name, fields: {}, isCut: false });
      continue;
    }
    const end = findEnd(tags, at);
    const ending = tags[end];
    const block = readBlock(text.slice(tag.to, ending?.from ?? text.length));
    roots.push({ name: tag.name, fields: block.fields, isCut: ending === undefined && (block.isCut || Object.keys(block.fields).length === 0) });
    at = ending?.kind === "close" ? end : end - 1;
  }
  return { roots, start: tags.find(({ kind }) => kind !== "close")?.from ?? text.length };
}

/** The tag that ends the one at `at`: its own, or the next that opens the same. */
function findEnd(tags: readonly RootTag[], at: number): number {
  const { name } = tags[at] as RootTag;
  let end = at + 1;
  while (end < tags.length && (tags[end]?.name !== name || tags[end]?.kind === "empty")) end++;
  return end;
}

const snake = (name: string): string => name.replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase();

function readBlock(block: string): { fields: Record<string, string | string[]>; isCut: boolean } {
  const fields: Record<string, string | string[]> = {};
  const opening = /<([A-Za-z][\w-]{0,40})(?:\s[^<>]{0,200})?(\/?)>/g;
  let [others, isCut] = [0, false];
  for (let found = opening.exec(block); found !== null; found = opening.exec(block)) {
    const name = snake(found[1] as string);
    if (found[2] !== "" || Object.hasOwn(fields, name)) continue;
    const isKnown = FIELDS.has(name);
    if (!isKnown && ++others > OTHERS) continue;
    const from = opening.lastIndex;
    const closing = new RegExp(`</${found[1]}\\s{0,20}>`, "gi");
    closing.lastIndex = from;
    const end = closing.exec(block);
    if (end === null && !isKnown) continue;
    const next = end?.index ?? findNextField(block, from) ?? block.length;
    isCut = end === null && next === block.length;
    fields[name] = readField(name, block.slice(from, next));
    opening.lastIndex = end === null ? next : closing.lastIndex;
  }
  return { fields, isCut };
}

const NEXT_FIELD = new RegExp(`<(?:${[...FIELDS].join("|")})>`, "gi");

function findNextField(block: string, from: number): number | undefined {
  NEXT_FIELD.lastIndex = from;
  return NEXT_FIELD.exec(block)?.index;
}

function readField(name: string, raw: string): string | string[] {
  if (!LISTS.has(name)) return decode(raw).trim();
  const [first = "", ...items] = raw.split(/<(?:fact|concept|file|path|symbol|item|li)(?:\s[^<>]{0,100})?>/i);
  const parts = items.length > 0 ? items.map((item) => item.split(/<\/(?:fact|concept|file|path|symbol|item|li)\s{0,20}>/i)[0] ?? "") : first.split("\n");
  return parts.map((part) => decode(part).trim());
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'", nbsp: " " };

function decode(raw: string): string {
  if (raw.includes("<![CDATA[")) return raw.replaceAll("<![CDATA[", "").replaceAll("]]>", "");
  return raw.replace(/&(?:(lt|gt|amp|quot|apos|nbsp)|#(\d{1,7})|#x([0-9a-f]{1,6}));/gi, (all, name: string, decimal: string, hex: string) => {
    if (name !== undefined) return ENTITIES[name.toLowerCase()] ?? all;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });
}
