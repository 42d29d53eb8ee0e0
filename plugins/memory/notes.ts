import { titleOf } from "./entry.ts";

/** What a heading says of the notes below it. The nearest heading that is known counts. */
const KINDS: { words: RegExp; type: string; concepts: string[] }[] = [
  {
    words: /\b(gotchas?|pitfalls?|caveats?|traps?|known issues?|troubleshooting|watch out|beware|warnings?|quirks?)\b/i,
    type: "discovery",
    concepts: ["gotcha"],
  },
  { words: /\b(decisions?|decided|adrs?|choices?)\b/i, type: "decision", concepts: ["why-it-exists"] },
  { words: /\b(trade-?offs?)\b/i, type: "decision", concepts: ["trade-off"] },
  { words: /\b(conventions?|style|rules?|guidelines?|practices?|patterns?|standards?|naming|preferences?)\b/i, type: "discovery", concepts: ["pattern"] },
  { words: /\b(bugs?|fixe?[sd]?|regressions?)\b/i, type: "bugfix", concepts: ["problem-solution"] },
  { words: /\b(security|secrets?|vulnerabilit(y|ies))\b/i, type: "security_note", concepts: ["gotcha"] },
  { words: /\b(change(s|log)?|history|release notes)\b/i, type: "change", concepts: ["what-changed"] },
  { words: /\b(features?)\b/i, type: "feature", concepts: ["what-changed"] },
  { words: /\b(why|rationale|background|motivation)\b/i, type: "discovery", concepts: ["why-it-exists"] },
];

const OTHER = { type: "discovery", concepts: ["how-it-works"] };

interface Note {
  lines: string[];
  isItem: boolean;
}

/**
 * Notes that people keep for agents, such as CLAUDE.md: each item of a list is an entry, with what is indented below it; what
 * stands between lists is one under its heading. Entries as `readEntry` takes them.
 */
export function readNotes(text: string): Record<string, unknown>[] {
  const entries: Record<string, unknown>[] = [];
  let headings: string[] = [];
  let note: Note | undefined;
  const end = () => {
    if (note !== undefined) entries.push(...makeEntry(note, headings));
    note = undefined;
  };
  for (const { line, isCode } of linesOf(text)) {
    const [, marks, title] = (!isCode && /^(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line)) || [];
    if (marks !== undefined) {
      end();
      headings = [...headings.slice(0, marks.length - 1), title ?? ""];
      // A level that was left out stays empty.
      while (headings.length < marks.length) headings.splice(-1, 0, "");
    } else if (!isCode && /^ {0,3}([-*+]|\d{1,4}[.)])\s+/.test(line) && !isNested(line, note)) {
      end();
      note = { lines: [line.replace(/^ {0,3}([-*+]|\d{1,4}[.)])\s+(\[[ x]\]\s+)?/i, "")], isItem: true };
    } else if (note?.isItem && line !== "" && !isCode && !/^\s/.test(line) && note.lines.at(-1) === "") {
      end();
      note = { lines: [line], isItem: false };
    } else if (note !== undefined) note.lines.push(line);
    else if (line.trim() !== "") note = { lines: [line], isItem: false };
  }
  end();
  return entries;
}

const isNested = (line: string, note: Note | undefined): boolean => note?.isItem === true && /^ {2,}/.test(line);

/** Without front matter and comments; what stands in a fence is no heading and no item. */
function linesOf(text: string): { line: string; isCode: boolean }[] {
  const own = text
    .replace(/^\ufeff/, "")
    .replaceAll("\r\n", "\n")
    .replace(/^---\n[\s\S]*?\n---\n/, "")
    .replace(/<!--[\s\S]*?(?:-->|$)/g, "");
  let fence = "";
  return own.split("\n").map((line) => {
    const [, marks = ""] = /^\s*(`{3,}|~{3,})/.exec(line) ?? [];
    const isCode = fence !== "" || marks !== "";
    if (fence === "") fence = marks;
    else if (marks.startsWith(fence)) fence = "";
    return { line: line.trimEnd(), isCode };
  });
}

const IMPORTANCE = 0.7;

function makeEntry({ lines, isItem }: Note, headings: string[]): Record<string, unknown>[] {
  const said = withoutIndent(lines).join("\n").trim();
  if (said === "" || /^([-*_]\s*){3,}$/.test(said)) return [];
  const above = headings.filter((heading) => heading !== "");
  const kind = [...above].reverse().flatMap((heading) => KINDS.find(({ words }) => words.test(heading)) ?? [])[0] ?? OTHER;
  const [lead, plain] = [/^\*\*(.{3,}?)[:.]?\*\*/.exec(said)?.[1], said.replaceAll("**", "")];
  const title = isItem ? (lead ?? titleOf(plain)) : (above.at(-1) ?? titleOf(plain));
  return [
    {
      ...{ type: kind.type, concepts: kind.concepts, title, subtitle: above.join(" › "), importance: IMPORTANCE },
      ...(plain !== title && { narrative: said }),
      files: findFiles(said),
    },
  ];
}

function withoutIndent([first = "", ...rest]: string[]): string[] {
  const indents = rest.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length);
  const indent = Math.min(...indents, 8);
  return [first, ...rest.map((line) => line.slice(indents.length > 0 ? indent : 0))];
}

const EXTENSION =
  /\.(?:[cm]?[jt]sx?|json[c5]?|ya?ml|toml|mdx?|py|rb|rs|go|java|kt|swift|cs?|cpp|h(?:pp)?|php|sh|sql|html?|s?css|vue|svelte|lock|env|txt|ini|cfg|xml|proto|tf)$/i;

/** Paths that a note speaks of: what has a folder or a known ending; not addresses. */
export function findFiles(text: string): string[] {
  const words = text.replace(/\b[a-z]+:\/\/\S+/gi, " ").match(/(?:[\w@~.-]*\/)*[\w@.-]+/g) ?? [];
  const paths = words.map((word) => word.replace(/^@(?=\S+\.)|[.]+$/g, "")).filter((word) => EXTENSION.test(word) && /\w\.\w+$/.test(word));
  return [...new Set(paths)];
}
