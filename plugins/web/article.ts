import { countTags, depthOf, htmlToText } from "./html.ts";

/** More would hold up the process: the reader is synchronous, and climbs from each tag to those around it. */
const MOST_LENGTH = 512 * 1024;
const MOST_TAGS = 6_000;
const MOST_DEPTH = 60;
const MOST_TAGS_TIMES_DEPTH = 120_000;
/** The least part of the page's words, but for those of navigation and the like, that an article has. With less, too much would be lost. */
const LEAST_SHARE = 0.4;
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
  const { document } = parseHTML(/<body\b/i.test(html) ? html : `<!doctype html><html><body>${html}</body></html>`);
  await new Promise(setImmediate);
  if (!isProbablyReaderable(document)) return undefined;
  const read = parseArticle(() => new Readability(document, { keepClasses: true, maxElemsToParse: MOST_TAGS }).parse());
  if (!read?.content) return undefined;
  await new Promise(setImmediate);
  const all = countWords(htmlToText(inner));
  return countWords(htmlToText(read.content)) < all * LEAST_SHARE ? undefined : { title: read.title?.trim() ?? "", content: read.content };
}

function isTooLarge(html: string): boolean {
  const [tags, depth] = [countTags(html), depthOf(html)];
  return html.length > MOST_LENGTH || tags > MOST_TAGS || depth > MOST_DEPTH || tags * depth > MOST_TAGS_TIMES_DEPTH;
}

/** Of some pages the reader takes the body away, and then stumbles over that. */
function parseArticle<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

const countWords = (text: string): number => text.match(/\S+/g)?.length ?? 0;
