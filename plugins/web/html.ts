import { addTables } from "./tables.ts";

/** Characters and tags of HTML that are converted; more would hold up the process, and the model sees 50 KB of it. */
const CONVERTED_LENGTH = 1024 * 1024;
const CONVERTED_TAGS = 30_000;
/** Deeper nesting would overflow the stack of the parser; each indent makes every line within it longer. */
const MOST_DEPTH = 200;
const MOST_INDENTS = 30;
const INDENTING = /^(?:ul|ol|blockquote)$/i;

const DROPPED = /<(script|style|noscript|template|svg|iframe)\b[\s\S]*?(?:<\/\1\s*>|$)/gi;

const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Without what nobody reads: scripts, styles, comments, control characters. Each expression runs once over the text, whatever the text is. */
const readable = (html: string): string =>
  cut(
    html
      .replace(CONTROLS, "")
      .replace(/<!--[\s\S]*?(?:-->|$)/g, "")
      .replace(DROPPED, ""),
  );

function cut(html: string): string {
  let [tags, end] = [0, 0];
  while (tags++ < CONVERTED_TAGS && end >= 0) end = html.indexOf("<", end + 1);
  return html.slice(0, Math.min(CONVERTED_LENGTH, end < 0 ? html.length : end));
}

/** The words of a page, one line a block. */
export function htmlToText(html: string): string {
  const text = readable(html)
    .replace(/<head\b[\s\S]*?(?:<\/head\s*>|$)/i, "")
    // Many pages leave the end of these out.
    .replace(/<(?:p|li|ul|ol)\b[^<>]*>/gi, "\v")
    .replace(/<(?:br|\/(?:p|div|li|tr|h[1-6]|section|article|header|footer|table|ul|ol|pre|blockquote))\b[^<>]*>/gi, "\n")
    .replace(/<\/t[dh]\b[^<>]*>/gi, "\t")
    .replace(/<[^<>]*>/g, "")
    .replace(/(^|\n)[ \t\v]*\v/g, "$1")
    .replace(/\v+/g, "\n");
  return tidy(decodeEntities(text));
}

/** Markdown with tables and fenced code; the plain text where the page is nested too deeply for that. */
export async function htmlToMarkdown(html: string): Promise<string> {
  const source = readable(html);
  if (depthOf(source, (tag) => !VOID.has(tag.toLowerCase())) > MOST_DEPTH) return htmlToText(source);
  if (depthOf(source, (tag) => INDENTING.test(tag)) > MOST_INDENTS) return htmlToText(source);
  const [{ default: Turndown }, { highlightedCodeBlock, strikethrough, taskListItems }] = await Promise.all([
    import("turndown"),
    import("@joplin/turndown-plugin-gfm"),
  ]);
  const turndown = new Turndown({ headingStyle: "atx", codeBlockStyle: "fenced", bulletListMarker: "-", hr: "---", emDelimiter: "*" });
  turndown.use([highlightedCodeBlock, strikethrough, taskListItems]);
  addTables(turndown);
  turndown.remove(["title", "script", "style", "noscript"]);
  // The page goes in as text: given a DOM of another parser, the plugin loses tables.
  return turndown.turndown(source).trim();
}

/** Tags that close by themselves. */
const VOID = new Set([
  "area",
  "base",
  "br",
  "col",
  "embed",
  "hr",
  "img",
  "input",
  "link",
  "meta",
  "param",
  "source",
  "track",
  "wbr",
  "p",
  "li",
  "td",
  "th",
  "tr",
  "dt",
  "dd",
  "option",
]);

/** About how deep the tags of a page that count are nested. */
function depthOf(html: string, counts: (tag: string) => boolean): number {
  let [depth, most] = [0, 0];
  for (const [, close, name] of html.matchAll(/<(\/?)([a-z][a-z0-9]*)\b/gi)) {
    if (!counts(name!)) continue;
    depth = Math.max(0, depth + (close === "/" ? -1 : 1));
    most = Math.max(most, depth);
  }
  return most;
}

const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: " ",
  ndash: "–",
  mdash: "—",
  hellip: "…",
  copy: "©",
  laquo: "«",
  raquo: "»",
};

function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,8}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return ENTITIES[name.toLowerCase()] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex ?? "", 16) : Number(decimal);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

const tidy = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.replace(/[^\S\n]+/g, " ").trim())
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
