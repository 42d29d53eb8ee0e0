import { readFile, stat } from "node:fs/promises";
import { AgentError } from "agent-runtime";
import { type ClaudeMem, type ClaudeMemChoice, entriesOf, readClaudeMemDatabase, readClaudeMemExport, SQLITE_MAGIC } from "./claude-mem.ts";
import { type Entry, type EntryContext, parseJson, readEntry } from "./entry.ts";
import { JSON_FORMAT, JSON_VERSION } from "./export.ts";
import { MARKDOWN_MARK, readMarkdown } from "./markdown.ts";
import { readNotes } from "./notes.ts";
import { type Observation, observationId } from "./observation.ts";

export interface ImportRequest extends Omit<EntryContext, "at">, ClaudeMemChoice {
  /** The file. */
  path: string;
  /** What stands in it, where it was not read from there: of stdin. */
  text?: string | undefined;
  /** Now, in ms since 1970. */
  now: number;
}

export interface ImportedFile {
  kind: "agent-memory" | "entries" | "claude-mem" | "notes";
  /** In the order of the file. */
  observations: Observation[];
  /** Entries that cannot be used, by their place in the file, from 0. */
  bad: { index: number; reason: string }[];
  /** Entries of which nothing was left without private text. */
  private: number;
  /** Entries that say word by word what one before them says, or nothing at all. */
  repeated: number;
  /** Of claude-mem: prompts that were left out, and how many entries each project has. */
  prompts?: number;
  projects?: Record<string, number>;
}

type Values = Pick<ImportedFile, "kind" | "prompts" | "projects"> & { values: unknown[]; empty?: number; at?: number };

/** Reads a file whose form it finds out. Nothing is stored. Throws IMPORT_REFUSED and FILE_NOT_FOUND. */
export async function readImport(request: ImportRequest): Promise<ImportedFile> {
  const { values, empty = 0, at = request.now, ...about } = await readValues(request);
  const bad: ImportedFile["bad"] = [];
  const entries: Exclude<Entry, { fault: string } | { private: true }>[] = [];
  let hidden = 0;
  for (const [index, value] of values.entries()) {
    const entry = readEntry(value, { ...request, at: at - values.length });
    if ("fault" in entry) bad.push({ index, reason: entry.fault });
    else if ("private" in entry) hidden++;
    else entries.push(entry);
  }
  const observations = withoutRepeated(inFileOrder(entries));
  return { ...about, observations, bad, private: hidden, repeated: entries.length - observations.length + empty };
}

async function readValues(request: ImportRequest): Promise<Values> {
  const { path } = request;
  const bytes = request.text === undefined ? await readBytes(path) : Buffer.from(request.text);
  if (bytes.toString("latin1", 0, SQLITE_MAGIC.length) === SQLITE_MAGIC) return claudeMemValues(await readClaudeMemDatabase(path), request);
  const text = decode(bytes, path);
  if (/^\s*[[{]/.test(text) || (/\.jsonl?$/i.test(path) && text.trim() !== "")) return readJsonValues(parse(text, path), request);
  if (text.split("\n", 20).some((line) => line.trim() === MARKDOWN_MARK)) return { kind: "agent-memory", values: readMarkdown(text) };
  const newer = /^<!-- agent-memory (\d+) -->\s*$/m.exec(text.slice(0, 1000))?.[1];
  if (newer !== undefined) throw newerVersion(path, newer);
  const changed = request.text === undefined ? await stat(path) : undefined;
  return { kind: "notes", values: readNotes(text), ...(changed && { at: Math.min(request.now, Math.round(changed.mtimeMs)) }) };
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    const stats = await stat(path);
    // Opening a pipe waits for a writer, and nothing can end that.
    if (!stats.isFile() && !stats.isDirectory()) throw new Error("it is no regular file; what a pipe brings is taken from stdin: agent memory import -");
    return await readFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = { ENOENT: "there is none.", EISDIR: "it is a folder.", EACCES: "it may not be read." };
    throw new AgentError("FILE_NOT_FOUND", { path, option: "memory import", reason: reasons[code ?? ""] ?? message }, { cause: error });
  }
}

function decode(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new AgentError("IMPORT_REFUSED", { file: path, reason: "it is neither text in UTF-8 nor a database of SQLite." });
  }
}

/** JSON, or one object a line. */
function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const values = text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [parseJson(line)]));
    if (values.length > 1 && values.every((value) => typeof value === "object" && value !== null)) return values;
    throw new AgentError("IMPORT_REFUSED", { file: path, reason: `it should be JSON, and is none: ${(error as Error).message}` }, { cause: error });
  }
}

function readJsonValues(value: unknown, request: ImportRequest): Values {
  if (Array.isArray(value)) return { kind: "entries", values: value };
  const file = value as Record<string, unknown>;
  if (file.format === JSON_FORMAT && typeof file.version === "number" && file.version > JSON_VERSION) throw newerVersion(request.path, file.version);
  if (file.format === JSON_FORMAT && Array.isArray(file.observations)) return { kind: "agent-memory", values: file.observations };
  const claudeMem = readClaudeMemExport(file);
  if (claudeMem !== undefined) return claudeMemValues(claudeMem, request);
  if (Array.isArray(file.observations)) return { kind: "entries", values: file.observations };
  throw new AgentError("IMPORT_REFUSED", { file: request.path, reason: "it is JSON of no form that is known: write an array of entries." });
}

const newerVersion = (file: string, version: unknown) =>
  new AgentError("IMPORT_REFUSED", { file, reason: `it was written by a newer version (form ${version}). Update agent-runtime.` });

function claudeMemValues(memory: ClaudeMem, request: ImportRequest): Values {
  const { entries, ...about } = entriesOf(memory, request);
  return { kind: "claude-mem", values: entries, ...about };
}

/**
 * What stands in one order in the file stays in it wherever time decides: of entries of a session with the same time each is a
 * millisecond later than the one before, and one without a time follows its neighbour.
 */
function inFileOrder(entries: Exclude<Entry, { fault: string } | { private: true }>[]): Observation[] {
  const last = new Map<string, number>();
  const taken = new Map<string, Set<number>>();
  const next = new Map<string, number>();
  return entries.map(({ observation, time }) => {
    const { sessionId } = observation;
    const wanted = time === "none" ? (last.get(sessionId) ?? observation.createdAt) : observation.createdAt;
    const used = taken.get(sessionId) ?? new Set();
    let createdAt = time === "ours" ? wanted : (next.get(`${sessionId}\n${wanted}`) ?? wanted);
    while (time !== "ours" && used.has(createdAt)) createdAt++;
    next.set(`${sessionId}\n${wanted}`, createdAt + 1);
    last.set(sessionId, createdAt);
    taken.set(sessionId, used.add(createdAt));
    return { ...observation, createdAt };
  });
}

/** Two entries of the same words that differ in what else they say are two. */
function withoutRepeated(observations: Observation[]): Observation[] {
  const saying = new Map<string, string>();
  return observations.flatMap((observation) => {
    const { facts, subtitle, filesRead, filesModified, concepts, summary, extra } = observation;
    const said = JSON.stringify([subtitle, facts, filesRead, filesModified, concepts, summary, extra]);
    const other = saying.get(observation.id);
    if (other === undefined) {
      saying.set(observation.id, said);
      return [observation];
    }
    const id = observationId({ ...observation, narrative: `${observation.narrative}\n${said}` });
    if (other === said || saying.has(id)) return [];
    saying.set(id, said);
    return [{ ...observation, id }];
  });
}
