import { basename, dirname, join } from "node:path";
import { AgentError, type ToolContext, tool, z } from "agent-runtime";
import { confirmMatches, type Match } from "./confirm-matches.ts";
import { createFoundFiles } from "./found-files.ts";
import { planGlob } from "./glob-pattern.ts";
import { checkReadable, type Located, locate, missingFile, permissionPattern } from "./open-file.ts";
import { COUNTED_FILES, listFiles, refusedPattern, runRipgrep, type Search, type SearchEnd, sayHidden, TIMEOUT_MS } from "./ripgrep.ts";
import { countOf } from "./text-file.ts";

const SHOWN_MATCHES = 100;
/** Characters of a matching line that are shown; the match is in them. */
const LINE_CHARACTERS = 500;
const CHARACTERS_BEFORE_MATCH = 150;
/** Of TIMEOUT_MS; the rest is for reading the lines that are shown. */
const COUNTING_SHARE = 0.8;

/** Matches by their files. */
type Matches = Map<string, Match[]>;

export const grepTool = tool({
  name: "grep",
  description: "Search file contents with a regular expression (ripgrep syntax); newest files first, at most 100 matches.",
  input: z.object({
    pattern: z.string(),
    path: z.string().describe("file or directory").optional(),
    include: z.string().describe("file pattern, such as *.{ts,tsx}").optional(),
  }),
  effect: "read",
  patterns: ({ path }, { cwd }) => [permissionPattern(path || ".", cwd)],
  run: async ({ pattern, path, include }, context) => {
    if (pattern === "") throw refusedPattern(pattern, "it is empty.");
    const located = await locate(context, path || ".", "read");
    const { stats } = located;
    if (stats === undefined) throw await missingFile(context, located.path);
    if (!stats.isDirectory() && !stats.isFile()) throw new AgentError("FILE_UNSUITABLE", { path: located.shown, reason: "is neither a file nor a directory." });
    checkReadable(context, located);
    if (stats.isFile() && context.paths.isHidden(located.path, stats))
      throw new AgentError("PERMISSION_DENIED", { reason: `a rule denies to read ${located.shown}.` });
    const place = stats.isFile() ? { cwd: dirname(located.path), target: `./${basename(located.path)}` } : { cwd: located.path, target: "./" };
    const args = ["--crlf", `--regexp=${pattern}`];
    const endAt = performance.now() + TIMEOUT_MS;
    const timeoutMs = TIMEOUT_MS * COUNTING_SHARE;
    const question = { ...place, args: [...args, ...includeArguments(include)], pattern, filePattern: include, timeoutMs };
    const { files: all, lines, end } = await findFiles(context, question);
    const files = takeEnough(all, lines);
    const read = await readMatches(context, { cwd: place.cwd, files, args, pattern, timeoutMs: endAt - performance.now() });
    correctCounts(lines, read);
    const total = [...lines.values()].reduce((sum, count) => sum + count, 0);
    const isCut = end === "cut" || read.end === "cut";
    return {
      output: [
        total === 0 && !isCut
          ? await describeNothing(context, located, include)
          : describeMatches({ files, matches: read.matches, total, found: lines.size, isCut }, (file) => context.paths.show(join(place.cwd, file))),
        // Another walk, so only for who has found nothing and may wonder.
        ...(total === 0 && stats.isDirectory() ? sayHidden(await countHidden(context, { cwd: place.cwd, include, pattern, timeoutMs })) : []),
      ].join("\n"),
      title: pattern,
      metadata: { matches: total, files: lines.size, truncated: isCut || total > SHOWN_MATCHES },
    };
  },
});

type Question = Pick<Search, "cwd" | "args" | "pattern" | "filePattern" | "timeoutMs">;

/** `files`: the newest first. `lines`: how many of each match. */
interface FoundFiles {
  files: string[];
  lines: Map<string, number>;
  end: SearchEnd;
}

/**
 * Which files match, and in how many lines. What the lines are is asked for afterwards, of the few files that are shown:
 * those of a common word would fill the memory, and which of them came first would be chance.
 */
async function findFiles(context: ToolContext, { target, ...search }: Question & { target: string }): Promise<FoundFiles> {
  const lines = new Map<string, number>();
  const found = createFoundFiles(context, search.cwd);
  let begun = "";
  const end = await runRipgrep(context, {
    ...search,
    args: ["--count", "--with-filename", "--null", ...search.args],
    targets: [target],
    separator: "\n",
    resultStart: "./",
    onRecord(line) {
      // A name may hold a newline; it ends with NUL.
      const record = begun + line;
      const [file, count] = record.split("\0") as [string, string | undefined];
      begun = count === undefined && file.startsWith("./") ? `${record}\n` : "";
      if (count === undefined) return true;
      lines.set(file, Number(count));
      found.add(file);
      return true;
    },
  });
  const { files } = await found.newest();
  return { files, lines: new Map(files.map((file) => [file, lines.get(file) ?? 0])), end };
}

/** Whatever the pattern: how many hidden files have a match would tell what stands in them, one question at a time. */
async function countHidden(
  context: ToolContext,
  { include, ...search }: Pick<Search, "cwd" | "pattern" | "timeoutMs"> & { include: string | undefined },
): Promise<number> {
  const own = includeArguments(include);
  const args = own.length > 0 ? own : context.paths.hiddenGlobs(search.cwd).map((glob) => `--iglob=${glob}`);
  const { files } = await listFiles(context, { ...search, args, pattern: include ?? search.pattern, limit: COUNTED_FILES });
  return files.filter((file) => context.paths.isHidden(join(search.cwd, file))).length;
}

/** The first files, which together have as many matches as are shown. */
function takeEnough(files: string[], lines: Map<string, number>): string[] {
  let count = 0;
  const end = files.findIndex((file) => (count += lines.get(file) ?? 0) >= SHOWN_MATCHES);
  return end < 0 ? files : files.slice(0, end + 1);
}

async function readMatches(context: ToolContext, { files, ...search }: Question & { files: string[] }): Promise<{ matches: Matches; end: SearchEnd }> {
  const matches: Matches = new Map(files.map((file) => [file, []]));
  if (files.length === 0) return { matches, end: "complete" };
  const end = await runRipgrep(context, {
    ...search,
    args: ["--json", `--max-count=${SHOWN_MATCHES}`, ...search.args],
    targets: files,
    separator: "\n",
    resultStart: "{",
    onRecord(record, isCut) {
      const match = isCut ? describeHugeLine(record) : readMatch(record);
      if (match !== undefined) matches.get(match.file)?.push(match);
      return true;
    },
  });
  for (const file of files) matches.set(file, await confirmMatches(context, join(search.cwd, file), matches.get(file) ?? []));
  return { matches, end };
}

/** What was counted and not confirmed does not count. */
function correctCounts(lines: FoundFiles["lines"], { matches, end }: { matches: Matches; end: SearchEnd }): void {
  if (end === "cut") return;
  for (const [file, { length }] of matches) {
    if (length === 0) lines.delete(file);
    else if (length < Math.min(lines.get(file) ?? 0, SHOWN_MATCHES)) lines.set(file, length);
  }
}

/** That nothing was searched is another answer than that nothing was found. */
async function describeNothing(context: ToolContext, { path, stats }: Located, include: string | undefined): Promise<string> {
  const args = includeArguments(include);
  if (include === undefined || args.length === 0 || stats?.isFile()) return "No matches found";
  const { files } = await listFiles(context, { cwd: path, args, pattern: include, limit: 1, timeoutMs: TIMEOUT_MS });
  return files.length > 0 ? "No matches found" : `No matches found\n(No file fits include ${JSON.stringify(include)}. It is one pattern, relative to path.)`;
}

function includeArguments(include: string | undefined): string[] {
  if (include === undefined || include === "") return [];
  const { directory, args } = planGlob(include);
  return directory === "." ? args : [`--glob=/${include.replace(/^(\.?\/)+/, "")}`];
}

type JsonText = { text?: string; bytes?: string };
type JsonRecord = { type: string; data: { path: JsonText; lines: JsonText; line_number: number; absolute_offset: number; submatches: { start: number }[] } };

const bytesOf = ({ text, bytes }: JsonText): Buffer => (text === undefined ? Buffer.from(bytes ?? "", "base64") : Buffer.from(text));
const decode = ({ text, bytes }: JsonText): string => text ?? Buffer.from(bytes ?? "", "base64").toString();

/** Undefined where the record is none of a match. */
function readMatch(record: string): Match | undefined {
  if (!record.startsWith('{"type":"match"')) return undefined;
  const { data } = JSON.parse(record) as JsonRecord;
  const text = decode(data.lines).replace(/\r?\n$/, "");
  const column = Buffer.from(text)
    .subarray(0, data.submatches[0]?.start ?? 0)
    .toString().length;
  const line = { offset: data.absolute_offset, bytes: bytesOf(data.lines) };
  return { file: decode(data.path), text: `  Line ${data.line_number}${windowAround(text, column)}`, line };
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

interface Answer {
  files: string[];
  matches: Matches;
  total: number;
  /** Files in which something was found. */
  found: number;
  isCut: boolean;
}

function describeMatches({ files, matches, total, found, isCut }: Answer, show: (file: string) => string): string {
  const cut = "(The search was ended before it was through; there may be more. Use a narrower pattern, path or include.)";
  const lines: string[] = [];
  let shown = 0;
  for (const file of files) {
    const texts = (matches.get(file) ?? []).slice(0, SHOWN_MATCHES - shown).map(({ text }) => text);
    if (texts.length > 0) lines.push(...(shown === 0 ? [] : [""]), `${show(file)}:`, ...texts);
    shown += texts.length;
  }
  if (shown === 0) return isCut ? `No matches found yet\n${cut}` : "No matches found";
  const count = total > SHOWN_MATCHES ? `${shown} of ${isCut ? "at least " : ""}${total} matches` : `${shown} ${shown === 1 ? "match" : "matches"}`;
  lines.unshift(`Found ${count}`);
  if (total > shown) lines.push("", `(They are in ${countOf(found, "file")}, newest first. To see others, use a narrower pattern, path or include.)`);
  if (isCut) lines.push("", cut);
  return lines.join("\n");
}
