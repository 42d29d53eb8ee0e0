/** Characters and tags of HTML that are looked at; more would hold up the process, and the model sees 50 KB of it. */
const MOST_LENGTH = 1024 * 1024;
const MOST_TAGS = 30_000;
/** A tag of so many words loses its attributes: what parsers do with them grows with their square. */
const LONG_TAG = /<([a-z][a-z0-9]*)\b[^<>]{400,}>/gi;
const MOST_WORDS_IN_TAG = 100;

const DROPPED = /<(script|style|noscript|template|svg|iframe)\b[\s\S]*?(?:<\/\1\s*>|$)/gi;
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
/** Pictures that stand in the page itself. */
const INLINE_DATA = /(["'])data:[^"'<>]{100,}\1/gi;

/**
 * A page without what nobody reads: scripts, styles, comments, control characters, data in addresses. Each expression runs
 * once over the text, whatever the text is. `isCut`: the page goes on behind what is left.
 */
export function cleanHtml(page: string): { html: string; isCut: boolean } {
  const whole = page
    .replace(CONTROLS, "")
    .replace(/<!--[\s\S]*?(?:-->|$)/g, "")
    .replace(DROPPED, "")
    .replace(INLINE_DATA, "$1data:$1")
    .replace(LONG_TAG, (tag, name: string) => (tag.split(/[\s=]+/).length > MOST_WORDS_IN_TAG ? `<${name}>` : tag));
  const html = cut(whole);
  return { html, isCut: html.length < whole.length };
}

function cut(html: string): string {
  let [tags, end] = [0, 0];
  while (tags++ < MOST_TAGS && end >= 0) end = html.indexOf("<", end + 1);
  return html.slice(0, Math.min(MOST_LENGTH, end < 0 ? html.length : end));
}

export const countTags = (html: string): number => {
  let tags = 0;
  for (let at = html.indexOf("<"); at >= 0; at = html.indexOf("<", at + 1)) tags++;
  return tags;
};

/** The words of clean HTML, one line a block. */
export function htmlToText(html: string): string {
  const text = html
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

/** Tags that close by themselves. */
const VOID = new Set("area base br col embed hr img input link meta param source track wbr p li td th tr dt dd option".split(" "));

/** About how deep the tags of a page that count are nested. */
export function depthOf(html: string, counts: (tag: string) => boolean = (tag) => !VOID.has(tag.toLowerCase())): number {
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

export function decodeEntities(text: string): string {
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
