import { countTags, decodeEntities, depthOf, htmlToText } from "./html.ts";

/** More would hold up the process: the reader is synchronous, and climbs from each tag to those around it. */
const MOST_LENGTH = 512 * 1024;
const MOST_TAGS = 6_000;
const MOST_DEPTH = 60;
const MOST_TAGS_TIMES_DEPTH = 120_000;
/** The least part of the page's words, but for those of navigation and the like, that an article has. With less, too much would be lost. */
const LEAST_SHARE = 0.4;
/** The least part of its headings: the reader takes a heading whose class says "header" for a part of the frame. */
const LEAST_HEADINGS = 0.75;
const HEADING = /<(h[1-6])\b[^<>]*>/gi;
const AROUND = /<(nav|footer|aside|dialog)\b[\s\S]*?(?:<\/\1\s*>|$)/gi;

export interface Article {
  title: string;
  /** HTML */
  content: string;
}

/** The article of a clean page, without navigation, side bars and banners; undefined where the page is none, or too large to tell. */
export async function findArticle(page: string): Promise<Article | undefined> {
  const inner = page.replace(AROUND, "");
  const html = isTooLarge(page) ? inner : page;
  if (isTooLarge(html)) return undefined;
  const [{ parseHTML }, { Readability, isProbablyReaderable }] = await Promise.all([import("linkedom"), import("@mozilla/readability")]);
  const plain = html.replace(HEADING, "<$1>");
  const { document } = parseHTML(/<body\b/i.test(html) ? plain : `<!doctype html><html><body>${plain}</body></html>`);
  await new Promise(setImmediate);
  if (!isProbablyReaderable(document)) return undefined;
  const read = parseArticle(() => new Readability(document, { keepClasses: true, maxElemsToParse: MOST_TAGS }).parse());
  await new Promise(setImmediate);
  if (!read?.content || !holdsMost(read.content, inner)) return undefined;
  return { title: titleOf(html) || (read.title ?? ""), content: read.content };
}

function isTooLarge(html: string): boolean {
  const [tags, depth] = [countTags(html), depthOf(html)];
  return html.length > MOST_LENGTH || tags > MOST_TAGS || depth > MOST_DEPTH || tags * depth > MOST_TAGS_TIMES_DEPTH;
}

/** Whether an article has enough of the page, and of what the page itself calls its main part. */
function holdsMost(article: string, page: string): boolean {
  if (countWords(htmlToText(article)) < countWords(htmlToText(page)) * LEAST_SHARE) return false;
  const main = /<main\b[\s\S]*<\/main/i.exec(page)?.[0] ?? "";
  // The title of the article is not among its headings.
  return countHeadings(article) + 1 >= countHeadings(main) * LEAST_HEADINGS;
}

/** Of some pages the reader takes the body away, and then stumbles over that. */
function parseArticle<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

/** The whole title: the reader takes "Re-exports - The book" for "exports - The book". */
export const titleOf = (html: string): string => decodeEntities(/<title\b[^<>]*>([^<]*)/i.exec(html)?.[1] ?? "").trim();

const countHeadings = (html: string): number => html.match(HEADING)?.length ?? 0;
/** Scripts that put no spaces between words count by their characters. */
const countWords = (text: string): number =>
  text.match(/[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\s\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+/g)?.length ?? 0;
