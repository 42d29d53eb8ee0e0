import type TurndownService from "turndown";
import { addCode } from "./code.ts";
import { countTags, depthOf, htmlToText } from "./html.ts";
import { addTables } from "./tables.ts";

/** Deeper nesting would overflow the stack of the parser; each indent makes every line within it longer. */
const MOST_DEPTH = 200;
const MOST_INDENTS = 30;
const INDENTING = /^(?:ul|ol|blockquote)$/i;
/** Tags that are converted without a pause: the converter is synchronous and takes up to 60 µs for each. */
const TAGS_AT_ONCE = 2_500;
/** What a page too long for one piece is taken apart at. */
const CONTAINERS = /^(?:html|body|main|article|section|div|dl|details|figure|fieldset|header|footer|aside|nav|form|center|font|span|thead|tbody|tfoot)$/i;
const LONG_BLOCKS = /^(?:table|ul)$/i;

/** Clean HTML as Markdown with tables and fenced code; the plain text where it is nested too deeply for that. Addresses are completed by `base`. */
export async function htmlToMarkdown(html: string, base: string, signal: AbortSignal): Promise<string> {
  if (depthOf(html) > MOST_DEPTH || depthOf(html, (tag) => INDENTING.test(tag)) > MOST_INDENTS) return htmlToText(html);
  const turndown = await createConverter(base);
  let markdown = "";
  for (const piece of await splitPage(html)) {
    await new Promise(setImmediate);
    signal.throwIfAborted();
    // The page goes in as text: given a DOM of another parser, the converter loses tables.
    const text = piece.tags > TAGS_AT_ONCE * 2 ? htmlToText(piece.html) : turndown.turndown(piece.html).trim();
    if (text === "") continue;
    // Rows that go on have no heads again.
    if (piece.isContinued && /^[|-] /.test(text)) markdown += `\n${text.replace(/\n\|(?: --- \|)+(?=\n|$)/, "")}`;
    else markdown += `${markdown && "\n\n"}${text}`;
  }
  return markdown;
}

async function createConverter(base: string): Promise<TurndownService> {
  const [{ default: Turndown }, { strikethrough, taskListItems }] = await Promise.all([import("turndown"), import("@joplin/turndown-plugin-gfm")]);
  const turndown = new Turndown({ headingStyle: "atx", codeBlockStyle: "fenced", bulletListMarker: "-", hr: "---", emDelimiter: "*" });
  turndown.use([strikethrough, taskListItems]);
  addCode(turndown);
  addTables(turndown);
  addLinks(turndown, base);
  turndown.remove(["title", "script", "style", "noscript"]);
  return turndown;
}

/** Links and pictures with whole addresses; what a link within the page, a script or inline data leads to is left as words. */
function addLinks(turndown: TurndownService, base: string): void {
  turndown.addRule("link", {
    filter: "a",
    replacement(content, node) {
      const address = (node as Element).getAttribute("href");
      // The sign beside a heading that links to it.
      if (address?.trim().startsWith("#") && /^[#¶§]?$/.test(content.trim().replaceAll("\\", ""))) return "";
      const url = address === null ? undefined : toWebAddress(address, base);
      return url === undefined ? content : content.replace(FIRST_LINE, (_, before: string, text: string) => `${before}[${text.trimEnd()}](${url})`);
    },
  });
  turndown.addRule("picture", {
    filter: "img",
    replacement(_, node) {
      const picture = node as Element;
      const words = (picture.getAttribute("alt") ?? "").replace(/\s+/g, " ").replace(/[[\]]/g, "\\$&").trim();
      const url = toWebAddress(picture.getAttribute("src") ?? "", base);
      return url === undefined ? words : `![${words}](${url})`;
    },
  });
}

/** A link around blocks is one of their first line, unless that begins code or a table: no link of Markdown goes over an empty line. */
const FIRST_LINE = /^(\s*(?:#{1,6} |[->] |\d+\. )*)(?!```|\|)(\S[^\n]*)/;

function toWebAddress(address: string, base: string): string | undefined {
  if (/^\s*(?:#|$)/.test(address) || !URL.canParse(address, base)) return undefined;
  const { protocol, href } = new URL(address, base);
  return /^(?:https?|mailto|tel|ftp):$/.test(protocol) ? (hasPairs(href) ? href : href.replaceAll("(", "%28").replaceAll(")", "%29")) : undefined;
}

/** Parentheses that are in pairs need no escape. */
const hasPairs = (address: string): boolean => !/[()]/.test(address.replace(/\([^()]*\)/g, ""));

interface Piece {
  html: string;
  tags: number;
  /** The table or list that it is a part of. */
  block?: Node | undefined;
  isContinued?: boolean;
}

/** The page in pieces of a bounded number of tags, as far as its blocks, rows and items allow that. */
async function splitPage(html: string): Promise<Piece[]> {
  if (countTags(html) <= TAGS_AT_ONCE) return [{ html, tags: 0 }];
  const { parseHTML } = await import("linkedom");
  const { document } = parseHTML(`<!doctype html><html><body>${html}</body></html>`);
  await new Promise(setImmediate);
  const sizes = new Map<Node, number>();
  measure(document.body, sizes);
  const pieces: Piece[] = [];
  const add = (node: Node, block?: Node): void => {
    const [last, tags, name] = [pieces.at(-1), sizes.get(node) ?? 0, node.nodeName];
    if (tags > TAGS_AT_ONCE && CONTAINERS.test(name)) for (const child of node.childNodes) add(child, block);
    else if (tags > TAGS_AT_ONCE && LONG_BLOCKS.test(name)) for (const child of node.childNodes) add(child, node);
    else if (last === undefined || last.block !== block || last.tags + tags > TAGS_AT_ONCE)
      pieces.push({ html: String(node), tags, block, isContinued: block !== undefined && last?.block === block });
    else {
      last.html += String(node);
      last.tags += tags;
    }
  };
  add(document.body);
  return pieces.map((piece) => (piece.block === undefined ? piece : { ...piece, html: `<${piece.block.nodeName}>${piece.html}</${piece.block.nodeName}>` }));
}

/** Notes how many tags each node has, its own included. */
function measure(node: Node, sizes: Map<Node, number>): number {
  let tags = node.nodeType === 1 ? 2 : 0;
  for (const child of node.childNodes) tags += measure(child, sizes);
  sizes.set(node, tags);
  return tags;
}
