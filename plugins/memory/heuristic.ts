import { cleanText } from "agent-runtime";
import { capField } from "./cap.ts";
import type { Mode } from "./mode.ts";
import { type Content, EMPTY_CONTENT, type Summary } from "./observation.ts";
import { toSummaryContent } from "./reply.ts";
import type { WorkItem } from "./work-item.ts";

/*
 * Extraction without a model: what was read, changed, run and decided, in words that can be searched. It says only what is
 * known, and of text from outside nothing but where it came from.
 */

type Call = NonNullable<WorkItem["call"]>;
type Input = Record<string, unknown>;

/** What stands in `by` of an observation that was made here. */
export const HEURISTIC = "heuristic";

/** What a piece of work is worth remembering of. A call gives one at most; the end of a prompt its summary first, then decisions. */
export function observeWithoutModel(item: WorkItem, mode: Mode): Content[] {
  const contents = item.kind === "end" ? observeEnd(item) : item.call === undefined ? [] : [observeCall(item, item.call)];
  return contents.map((content) => fitMode(content, mode));
}

/** A mode need not have the types of the code mode. */
function fitMode(content: Content, { types, concepts }: Mode): Content {
  const type = content.type === "summary" || types.some(({ name }) => name === content.type) ? content.type : (types[0]?.name ?? content.type);
  return { ...content, type, concepts: content.concepts.filter((concept) => concepts.some(({ name }) => name === concept)) };
}

const REQUEST = 200;
const TITLE = 200;
const FACT = 300;

function observeCall(item: WorkItem, call: Call): Content {
  const input = readInput(call.input);
  const described = describeCall(call, input, item.trust === "untrusted");
  return {
    ...EMPTY_CONTENT,
    ...described,
    title: capField(described.title, TITLE),
    subtitle: item.request === "" ? "" : capField(`While working on: ${oneLine(item.request)}`, REQUEST),
    facts: described.facts.map((fact) => capField(fact, FACT)),
    filesRead: call.filesRead,
    filesModified: call.filesModified,
  };
}

type Described = Pick<Content, "type" | "title" | "facts" | "narrative" | "concepts" | "symbols">;

function describeCall(call: Call, input: Input, isOutside: boolean): Described {
  if (call.effect === "net") return describeWeb(call, input);
  if (call.tool === "bash" || typeof input.command === "string") return describeCommand(call, input, isOutside);
  if (call.status === "error") return describeFailure(call, isOutside);
  if (call.effect === "write") return describeChange(call, input);
  if (call.effect === "read" && (call.filesRead.length > 0 || textOf(input.pattern) !== "" || subjectOf(call) !== ""))
    return describeReading(call, input, isOutside);
  return describeOther(call, input, isOutside);
}

/** The input is JSON; one that was cut is looked at for what it says first. */
function readInput(json: string): Input {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Input) : {};
  } catch {
    const found = [...json.slice(0, 4_000).matchAll(/"(\w{1,40})":\s?"((?:[^"\\]|\\.)*)"?/g)];
    return Object.fromEntries(found.map(([, key, text]) => [key, (text as string).replace(/\\n/g, "\n").replace(/\\(["\\/])/g, "$1")]));
  }
}

const oneLine = (text: string): string => cleanText(text).replace(/\s+/g, " ").trim();
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;
const linesOf = (text: string): number => (text === "" ? 0 : text.replace(/\n$/, "").split("\n").length);
const subjectOf = (call: Call): string => oneLine(call.patterns.filter((pattern) => pattern !== "*").join(", "));

/** Of a page its address and its title, of a search its words: what stands there are a stranger's words. */
function describeWeb(call: Call, input: Input): Described {
  const address = textOf(input.url) || subjectOf(call);
  const search = textOf(input.query);
  const heading = /^\s{0,3}#{1,2} (.{1,150})$/m.exec(call.output.slice(0, 5_000))?.[1];
  const facts = [
    ...(search === "" ? [address] : []),
    ...(heading !== undefined && search === "" && call.status === "completed" ? [`Title of the page: ${oneLine(heading)}`] : []),
  ];
  const verb = call.status === "error" ? "Failed to fetch" : "Fetched";
  const title = search === "" ? `${verb} ${address}` : `Searched the web for ${oneLine(search)}`;
  return { type: "discovery", title, facts: facts.filter((fact) => fact !== ""), narrative: "", concepts: [], symbols: [] };
}

const ERROR_LINE =
  /\b(?:error|err!|fail(?:ed|ure|s)?|exception|panic(?:ked)?|fatal|traceback|cannot|can't|could not|not found|no such file|denied|undefined|unexpected|segmentation fault)\b/i;
const TEST_LINE = /\b\d+ (?:tests? )?(?:passed|passing|failed|failing|skipped|ok)\b|^(?:test result|# (?:pass|fail|tests)\b|Tests?:|OK \()/i;
const ERRORS = 5;
const TESTS = 3;

function describeCommand(call: Call, input: Input, isOutside: boolean): Described {
  const command = oneLine(textOf(input.command) || subjectOf(call));
  const exit = call.exitCode;
  const isFailed = call.status === "error" || (exit !== undefined && exit !== 0);
  const lines = isOutside
    ? []
    : call.output
        .split("\n")
        .map(oneLine)
        .filter((line) => line !== "" && line.length < 2_000);
  const tests = lines.filter((line) => TEST_LINE.test(line)).slice(-TESTS);
  const errors = isFailed ? lines.filter((line) => ERROR_LINE.test(line) && !tests.includes(line)).slice(0, ERRORS) : [];
  const ending = call.status === "error" ? "failed" : exit === undefined ? "ran" : `exit code ${exit}`;
  const said = textOf(input.description);
  const commit = /\bgit\s+commit\b.*?\s-\w*m\s+(["'])(.+?)\1/.exec(command)?.[2];
  const isCommit = commit !== undefined && !isFailed;
  return {
    type: isCommit ? "change" : "discovery",
    title: isCommit ? `Committed: ${commit}` : `Ran ${capField(command, 140)}: ${ending}`,
    facts: [...tests, ...[...new Set(errors)], ...(command.length > 140 || isCommit ? [`Command: ${command}`] : [])],
    narrative: said === "" ? "" : `${oneLine(said)}: ${ending}.`,
    concepts: isCommit ? ["what-changed"] : [],
    symbols: [],
  };
}

function describeFailure(call: Call, isOutside: boolean): Described {
  const [first = ""] = isOutside
    ? []
    : call.output
        .split("\n")
        .map(oneLine)
        .filter((line) => line !== "");
  const title = `${call.tool} failed: ${subjectOf(call) || "no subject"}`;
  return { type: "discovery", title, facts: first === "" ? [] : [first], narrative: "", concepts: [], symbols: [] };
}

function describeChange(call: Call, input: Input): Described {
  const files = call.filesModified.length > 0 ? call.filesModified : call.patterns.filter((pattern) => pattern !== "*");
  const written = textOf(input.content);
  const edits = Array.isArray(input.edits) ? (input.edits as Input[]) : [input];
  const before = edits.map((edit) => textOf(edit?.oldString)).join("\n");
  const after = edits.map((edit) => textOf(edit?.newString)).join("\n");
  const patch = textOf(input.patchText);
  const added =
    patch === ""
      ? written || after
      : patch
          .split("\n")
          .filter((line) => line.startsWith("+"))
          .map((line) => line.slice(1))
          .join("\n");
  const removed =
    patch === ""
      ? before
      : patch
          .split("\n")
          .filter((line) => line.startsWith("-"))
          .map((line) => line.slice(1))
          .join("\n");
  const isNew = written !== "" && /^Created /.test(call.output);
  const symbols = findSymbols(added);
  const gone = findSymbols(removed).filter((symbol) => !symbols.includes(symbol));
  const size = written === "" ? `${count(linesOf(added.trim()), "line")} in the place of ${linesOf(removed.trim())}` : count(linesOf(written), "line");
  return {
    type: "change",
    title: `${isNew ? "Created" : "Changed"} ${files.join(", ") || "a file"}${symbols.length > 0 ? ` (${symbols.slice(0, 3).join(", ")})` : ""}`,
    facts: [
      `${files[0] ?? call.tool}: ${size}`,
      ...(symbols.length > 0 ? [`Defines ${symbols.join(", ")}`] : []),
      ...(gone.length > 0 ? [`No longer defines ${gone.join(", ")}`] : []),
    ],
    narrative: excerptOf(added),
    concepts: ["what-changed"],
    symbols: [...symbols, ...gone],
  };
}

const EXCERPT = 400;

/** The first lines that say something: comments and definitions, no brackets. */
function excerptOf(text: string): string {
  const lines = text
    .slice(0, 8_000)
    .split("\n")
    .map(oneLine)
    .filter((line) => /[\p{L}\p{N}]{2}/u.test(line));
  return capField(lines.slice(0, 6).join("\n"), EXCERPT);
}

function describeReading(call: Call, input: Input, isOutside: boolean): Described {
  const none = { type: "discovery", narrative: "", concepts: [] };
  const pattern = textOf(input.pattern);
  if (pattern !== "") {
    const lines = isOutside
      ? []
      : call.output
          .split("\n")
          .map(oneLine)
          .filter((line) => line.includes(":"));
    const where = subjectOf(call);
    return {
      ...none,
      title: `Searched ${where === "" || where === "." ? "the workspace" : where} for ${oneLine(pattern)}`,
      facts: lines.slice(0, ERRORS),
      symbols: [],
    };
  }
  const symbols = isOutside ? [] : findSymbols(call.output.replace(/^\s*\d+[|\t:] ?/gm, ""));
  const from = Number(input.offset);
  const lines = /total (\d+) lines?/.exec(call.output)?.[1];
  const facts = [
    ...(Number.isFinite(from) && from > 1 ? [`From line ${from} on`] : []),
    ...(lines !== undefined && !isOutside ? [`${lines} lines`] : []),
    ...(symbols.length > 0 ? [`Defines ${symbols.join(", ")}`] : []),
  ];
  return { ...none, title: `Read ${call.filesRead.join(", ") || subjectOf(call)}`, facts, symbols };
}

function describeOther(call: Call, input: Input, isOutside: boolean): Described {
  const said = Object.entries(input).filter((entry): entry is [string, string] => typeof entry[1] === "string" && entry[1] !== "");
  const facts = said.slice(0, 4).map(([key, text]) => `${key}: ${oneLine(text)}`);
  const subject = textOf(input.description) || textOf(input.title) || textOf(input.name) || subjectOf(call);
  const narrative = isOutside ? "" : excerptOf(call.output);
  return { type: "discovery", title: `Called ${call.tool}${subject === "" ? "" : `: ${oneLine(subject)}`}`, facts, narrative, concepts: [], symbols: [] };
}

const SYMBOLS = 12;
/** Definitions in the languages that are common: JavaScript and its kin, Python, Go, Rust, Java, C#, Ruby, PHP. */
const DEFINITION =
  /^[ \t]*(?:(?:export|default|public|private|protected|static|abstract|async|final|pub(?:\(\w+\))?|declare|override|sealed|partial|unsafe|extern) +)*(?:function\*?|class|interface|type|enum|struct|trait|def|fn|func(?: ?\([^)\n]{0,80}\))?|impl|module|namespace|record|const|let|var) +([A-Za-z_$][\w$]{2,80})/gm;

/** What a piece of code defines, in its order. */
function findSymbols(code: string): string[] {
  const found = new Set<string>();
  for (const [all, name] of code.slice(0, 64_000).matchAll(DEFINITION)) {
    // A variable counts where it is no step of a function.
    if (/^[ \t]+.*\b(?:const|let|var) /.test(all)) continue;
    found.add(name as string);
    if (found.size >= SYMBOLS) break;
  }
  return [...found];
}

const DECISIONS = 3;
const DECIDED =
  /\b(?:(?:i|we|it was|i've|we've) (?:have )?(?:decided|chose|chosen|opted|settled|agreed)|(?:decided|chose|opted|agreed) (?:to|on|for|against)|settled on|(?:we|i)(?:'ll| will| shall) (?:use|keep|go with|stay with|stick|switch|avoid|not)|going with|the decision|from now on|must (?:always|never)|should (?:always|never)|never use|always use)\b/i;
const REASON = /\b(?:because|since|so that|instead of|rather than|in favou?r of|over the|due to|to avoid)\b/i;
const CHANGED = /\b(?:use[sd]?|using|kept?|keep|switch(?:ed)?|replac\w+|mov\w+|chang\w+|pick\w*|prefer\w*|remov\w+|avoid\w*)\b/i;

function observeEnd(item: WorkItem): Content[] {
  const sentences = sentencesOf(item.answer ?? "");
  const summary = summarise(item, sentences);
  const decided = sentences.filter((sentence) => DECIDED.test(sentence) || (REASON.test(sentence) && CHANGED.test(sentence))).slice(0, DECISIONS);
  const decisions = decided.map(
    (sentence): Content => ({
      ...EMPTY_CONTENT,
      type: "decision",
      title: capField(sentence, TITLE),
      subtitle: item.request === "" ? "" : capField(`While working on: ${oneLine(item.request)}`, REQUEST),
      narrative: sentence,
      concepts: [
        ...(/\b(?:because|since|due to|so that)\b/i.test(sentence) ? ["why-it-exists"] : []),
        ...(/\b(?:instead of|rather than|over the)\b/i.test(sentence) ? ["trade-off"] : []),
      ],
    }),
  );
  return [...(summary === undefined ? [] : [{ ...toSummaryContent(summary) }]), ...decisions];
}

const SENTENCE = 600;

/** Sentences and items of lists, without code. */
function sentencesOf(text: string): string[] {
  const prose = text
    .split("```")
    .filter((_, index) => index % 2 === 0)
    .join("\n");
  return prose
    .split("\n")
    .flatMap((line) => line.replace(/^\s*(?:[-*•#>]+|\d+[.)])\s+/, "").split(/(?<=[.!?。！？])(?:\s+|(?<=[。！？]))/u))
    .map((sentence) => capField(oneLine(sentence.replace(/\*\*|__/g, "")), SENTENCE))
    .filter((sentence) => sentence.length >= 12);
}

const SUMMARY_CHARACTERS = 800;

function summarise({ request, answer = "", status }: WorkItem, sentences: readonly string[]): Summary | undefined {
  if (oneLine(answer) === "" && oneLine(request) === "") return undefined;
  const next = sentences.filter((sentence) =>
    /\b(?:next steps?|todo|to do|remaining|remains?|still (?:needs?|missing|open)|not yet|follow[- ]up|left to do)\b/i.test(sentence),
  );
  const learned = sentences.filter((sentence) =>
    /\b(?:because|turns out|the (?:cause|reason|problem|bug|issue)|found (?:that|out)|caused by|it seems)\b/i.test(sentence),
  );
  return {
    request: capField(oneLine(request), SUMMARY_CHARACTERS),
    investigated: "",
    learned: capField(learned.slice(0, 3).join(" "), SUMMARY_CHARACTERS),
    completed: capField(sentences.slice(0, 4).join(" ") || oneLine(answer), SUMMARY_CHARACTERS),
    nextSteps: capField(next.slice(0, 3).join(" "), SUMMARY_CHARACTERS),
    notes: status === undefined || status === "success" ? "" : `The turn ended with ${status}.`,
  };
}
