import { realpath } from "node:fs/promises";
import { AgentError, type Message } from "agent-runtime";
import { type Entry, type SessionMeta, type Sessions, stepOf, type UndoReport, undoChanges, withoutControls, withoutFence } from "agent-runtime/host";

export interface SessionCommandContext {
  cwd: string;
  sessions: Sessions;
  write(text: string): void;
  redact(text: string): string;
}

type Content = Exclude<Message["content"], string>[number];
type ToolCall = Extract<Content, { type: "tool-call" }>;
type ToolResult = Extract<Content, { type: "tool-result" }>;
type Output = ToolResult["output"];

/** `agent session list [--json] | show ID | undo [ID] | delete ID | export ID`. Resolves to the exit code; throws AgentErrors. */
export const sessionCommand = {
  name: "session",
  description: `List, show, undo, delete or export sessions.

undo puts the files that the tools of a session changed back: of the newest
session of this workspace, or of the one with this ID. With --to they are as
they were after that step (session show numbers them) or message. --dry-run only
says what would be done; --force also takes back what others changed since.`,
  usage: [
    "session list [--json]",
    "session show ID",
    "session undo [ID] [--to STEP|MESSAGE_ID] [--dry-run] [--force]",
    "session delete ID",
    "session export ID",
  ],
  async run(words: string[], context: SessionCommandContext): Promise<number> {
    const [action = "list", ...rest] = words;
    if (action === "list") return listSessions(rest, context);
    if (action === "show") return showSession(readId(action, rest), context);
    if (action === "undo") return undoSession(readUndo(rest), context);
    if (action === "delete") return deleteSession(readId(action, rest), context);
    if (action === "export") return exportSession(readId(action, rest), context);
    throw new AgentError("OPTION_UNKNOWN", { what: "session command", name: action, suggestion: "Use list, show, undo, delete or export. " });
  },
};

async function listSessions(words: string[], { sessions, write, redact }: SessionCommandContext): Promise<number> {
  const unknown = words.find((word) => word !== "--json");
  if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: "Use session list [--json]. " });
  const metas = await sessions.list();
  if (words.includes("--json")) {
    const rows = metas.map(({ id, title, createdAt, updatedAt, cwd, steps, costUsd }) => ({
      id,
      title,
      createdAt,
      updatedAt,
      cwd,
      steps,
      cost: costUsd ?? null,
    }));
    write(`${redact(JSON.stringify(rows, null, 2))}\n`);
    return 0;
  }
  for (const meta of metas) write(`${redact(withoutControls(`${meta.id}  ${formatTime(meta.updatedAt)}  ${meta.title || "(no title)"}  ${meta.cwd}`))}\n`);
  return 0;
}

async function showSession(id: string, { sessions, write, redact }: SessionCommandContext): Promise<number> {
  const { meta, entries } = await sessions.read(id);
  const cost = meta.costUsd === undefined ? "" : `, ${meta.costUsd.toFixed(4)} USD`;
  write(redact(withoutControls(`${meta.title || "(no title)"}\n${meta.id}, ${formatTime(meta.updatedAt)}, ${meta.cwd}\n${meta.steps} steps${cost}\n`)));
  for (const entry of entries) write(redact(withoutControls(`\n${showEntry(entry)}\n`)));
  return 0;
}

interface UndoChoice {
  id?: string;
  to?: string;
  dryRun: boolean;
  force: boolean;
}

function readUndo(words: string[]): UndoChoice {
  const choice: UndoChoice = { dryRun: false, force: false };
  const waiting = [...words];
  for (let word = waiting.shift(); word !== undefined; word = waiting.shift()) {
    if (word === "--dry-run") choice.dryRun = true;
    else if (word === "--force") choice.force = true;
    else if (word === "--to" || word.startsWith("--to=")) choice.to = readValue("--to", word === "--to" ? waiting.shift() : word.slice("--to=".length));
    else if (word.startsWith("-") || choice.id !== undefined)
      throw new AgentError("OPTION_UNKNOWN", {
        what: "option",
        name: word,
        suggestion: "Use session undo [ID] [--to STEP|MESSAGE_ID] [--dry-run] [--force]. ",
      });
    else choice.id = word;
  }
  return choice;
}

function readValue(option: string, value: string | undefined): string {
  if (!value) throw new AgentError("OPTION_INVALID", { option, reason: "it needs a value." });
  return value;
}

async function undoSession(choice: UndoChoice, { sessions, cwd, write, redact }: SessionCommandContext): Promise<number> {
  const id = choice.id ?? (await sessions.newest(await realpath(cwd).catch(() => cwd)));
  if (id === undefined) throw new AgentError("SESSION_NOT_FOUND", { id: "of this workspace to undo" });
  const say = (line: string) => write(`${redact(withoutControls(line))}\n`);
  const session = await sessions.open(id);
  try {
    const { parentId } = session.meta;
    if (parentId !== undefined && session.snapshots?.changes().length === 0)
      throw new AgentError("OPTION_INVALID", { option: "session undo", reason: `${id} is a task of ${parentId}, which keeps what it changed; undo that one.` });
    const afterStep = choice.to === undefined ? -1 : stepOf(choice.to, session.meta, (await sessions.read(id)).log());
    return tellUndo(await undoChanges(session, { ...choice, afterStep }), choice, say);
  } catch (error) {
    if (error instanceof AgentError && error.code === "UNDO_CONFLICT") for (const path of error.data.paths as string[]) say(`changed since: ${path}`);
    throw error;
  } finally {
    await session.close();
  }
}

/** Exit code 1 where something stays as it is. */
function tellUndo({ files, left, unseen }: UndoReport, { dryRun }: UndoChoice, say: (line: string) => void): number {
  if (files.length + left.length + unseen.length === 0) say("Nothing to undo.");
  for (const { path, action } of files) say(`${dryRun ? "would be " : ""}${action} ${path}`);
  for (const { path, reason } of left) say(`left as it is: ${path} (${reason})`);
  for (const { step, reason } of unseen) say(`not recorded: what commands of step ${step} changed (${reason})`);
  const count = (action: string) => files.filter((file) => file.action === action).length;
  if (files.length > 0) say(`${dryRun ? "Would restore" : "Restored"} ${count("restored")} and ${dryRun ? "remove" : "removed"} ${count("removed")}.`);
  return left.length + unseen.length > 0 ? 1 : 0;
}

async function deleteSession(id: string, { sessions, write }: SessionCommandContext): Promise<number> {
  await sessions.delete(id);
  write(`Deleted ${id}.\n`);
  return 0;
}

/** opencode's export: `{ info, messages: [{ info, parts }] }`, with what compaction took out; results stand in the call they answer. */
async function exportSession(id: string, { sessions, write, redact }: SessionCommandContext): Promise<number> {
  const { meta, log } = await sessions.read(id);
  const entries = log();
  const results = new Map(entries.flatMap((entry) => resultsOf(entry).map((result) => [result.toolCallId, { result, at: entry.at }] as const)));
  const messages = entries.filter(({ message }) => message.role !== "tool").map((entry) => exportEntry(entry, meta, results));
  write(`${redact(JSON.stringify({ info: exportMeta(meta), messages }, null, 2))}\n`);
  return 0;
}

function readId(action: string, [id, ...more]: string[]): string {
  if (id !== undefined && more.length === 0 && !id.startsWith("-")) return id;
  throw new AgentError("OPTION_INVALID", { option: `session ${action}`, reason: "it takes the id of one session." });
}

const formatTime = (at: number): string => new Date(at).toISOString().slice(0, 16).replace("T", " ");

function showEntry({ message, model, step }: Entry): string {
  if (message.role === "system") return `system\n${message.content}`;
  const author = message.role === "assistant" && model !== undefined ? `assistant (${model})` : message.role;
  const title = step === undefined ? author : `${author}, step ${step}`;
  return [title, ...message.content.map(showPart)].join("\n");
}

function showPart(part: Content): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "reasoning":
      return `(thinks) ${part.text}`;
    case "file":
      return `[file ${part.filename ?? ""} ${part.mediaType}]`;
    case "tool-call":
      return `[${part.toolName} ${JSON.stringify(part.input)}]`;
    case "tool-result":
      return `[result of ${part.toolName}]\n${outputText(part.output)}`;
    case "tool-approval-response":
      return part.approved ? "[approved]" : "[not approved]";
    default:
      part satisfies never;
      return "";
  }
}

function outputText(output: Output): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return withoutFence(output.value);
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "denied";
    case "content":
      return output.value.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join("\n");
    default:
      output satisfies never;
      return "";
  }
}

const isError = ({ type }: Output): boolean => type === "error-text" || type === "error-json" || type === "execution-denied";

const resultsOf = ({ message }: Entry): ToolResult[] =>
  message.role === "tool" ? message.content.filter((part): part is ToolResult => part.type === "tool-result") : [];

function exportMeta({ id, title, cwd, parentId, createdAt, updatedAt }: SessionMeta) {
  return { id, directory: cwd, ...(parentId !== undefined && { parentID: parentId }), title, time: { created: createdAt, updated: updatedAt } };
}

type Results = Map<string, { result: ToolResult; at: number }>;

function exportEntry(entry: Entry, { id: sessionID, cwd }: SessionMeta, results: Results) {
  const { id, at, model = "", message } = entry;
  const slash = model.indexOf("/");
  const who = { providerID: model.slice(0, Math.max(slash, 0)), modelID: model.slice(slash + 1) };
  const info = { id, sessionID, role: message.role, time: { created: at }, ...(message.role === "assistant" && { ...who, path: { cwd, root: cwd } }) };
  const content: Content[] = message.role === "system" ? [{ type: "text", text: message.content }] : message.content;
  const parts = content.map((part, index) => ({ id: partId(id, index), sessionID, messageID: id, ...exportPart(part, at, results) }));
  return { info, parts };
}

const partId = (messageId: string, index: number): string => `prt_${messageId.replace(/^[a-z]+_/, "")}${String(index).padStart(4, "0")}`;

function exportPart(part: Content, at: number, results: Results) {
  switch (part.type) {
    case "text":
    case "reasoning":
      return { type: part.type, text: part.text, time: { start: at, end: at } };
    case "file":
      return { type: "file", mime: part.mediaType, ...(part.filename !== undefined && { filename: part.filename }), url: fileUrl(part.data, part.mediaType) };
    case "tool-call":
      return { type: "tool", tool: part.toolName, callID: part.toolCallId, state: exportCall(part, at, results.get(part.toolCallId)) };
    default:
      return { type: part.type };
  }
}

function fileUrl(data: Uint8Array | string | URL, mediaType: string): string {
  if (data instanceof URL) return data.href;
  return `data:${mediaType};base64,${typeof data === "string" ? data : Buffer.from(data).toString("base64")}`;
}

function exportCall({ input, toolName }: ToolCall, start: number, answer: { result: ToolResult; at: number } | undefined) {
  if (!answer) return { status: "pending", input };
  const text = outputText(answer.result.output);
  const time = { start, end: answer.at };
  if (isError(answer.result.output)) return { status: "error", input, error: text, time };
  return { status: "completed", input, output: text, title: toolName, metadata: {}, time };
}
