import type TurndownService from "turndown";

/** How highlighters name a language: highlight.js and Prism on the code itself, GitHub and Sphinx on what surrounds it. */
const LANGUAGE = /(?:^|\s)(?:lang(?:uage)?-|highlight-(?:source-|text-)?)([a-z0-9+#.-]+)/i;
const NO_LANGUAGE = /^(?:default|none|plaintext)$/i;
const BLOCK = /^(?:div|p|li|tr)$/i;

/**
 * Every `pre` becomes fenced code, word for word. Not by the converter's own rules: they lose line breaks that are tags, and
 * escape what stands in a `pre` without a `code`.
 */
export function addCode(turndown: TurndownService): void {
  turndown.addRule("code", {
    filter: "pre",
    replacement(_, node) {
      const code = textOf(node).replace(/^\n+|\s+$/g, "");
      const fence = "`".repeat(Math.max(2, ...(code.match(/^`{3,}/gm) ?? []).map(({ length }) => length)) + 1);
      return code === "" ? "" : `\n\n${fence}${languageOf(node as Element)}\n${code}\n${fence}\n\n`;
    },
  });
}

function textOf(node: Node): string {
  if (node.nodeType === 3) return node.nodeValue ?? "";
  if (/^br$/i.test(node.nodeName)) return "\n";
  if (/^button$/i.test(node.nodeName)) return "";
  let text = "";
  for (const child of Array.from(node.childNodes)) text += `${BLOCK.test(child.nodeName) && /[^\n]$/.test(text) ? "\n" : ""}${textOf(child)}`;
  return BLOCK.test(node.nodeName) && !text.endsWith("\n") ? `${text}\n` : text;
}

function languageOf(pre: Element): string {
  const inner = pre.firstElementChild;
  for (const element of [inner?.nodeName === "CODE" ? inner : undefined, pre, pre.parentElement, pre.parentElement?.parentElement]) {
    const language = LANGUAGE.exec(element?.getAttribute("class") ?? "")?.[1];
    if (language !== undefined) return NO_LANGUAGE.test(language) ? "" : language;
  }
  return "";
}
