/** Characters and tags of HTML that are looked at; more would hold up the process, and the model sees 50 KB of it. */
const MOST_LENGTH = 1024 * 1024;
const MOST_TAGS = 30_000;
/** A tag of so many words loses its attributes: what parsers do with them grows with their square. */
const LONG_TAG = /<([a-z][a-z0-9]*)\b[^<>]{400,}>/gi;
const MOST_WORDS_IN_TAG = 100;

const DROPPED = /<(script|style|noscript|template|svg|iframe)\b[\s\S]*?(?:<\/\1\s*>|$)/gi;
/** Frames have their page elsewhere; and a page of frames has no body. */
const FRAME = /<frame\b[^<>]*?\ssrc\s*=\s*(["'][^"'<>]*["']|[^\s"'<>]+)[^<>]*>/gi;
const FRAMESET = /<\/?(?:frameset|noframes)\b[^<>]*>/gi;
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
/** Longer runs of spaces are cut: the work of the converter grows with their square. */
const SPACES = /(?:&(?:nbsp|ensp|emsp|thinsp|hairsp|#0*(?:160|819[2-9]|820[0-3]|12288)|#x0*(?:a0|200[0-9a-b]|3000));|\s){500,}/gi;
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
    .replace(SPACES, " ")
    .replace(FRAME, "<p><a href=$1>frame</a></p>")
    .replace(FRAMESET, "")
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

const BLOCKS =
  "title|p|div|li|ul|ol|dl|dt|dd|tr|table|caption|h[1-6]|section|article|header|footer|main|nav|aside|form|option|figure|figcaption|details|summary|pre|blockquote";
const BLOCK_START = new RegExp(`<(?:${BLOCKS})\\b[^<>]*>`, "gi");
const BLOCK_END = new RegExp(`<(?:br|/(?:${BLOCKS}))\\b[^<>]*>`, "gi");
/** Stand for the spaces and tabs of code until all others are tidied; clean HTML holds no control characters. */
const [SPACE, TAB] = ["\u0001", "\u0002"];

/** The words of clean HTML, one line a block. */
export function htmlToText(html: string): string {
  const text = html
    .replace(/<head\b[\s\S]*?(?:<\/head\s*>|$)/i, "")
    .replace(/<pre\b[\s\S]*?(?:<\/pre\s*>|$)/gi, (code) => code.replaceAll(" ", SPACE).replaceAll("\t", TAB))
    // Many pages leave the end of a block out.
    .replace(BLOCK_START, "\v")
    .replace(BLOCK_END, "\n")
    .replace(/<\/t[dh]\b[^<>]*>/gi, "\t")
    .replace(/<[a-z/!?][^<>]*>/gi, "")
    .replace(/(^|\n)[ \t\v]*\v/g, "$1")
    .replace(/\v+/g, "\n");
  return tidy(decodeEntities(text)).replaceAll(SPACE, " ").replaceAll(TAB, "\t");
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

/** The entities of Latin-1, from 160 on. */
const LATIN = `nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot cedil
  sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml
  ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig
  ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml
  yacute thorn yuml`.split(/\s+/);
const ENTITIES = new Map([
  ...LATIN.map((name, index): [string, string] => [name, String.fromCharCode(160 + index)]),
  ...Object.entries({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " ", shy: "", zwnj: "\u200c", zwj: "\u200d", lrm: "", rlm: "" }),
  ...Object.entries({ ndash: "–", mdash: "—", hellip: "…", lsquo: "‘", rsquo: "’", sbquo: "‚", ldquo: "“", rdquo: "”", bdquo: "„", prime: "′" }),
  ...Object.entries({ lsaquo: "‹", rsaquo: "›", bull: "•", dagger: "†", trade: "™", euro: "€", larr: "←", uarr: "↑", rarr: "→", darr: "↓", rArr: "⇒" }),
  ...Object.entries({ le: "≤", ge: "≥", ne: "≠", asymp: "≈", minus: "−", infin: "∞", sum: "∑", radic: "√", check: "✓", ensp: " ", emsp: " ", thinsp: " " }),
  ...Object.entries({ alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", theta: "θ", lambda: "λ", mu: "μ", pi: "π", sigma: "σ", omega: "ω" }),
]);

export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]\w{1,7}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return ENTITIES.get(name) ?? ENTITIES.get(name.toLowerCase()) ?? whole;
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
