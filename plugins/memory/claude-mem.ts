import { copyFile, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "agent-runtime";
import { parseJson, titleOf } from "./entry.ts";
import type { Summary } from "./observation.ts";
import { toSummaryContent } from "./reply.ts";

type Row = Record<string, unknown>;

/** What claude-mem keeps, as its database and its export call it. Which columns there are depends on its version. */
export interface ClaudeMem {
  observations: Row[];
  summaries: Row[];
  prompts: Row[];
  sessions: Row[];
}

export const SQLITE_MAGIC = "SQLite format 3\0";

const TABLES = { observations: "observations", summaries: "session_summaries", prompts: "user_prompts", sessions: "sdk_sessions" } as const;

/** The tables of a database. Read from a copy, with its write-ahead log: nothing beside the original is made, changed or locked. */
export async function readClaudeMemDatabase(path: string): Promise<ClaudeMem> {
  const dir = await mkdtemp(join(tmpdir(), "agent-memory-import-"));
  try {
    const copy = await copyDatabase(path, dir);
    const { default: sqlite } = await import("node-sqlite3-wasm");
    const database = new sqlite.Database(copy);
    try {
      // Without it the log would need shared memory, which this build of SQLite has not.
      database.exec("PRAGMA locking_mode = exclusive");
      const tables = new Set(database.all("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").map(({ name }) => String(name)));
      if (!tables.has(TABLES.observations)) throw new Error("it has no table of observations.");
      const read = (table: string): Row[] => (tables.has(table) ? database.all(`SELECT * FROM ${table} ORDER BY rowid`).map(plainRow) : []);
      return { observations: read(TABLES.observations), summaries: read(TABLES.summaries), prompts: read(TABLES.prompts), sessions: read(TABLES.sessions) };
    } finally {
      database.close();
    }
  } catch (error) {
    throw new AgentError(
      "IMPORT_REFUSED",
      { file: path, reason: `as a database of claude-mem it cannot be read: ${(error as Error).message}` },
      { cause: error },
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const COPY_ATTEMPTS = 5;

/** Again where claude-mem has written meanwhile: database and log have to be of one moment. */
async function copyDatabase(path: string, dir: string): Promise<string> {
  const files = ["", "-wal"];
  const copy = join(dir, "copy.db");
  for (let attempt = 0; attempt < COPY_ATTEMPTS; attempt++) {
    const before = await Promise.all(files.map((end) => stateOf(path + end)));
    for (const [index, end] of files.entries()) {
      await rm(copy + end, { force: true });
      if (before[index] !== "") await copyFile(path + end, copy + end);
    }
    const after = await Promise.all(files.map((end) => stateOf(path + end)));
    if (before.join() === after.join()) return copy;
  }
  throw new Error("it is written to all the time; stop claude-mem first.");
}

async function stateOf(path: string): Promise<string> {
  const state = await stat(path, { bigint: true }).catch(() => undefined);
  return state === undefined ? "" : `${state.ino} ${state.size} ${state.mtimeNs}`;
}

const plainRow = (row: object): Row =>
  Object.fromEntries(
    Object.entries(row).flatMap(([name, value]) =>
      value === null || value instanceof Uint8Array ? [] : [[name, typeof value === "bigint" ? Number(value) : value]],
    ),
  );

/** Whether a JSON object is claude-mem's export. */
export function readClaudeMemExport(value: Row): ClaudeMem | undefined {
  const rows = (list: unknown): Row[] => (Array.isArray(list) ? list.filter((row) => typeof row === "object" && row !== null) : []);
  if (!Array.isArray(value.observations) || !["summaries", "sessions", "prompts", "totalObservations"].some((key) => key in value)) return undefined;
  return { observations: rows(value.observations), summaries: rows(value.summaries), prompts: rows(value.prompts), sessions: rows(value.sessions) };
}

export interface ClaudeMemChoice {
  /** Only what belongs to this project of claude-mem. */
  project?: string | undefined;
  /** What was asked becomes observations of their own, too. */
  prompts?: boolean | undefined;
}

export interface ClaudeMemEntries {
  entries: Row[];
  /** Rows that say nothing, and prompts that were not wanted. */
  empty: number;
  prompts: number;
  /** How many entries each project has. */
  projects: Record<string, number>;
}

/** Entries as `readEntry` takes them, in the order of time. */
export function entriesOf(memory: ClaudeMem, choice: ClaudeMemChoice): ClaudeMemEntries {
  const sessions = readSessions(memory.sessions);
  const requests = new Map(memory.prompts.map((row) => [`${sessionOf(row, sessions)}\n${row.prompt_number}`, row.prompt_text]));
  const isChosen = (row: Row) => choice.project === undefined || projectOf(row, sessions) === choice.project;
  const prompts = memory.prompts.filter(isChosen);
  const kinds: [Row[], (row: Row) => Row | undefined][] = [
    [choice.prompts ? prompts : [], promptEntry],
    [memory.observations.filter(isChosen), observationEntry],
    [memory.summaries.filter(isChosen), summaryEntry],
  ];
  const rows = kinds.flatMap(([list, entryOf]) => list.map((row) => ({ row, entry: entryOf(row) })));
  const said: Row[] = rows.flatMap(({ row, entry }) => {
    const request = requests.get(`${sessionOf(row, sessions)}\n${row.prompt_number}`);
    const session = sessionOf(row, sessions);
    return entry === undefined ? [] : [{ ...entry, ...(session !== "" && { session }), ...(request !== entry.narrative && { request }), ...timeOf(row) }];
  });
  const projects: Record<string, number> = {};
  for (const { row } of rows) projects[projectOf(row, sessions)] = (projects[projectOf(row, sessions)] ?? 0) + 1;
  const entries = said.sort((a, b) => Number(a.createdAt ?? 0) - Number(b.createdAt ?? 0));
  return { entries, empty: rows.length - said.length, prompts: choice.prompts ? 0 : prompts.length, projects };
}

interface SessionRow {
  /** Of the host, by which all that belongs together is found. */
  id: string;
  project: string;
}

const text = (value: unknown): string => (typeof value === "string" ? value.trim() : "");
const memorySessionOf = (row: Row): string => text(row.memory_session_id) || text(row.sdk_session_id);
const hostSessionOf = (row: Row): string => text(row.content_session_id) || text(row.claude_session_id);

function readSessions(rows: Row[]): Map<string, SessionRow> {
  const sessions = new Map<string, SessionRow>();
  for (const row of rows) {
    const id = hostSessionOf(row) || memorySessionOf(row);
    for (const key of [memorySessionOf(row), hostSessionOf(row)]) if (key !== "") sessions.set(key, { id, project: text(row.project) });
  }
  return sessions;
}

function sessionOf(row: Row, sessions: Map<string, SessionRow>): string {
  const own = hostSessionOf(row) || memorySessionOf(row);
  return sessions.get(own)?.id ?? own;
}

const projectOf = (row: Row, sessions: Map<string, SessionRow>): string =>
  text(row.project) || (sessions.get(hostSessionOf(row) || memorySessionOf(row))?.project ?? "");

/** Epochs are ms; one that is missing or no number gives way to the text beside it. */
function timeOf({ created_at_epoch: epoch, created_at: written }: Row): Row {
  const time = typeof epoch === "number" && epoch > 0 ? epoch : text(written) !== "" ? Date.parse(text(written)) : Number.NaN;
  return Number.isNaN(time) ? {} : { createdAt: time };
}

const SESSION_KEYS = ["memory_session_id", "sdk_session_id", "content_session_id", "claude_session_id", "created_at", "created_at_epoch"];
const without = (row: Row, keys: string[]): Row => Object.fromEntries(Object.entries(row).filter(([key]) => !keys.includes(key)));

/** A row that only has facts is called after the first. */
function observationEntry(row: Row): Row | undefined {
  if (text(row.title) || text(row.narrative) || text(row.text)) return without(row, SESSION_KEYS);
  const facts = parseJson(text(row.facts)) ?? row.facts;
  const [first] = [text(row.subtitle), ...(Array.isArray(facts) ? facts.map(text) : [text(facts)])].filter((line) => line !== "");
  return first === undefined ? undefined : { ...without(row, SESSION_KEYS), title: first };
}

const PARTS = { request: "request", investigated: "investigated", learned: "learned", completed: "completed", next_steps: "nextSteps", notes: "notes" };

function summaryEntry(row: Row): Row | undefined {
  const summary = Object.fromEntries(Object.entries(PARTS).map(([column, name]) => [name, text(row[column])])) as Summary;
  if (Object.values(summary).every((part) => part === "")) return undefined;
  const { filesRead, filesModified, ...content } = toSummaryContent(summary);
  const rest = without(row, [...SESSION_KEYS, ...Object.keys(PARTS), "files_edited"]);
  return { ...rest, ...content, ...(row.files_edited !== undefined && { filesModified: row.files_edited }) };
}

function promptEntry(row: Row): Row | undefined {
  const asked = text(row.prompt_text);
  if (asked === "") return undefined;
  return { ...without(row, [...SESSION_KEYS, "prompt_text"]), type: "prompt", title: titleOf(asked), narrative: asked, importance: 0.2 };
}
