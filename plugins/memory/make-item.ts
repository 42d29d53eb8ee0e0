import { isAbsolute, relative } from "node:path";
import { type AgentEvent, cleanText, type RunResult } from "agent-runtime";
import { capBytes, capField, capText, PROMPT_CHARACTERS } from "./cap.ts";
import type { Cleaning } from "./cleaning.ts";
import type { Content } from "./observation.ts";
import { givesOrders, isFromOutside, type OutsideSession } from "./outside.ts";
import { type PrivateWords, withoutPrivate, withoutPrivateIn } from "./private-text.ts";
import type { WorkItem } from "./work-item.ts";

export type ToolFinish = Extract<AgentEvent, { type: "tool.finish" }>;

/** What is known of a session while it runs. `observe.ts` keeps it. */
export interface SessionFacts extends OutsideSession {
  sessionId: string;
  /** Which prompt, from 1. */
  prompt: number;
  /** The text of that prompt: see `cleanPrompt`. */
  request: string;
  agent?: string | undefined;
  cwd: string;
  words: PrivateWords;
}

export interface CleanPrompt {
  text: string;
  /** Nothing of it may be remembered, nor of what follows from it. */
  isPrivate: boolean;
  removed: number;
}

/** The text of a prompt as it is kept. Its private words are kept from the rest of the session. */
export function cleanPrompt(text: string, words: PrivateWords, { redact }: Cleaning): CleanPrompt {
  const open = withoutPrivate(cleanText(capBytes(text)));
  words.remember(open.fragments);
  const rest = words.remove(open.text);
  const clean = redact(rest.text).trim();
  return {
    text: clean === "" && !open.isWhole ? "[media prompt]" : capText(clean, PROMPT_CHARACTERS),
    isPrivate: open.isWhole,
    removed: open.removed + rest.removed,
  };
}

/** Any other text of the session, as it may be kept. */
export function cleanAnswer(text: string, words: PrivateWords, { redact }: Cleaning): { text: string; removed: number } {
  const open = withoutPrivate(cleanText(text));
  words.remember(open.fragments);
  const rest = words.remove(open.text);
  return { text: capText(redact(rest.text).trim()), removed: open.removed + rest.removed };
}

/** Deeper values are left out: nothing that a tool takes is so deep. */
const DEPTH = 100;
/** What a model has made of a piece of work, as it may be kept: it was shown nothing private, but nobody vouches for what it writes. Empty ones go. */
export function cleanContents(contents: readonly Content[], { redact }: Cleaning): Content[] {
  const clean = contents.map((content) => mapTexts(content, (text) => redact(withoutPrivate(text).text)) as Content);
  return clean.filter(({ title, narrative, facts, summary }) =>
    [title, narrative, ...facts, ...Object.values(summary ?? {})].some((text) => text.trim() !== ""),
  );
}

const PATTERNS = 50;
const PATTERN_CHARACTERS = 2_000;
const PATHS = 100;
const PATH_CHARACTERS = 500;

/** Undefined where all of the call was private. */
export function makeCallItem(event: ToolFinish, session: SessionFacts, cleaning: Cleaning): WorkItem | undefined {
  const { source = { effect: "run", patterns: [] }, tool, state } = event;
  const { words } = session;
  const output = state.status === "completed" ? state.output : state.error;
  const paths = provenPaths(event, session.cwd);
  // One value: a tag that is opened in what a tool was given takes what it has answered, too.
  // Cleaned first: a terminal sequence in the name of a tag would hide it here, and be gone in what is kept.
  const open = withoutPrivateIn(mapTexts([event.input, source.patterns, output, paths.read, paths.modified], cleanText));
  words.remember(open.fragments);
  if (open.isWhole) return undefined;
  const [input, patterns, shown, read, modified] = mapTexts(words.removeIn(open.value).value, cleaning.redact) as [
    unknown,
    string[],
    string,
    string[],
    string[],
  ];
  const exit = state.metadata?.exit;
  const isOutside = isFromOutside({ tool, effect: source.effect, input: event.input, patterns: source.patterns, output }, session);
  const isOrder = givesOrders(shown ?? "") || givesOrders(JSON.stringify(input) ?? "");
  return {
    ...placeOf(session, `${session.sessionId}/${event.callId}`, event.at),
    kind: "call",
    callId: event.callId,
    trust: isOutside || isOrder ? "untrusted" : "trusted",
    call: {
      tool: cleanText(tool).slice(0, 100),
      effect: source.effect,
      patterns: textsOf(patterns, PATTERNS, PATTERN_CHARACTERS),
      input: capText(cleaning.redact(JSON.stringify(input) ?? "")),
      output: capText(cleaning.redact(shown ?? "")),
      status: state.status,
      ...(typeof exit === "number" && { exitCode: exit }),
      filesRead: textsOf(read, PATHS, PATH_CHARACTERS),
      filesModified: textsOf(modified, PATHS, PATH_CHARACTERS),
    },
  };
}

/** The end of a prompt. `at`: ms since 1970. */
export function makeEndItem(result: RunResult, at: number, { session, cleaning }: { session: SessionFacts; cleaning: Cleaning }): WorkItem {
  const answer = cleanAnswer(result.text, session.words, cleaning).text;
  return {
    ...placeOf(session, `${session.sessionId}/#${session.prompt}`, at),
    kind: "end",
    trust: session.hasOutside || givesOrders(answer) ? "untrusted" : "trusted",
    answer,
    status: result.status,
  };
}

function placeOf({ sessionId, prompt, request, agent, cwd }: SessionFacts, id: string, at: number) {
  const who = agent === undefined ? {} : { agent };
  return { id, sessionId, prompt, request, ...who, cwd, at, state: "pending" as const, attempts: 0 };
}

const textsOf = (texts: readonly unknown[], most: number, characters: number): string[] =>
  [
    ...new Set(
      (texts ?? []).filter((text): text is string => typeof text === "string" && text.trim() !== "").map((text) => capField(cleanText(text), characters)),
    ),
  ].slice(0, most);

/** Each string by itself: a key of several lines is found before JSON makes one line of them. */
export function mapTexts(value: unknown, change: (text: string) => string, depth = 0): unknown {
  if (typeof value === "string") return change(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [change(key), mapTexts(item, change, depth + 1)]));
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "" && value !== "*";

/**
 * The files that a call is known to have read and written: what it says of itself in its metadata (`filePath`, `files`), else,
 * of a tool that writes, what it was judged by. A call that failed has written nothing. A command proves nothing.
 */
export function provenPaths({ state, source }: Pick<ToolFinish, "state" | "source">, cwd: string): { read: string[]; modified: string[] } {
  if (state.status !== "completed" || source === undefined) return { read: [], modified: [] };
  const { filePath, files } = state.metadata ?? {};
  const listed = Array.isArray(files) ? files.flatMap((file) => (isText(file) ? [file] : [file?.path, file?.from])) : [];
  const named = [filePath, ...listed].filter(isText).map((path) => relativePath(path, cwd));
  if (source.effect === "read") return { read: named, modified: [] };
  if (source.effect !== "write") return { read: [], modified: [] };
  return { read: [], modified: named.length > 0 ? named : source.patterns.filter(isText).map((path) => relativePath(path, cwd)) };
}

/** Relative to the workspace where it lies in it; with `/` everywhere. */
function relativePath(path: string, cwd: string): string {
  const inner = isAbsolute(path) ? relative(cwd, path) : path;
  const isInside = inner !== "" && !inner.startsWith("..") && !isAbsolute(inner);
  return (isInside ? inner : path).replaceAll("\\", "/").replace(/^\.\//, "");
}
