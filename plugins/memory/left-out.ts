import { isAbsolute, relative, resolve } from "node:path";
import { matchesWildcard } from "agent-runtime";

/** Why something is not remembered; counted, and shown by `agent memory stats`. */
export type LeftOut =
  /** The call has no tool. */
  | "no tool"
  /** A tool that does nothing worth remembering. */
  | "tool"
  /** The option `skipTools` names it. */
  | "option"
  /** A tool of the memory, or a file of it. */
  | "memory"
  /** All of it is private, or its prompt is. */
  | "private"
  /** It was refused before it ran. */
  | "not made"
  /** It has shown next to nothing: a directory, no match. */
  | "low value"
  /** The end of a child session, whose answer its parent's call holds. */
  | "child session"
  /** There is neither a prompt nor an answer. */
  | "empty"
  /** The same again. */
  | "duplicate";

/** What is asked of a call before a piece of work is made of it. */
export interface CallFacts {
  tool: string;
  input: unknown;
  state: { status: "completed"; output: string; metadata: Record<string, unknown> } | { status: "error"; error: string };
  /** Absent where the call was not made. */
  source?: { effect: string; patterns: string[] } | undefined;
}

export interface LeftOutPlace {
  cwd: string;
  /** The memory's own directory. */
  memoryDir: string;
  skipTools: readonly string[];
  /** All of the prompt was private. */
  isPrivatePrompt: boolean;
}

/** Lists, questions, and wrappers whose calls have their own events. Of other agents too: their sessions are replayed. */
const NEVER = ["todoread", "todowrite", "question", "batch", "skill", "list", "glob", "bash_kill", "askuserquestion", "slashcommand", "listmcpresourcestool"];
const OWN = /^memory_(?:search|timeline|get|save|forget)$/;

/** Commands that show where one is. Alone, without a pipe or a redirect. */
const LOW_COMMAND = new RegExp(
  `^\\s*(?:${[
    ...["pwd", "ls", "ll", "cd", "clear", "whoami", "true", "which"],
    ...["git\\s+status", "git\\s+branch", "node\\s+(?:-v|--version)", "npm\\s+(?:-v|--version)"],
  ].join("|")})(?:\\s[^|;&><\`$\\n]*)?$`,
);

type Check = (facts: CallFacts) => boolean;

/** Of a tool that has run: whether it has shown next to nothing. */
const LOW: Record<string, Check> = {
  read: ({ state }) => (state.status === "completed" ? state.metadata.entries !== undefined : true),
  grep: ({ state }) => state.status === "error" || state.metadata.matches === 0,
  bash: ({ input, state }) => state.status === "completed" && state.metadata.exit === 0 && LOW_COMMAND.test(textOf(input, "command")),
  bash_output: ({ state }) => state.status === "error" || state.output.trim() === "",
};

const textOf = (input: unknown, key: string): string => {
  const value = typeof input === "object" && input !== null ? (input as Record<string, unknown>)[key] : undefined;
  return typeof value === "string" ? value : "";
};

/** Why a call is not remembered; undefined where it is. */
export function findLeftOut(facts: CallFacts, place: LeftOutPlace): LeftOut | undefined {
  const { tool, source } = facts;
  if (typeof tool !== "string" || tool.trim() === "") return "no tool";
  if (OWN.test(tool) || isOfMemory(facts, place)) return "memory";
  if (NEVER.includes(tool.toLowerCase())) return "tool";
  if (place.skipTools.some((pattern) => matchesWildcard(tool, pattern))) return "option";
  if (place.isPrivatePrompt) return "private";
  if (source === undefined) return "not made";
  return (Object.hasOwn(LOW, tool) && LOW[tool]?.(facts)) === true ? "low value" : undefined;
}

/** Whether it reads, changes or names the memory's own files. */
function isOfMemory({ tool, input, source }: CallFacts, { cwd, memoryDir }: LeftOutPlace): boolean {
  const isInside = (path: string) => {
    const inner = relative(memoryDir, resolve(cwd, path));
    return inner === "" || (!isAbsolute(inner) && inner !== ".." && !inner.startsWith("../") && !inner.startsWith("..\\"));
  };
  if (tool === "bash") return textOf(input, "command").includes(memoryDir);
  const paths = [textOf(input, "filePath"), textOf(input, "path"), ...(source?.effect === "net" ? [] : (source?.patterns ?? []))];
  return paths.some((path) => path !== "" && path !== "*" && path.length < 4096 && isInside(path));
}

export interface EndFacts {
  /** Set where it is a child session. */
  parentId?: string | undefined;
  /** Without what is private. */
  request: string;
  answer: string;
  isPrivatePrompt: boolean;
}

/** Why the end of a prompt is not remembered; undefined where it is. */
export function findEndLeftOut({ parentId, request, answer, isPrivatePrompt }: EndFacts): LeftOut | undefined {
  if (isPrivatePrompt) return "private";
  if (parentId !== undefined) return "child session";
  // A block that a host has put in, and no word of a person.
  if (/^\s*<task-notification>[\s\S]*<\/task-notification>\s*$/.test(request) && request.length <= 256 * 1024) return "empty";
  return answer.trim() === "" ? "empty" : undefined;
}

export interface Duplicates {
  /** Whether this call was there already. Calls without an id never were. */
  hasCall(sessionId: string, callId: string): boolean;
  /** Whether the same text was there within 10 s. */
  hasPrompt(sessionId: string, text: string, at: number): boolean;
  /** Of a session that is over. */
  forget(sessionId: string): void;
}

const SAME_PROMPT_MS = 10_000;

export function createDuplicates(): Duplicates {
  const calls = new Map<string, Set<string>>();
  const prompts = new Map<string, { text: string; at: number }>();
  return {
    hasCall(sessionId, callId) {
      if (callId === "") return false;
      const known = calls.get(sessionId) ?? new Set();
      calls.set(sessionId, known);
      if (known.has(callId)) return true;
      known.add(callId);
      return false;
    },
    hasPrompt(sessionId, text, at) {
      const last = prompts.get(sessionId);
      prompts.set(sessionId, { text, at });
      return last !== undefined && last.text === text && at - last.at < SAME_PROMPT_MS;
    },
    forget(sessionId) {
      calls.delete(sessionId);
      prompts.delete(sessionId);
    },
  };
}
