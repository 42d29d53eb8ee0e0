import { AgentError, cleanText } from "agent-runtime";
import type { Clean } from "./entry.ts";
import type { Memory } from "./memory.ts";
import type { Observation } from "./observation.ts";
import type { WorkReport } from "./worker.ts";

/** What the commands of `agent memory` may use. */
export interface CommandNeeds {
  /** Where the command was typed; files are meant from there. */
  cwd: string;
  signal: AbortSignal;
  write(text: string): void;
  readStdin(): Promise<string>;
  /** The memory of this workspace, or of the project with this id. Whoever opens it closes it. */
  open(project?: string): Promise<Memory>;
  /** Ids of the projects that have a memory. */
  projects(): Promise<string[]>;
  /** Works off the queue of one project. */
  work(memory: Memory, options: WorkOptions): Promise<WorkReport>;
  clean: Clean;
  /** ms since 1970 */
  now(): number;
}

export interface WorkOptions {
  /** Pieces of work. */
  limit?: number | undefined;
  signal: AbortSignal;
}

export const invalid = (option: string, reason: string) => new AgentError("OPTION_INVALID", { option, reason });

/** Runs for one memory, or, with "*", for that of each project after the other. */
export async function withMemories<T>(project: string | undefined, needs: CommandNeeds, run: (memory: Memory) => Promise<T>): Promise<T[]> {
  const known = project === undefined ? [] : await needs.projects();
  const projects = project === "*" ? known : project === undefined ? [undefined] : [findProject(project, known)];
  const results: T[] = [];
  for (const id of projects) {
    needs.signal.throwIfAborted();
    const memory = await needs.open(id);
    try {
      results.push(await run(memory));
    } finally {
      await memory.close();
    }
  }
  return results;
}

export async function withMemory<T>(project: string | undefined, needs: CommandNeeds, run: (memory: Memory) => Promise<T>): Promise<T> {
  if (project === "*") throw invalid("--project", "it takes one project here: an id that agent memory stats --project '*' lists.");
  return (await withMemories(project, needs, run))[0] as T;
}

/** By its id, or by a beginning of it that only one has: the name of its folder. */
function findProject(name: string, known: string[]): string {
  const found = known.includes(name) ? [name] : known.filter((id) => id.startsWith(name));
  if (found.length === 1) return found[0] as string;
  const few = (found.length > 1 ? found : known).slice(0, 10).join(", ") || "none";
  throw invalid("--project", found.length > 1 ? `"${name}" may be any of ${few}.` : `no project "${name}" has a memory; there are: ${few}.`);
}

/** The one with this id, or with this beginning of one. Throws MEMORY_NOT_FOUND. */
export async function findObservation(id: string, memory: Memory): Promise<Observation> {
  const [observation] = await memory.get([id]);
  if (observation === undefined) throw new AgentError("MEMORY_NOT_FOUND", { id, project: memory.project });
  return observation;
}

export const writeJson = ({ write }: Pick<CommandNeeds, "write">, value: unknown): void => write(`${JSON.stringify(value, null, 2)}\n`);

/** Of lists: the fields that a machine can rely on. */
export function listed(observation: Observation, project: string) {
  const { id, type, title, subtitle, facts, narrative, concepts, filesRead, filesModified, createdAt, sessionId, callId, trust, source } = observation;
  const { supersededBy, conflictsWith } = observation;
  return {
    ...{
      id,
      type,
      title,
      subtitle,
      facts,
      narrative,
      concepts,
      filesRead,
      filesModified,
      createdAt,
      sessionId,
      callId: callId ?? null,
      project,
      trust,
      source,
    },
    ...(supersededBy !== undefined && { supersededBy }),
    ...(conflictsWith !== undefined && { conflictsWith }),
  };
}

export const formatTime = (at: number): string => (Math.abs(at) <= 8.64e15 ? new Date(at).toISOString().slice(0, 16).replace("T", " ") : "?");

/** On one line, without what steers a terminal. */
export const oneLine = (text: string): string => cleanText(text).replace(/\s+/g, " ").trim();

interface Row {
  observation: Observation;
  project?: string | undefined;
}

/** One line for each: when, what it is, id, title. */
export function formatRows(rows: Row[]): string {
  const width = Math.max(0, ...rows.map(({ observation }) => oneLine(observation.type).length));
  const projectWidth = Math.max(0, ...rows.map(({ project = "" }) => project.length));
  return rows
    .map(({ observation, project }) => {
      const { id, type, title, createdAt, trust, supersededBy, conflictsWith } = observation;
      const is = { untrusted: trust === "untrusted", superseded: supersededBy !== undefined, contradicted: conflictsWith !== undefined };
      const marks = Object.entries(is).map(([mark, holds]) => (holds ? `(${mark}) ` : ""));
      const place = project === undefined ? "" : `${project.padEnd(projectWidth)}  `;
      return `${place}${formatTime(createdAt)}  ${oneLine(type).padEnd(width)}  ${id}  ${marks.join("")}${oneLine(title) || oneLine(observation.narrative).slice(0, 100)}\n`;
    })
    .join("");
}
