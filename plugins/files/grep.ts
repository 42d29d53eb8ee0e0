import { basename, dirname, join } from "node:path";
import { AgentError, type ToolContext, tool, z } from "agent-runtime";
import { planGlob } from "./glob-pattern.ts";
import { locate, missingFile, permissionPattern } from "./open-file.ts";
import { refusedPattern, runRipgrep, type SearchEnd } from "./ripgrep.ts";

const SHOWN_MATCHES = 100;
/** Characters of a matching line that are shown; the match is in them. */
const LINE_CHARACTERS = 500;
const CHARACTERS_BEFORE_MATCH = 150;
const TIMEOUT_MS = 10_000;

interface Match {
  file: string;
  text: string;
}

export const grepTool = tool({
  name: "grep",
  description: "Search file contents with a regular expression (ripgrep syntax); newest files first, at most 100 matches.",
  input: z.object({
    pattern: z.string(),
    path: z.string().describe("file or directory").optional(),
    include: z.string().describe("file pattern, such as *.{ts,tsx}").optional(),
  }),
  effect: "read",
  patterns: ({ path }, { cwd }) => [permissionPattern(path ?? ".", cwd)],
  run: async ({ pattern, path, include }, context) => {
    if (pattern === "") throw refusedPattern(pattern, "it is empty.");
    const located = await locate(context, path ?? ".", "read");
    const { stats } = located;
    if (stats === undefined) throw await missingFile(context, located.path);
    if (!stats.isDirectory() && !stats.isFile()) throw new AgentError("FILE_UNSUITABLE", { path: located.shown, reason: "is neither a file nor a directory." });
    const start = stats.isFile() ? { cwd: dirname(located.path), target: `./${basename(located.path)}` } : { cwd: located.path, target: "./" };
    const { matches, end } = await findMatches(context, { ...start, pattern, include });
    return {
      output: describeMatches(matches, end, (file) => context.paths.show(join(start.cwd, file))),
      title: pattern,
      metadata: { matches: Math.min(matches.length, SHOWN_MATCHES), truncated: end !== "complete" },
    };
  },
});

async function findMatches(
  context: ToolContext,
  search: { cwd: string; target: string; pattern: string; include: string | undefined },
): Promise<{ matches: Match[]; end: SearchEnd }> {
  const matches: Match[] = [];
  const end = await runRipgrep(context, {
    ...search,
    args: ["--json", "--crlf", "--sortr=modified", ...includeArguments(search.include), `--regexp=${search.pattern}`],
    resultStart: "{",
    timeoutMs: TIMEOUT_MS,
    onResult: (line, isCut) => {
      matches.push(...(isCut ? [describeHugeLine(line)] : readMatch(line)));
      return matches.length <= SHOWN_MATCHES;
    },
  });
  return { matches, end };
}

function includeArguments(include: string | undefined): string[] {
  if (include === undefined || include === "") return [];
  const { directory, args } = planGlob(include);
  return directory === "." ? args : [`--glob=/${include.replace(/^(\.?\/)+/, "")}`];
}

type JsonText = { text?: string; bytes?: string };
type JsonRecord = { type: string; data: { path: JsonText; lines: JsonText; line_number: number; submatches: { start: number }[] } };

const decode = ({ text, bytes }: JsonText): string => text ?? Buffer.from(bytes ?? "", "base64").toString();

/** One match, or none where the record says something else. */
function readMatch(line: string): Match[] {
  const { type, data } = JSON.parse(line) as JsonRecord;
  if (type !== "match") return [];
  const text = decode(data.lines).replace(/\r?\n$/, "");
  const column = Buffer.from(text)
    .subarray(0, data.submatches[0]?.start ?? 0)
    .toString().length;
  return [{ file: decode(data.path), text: `  Line ${data.line_number}${windowAround(text, column)}` }];
}

function windowAround(text: string, column: number): string {
  if (text.length <= LINE_CHARACTERS) return `: ${text}`;
  const start = Math.max(0, Math.min(column - CHARACTERS_BEFORE_MATCH, text.length - LINE_CHARACTERS));
  const end = start + LINE_CHARACTERS;
  const shown = text.slice(start, end).replace(/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/g, "");
  return ` (columns ${start + 1}..${end} of ${text.length}): ${start > 0 ? "... " : ""}${shown}${end < text.length ? " ..." : ""}`;
}

/** A record is cut when its line is; what is left of it names the file. */
function describeHugeLine(head: string): Match {
  const path = /^\{"type":"match","data":\{"path":(\{.*?\}),"lines":/.exec(head)?.[1];
  return {
    file: path === undefined ? "" : decode(JSON.parse(path) as JsonText),
    text: "  A line that is too long to show matches; read it with columnOffset.",
  };
}

function describeMatches(matches: Match[], end: SearchEnd, show: (file: string) => string): string {
  const shown = matches.slice(0, SHOWN_MATCHES);
  const cut = "(The search was ended before it was through; there may be more. Use a narrower pattern, path or include.)";
  if (shown.length === 0) return end === "cut" ? `No matches found yet\n${cut}` : "No matches found";
  const lines = [`Found ${shown.length} ${shown.length === 1 ? "match" : "matches"}`];
  shown.forEach((match, index) => {
    const previous = shown[index - 1]?.file;
    if (previous !== undefined && previous !== match.file) lines.push("");
    if (previous !== match.file) lines.push(`${show(match.file)}:`);
    lines.push(match.text);
  });
  if (matches.length > shown.length)
    lines.push("", `(The first ${SHOWN_MATCHES} matches, newest files first; there are more. Use a narrower pattern, path or include.)`);
  if (end === "cut") lines.push("", cut);
  return lines.join("\n");
}
