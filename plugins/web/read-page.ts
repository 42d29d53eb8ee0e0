import { findArticle, titleOf } from "./article.ts";
import { cleanHtml, decodeEntities, htmlToText } from "./html.ts";
import { htmlToMarkdown } from "./markdown.ts";

const ARTICLE_ALONE = '(This is the article of the page; navigation and what else surrounds it is left out. format "html" gives the whole page.)';
const PAGE_IS_CUT = '(The page is longer: only its first part is read. format "html" gives all of it.)';

const MADE_BY_SCRIPTS = '(The page has no text of its own: scripts make it, and they are not run. format "html" gives its source.)';
/** What nobody sees on a page and a model reads all the same: zero-width spaces, changes of direction, the alphabet of tags. */
const INVISIBLE = /[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu;

export interface PageOptions {
  format: "markdown" | "text";
  /** Where the page was found, redirects followed. */
  url: string;
  signal: AbortSignal;
}

/** What a page of HTML says: its title and its article, or the whole page where there is no article that would hold most of it. */
export async function readPage(page: string, { format, url, signal }: PageOptions): Promise<string> {
  const { html, isCut } = cleanHtml(page);
  const article = isCut ? undefined : await findArticle(html);
  signal.throwIfAborted();
  const content = article?.content ?? html;
  const text = format === "text" ? htmlToText(content) : await htmlToMarkdown(content, baseOf(html, url), signal);
  const empty = text === "" ? explainEmpty(page, baseOf(html, url)) : undefined;
  const title = (empty === undefined ? (article?.title ?? "") : titleOf(html)).replace(/\s+/g, " ");
  const parts = [title && format === "markdown" ? `# ${title}` : title, text, article && ARTICLE_ALONE, empty, isCut && PAGE_IS_CUT];
  return parts.filter(Boolean).join("\n\n").replace(INVISIBLE, "");
}

/** Why a page says nothing, where that can be told. */
function explainEmpty(page: string, base: string): string | undefined {
  const refresh = /<meta\b[^<>]*?\shttp-equiv\s*=\s*["']?refresh\b[^<>]*/i.exec(page)?.[0] ?? "";
  const next = decodeEntities(/[;,]\s*url\s*=\s*["']?([^"'<>]+)/i.exec(refresh)?.[1] ?? "").trim();
  if (next !== "" && URL.canParse(next, base)) return `(The page leads on to ${new URL(next, base).href}.)`;
  return /<script\b/i.test(page) ? MADE_BY_SCRIPTS : undefined;
}

/** What relative addresses start from. */
function baseOf(html: string, url: string): string {
  const href = decodeEntities(/<base\b[^<>]*?\shref\s*=\s*["']?([^"'\s<>]+)/i.exec(html)?.[1] ?? "");
  return URL.canParse(href, url) ? new URL(href, url).href : url;
}
