import { randomBytes } from "node:crypto";
import { link, lstat, open, rename, rm } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { type CommandNeeds, invalid, withMemory, writeJson } from "./command-needs.ts";
import { EXPORT_FORMATS, type ExportFormat, formatExport } from "./export.ts";
import { type ImportedFile, readImport } from "./import.ts";
import type { Filter } from "./memory.ts";

export interface ExportOptions extends Filter {
  project?: string | undefined;
  format?: string | undefined;
  force?: boolean | undefined;
  json?: boolean | undefined;
}

/** `agent memory export [FILE]`: to stdout without a file. */
export async function exportMemory(file: string | undefined, options: ExportOptions, needs: CommandNeeds): Promise<number> {
  const { project, format: named, force = false, json, ...filter } = options;
  const format = readFormat(named ?? (file !== undefined && /\.(md|markdown)$/i.test(file) ? "markdown" : "json"));
  const observations = await withMemory(project, needs, (memory) => memory.list(filter));
  const text = formatExport(observations, format);
  if (file === undefined || file === "-") {
    needs.write(text);
    return 0;
  }
  await writeNew(resolve(needs.cwd, file), text, force);
  if (json) writeJson(needs, { file, format, observations: observations.length });
  else needs.write(`${observations.length} observations are in ${file}.\n`);
  return 0;
}

function readFormat(name: string): ExportFormat {
  const format = EXPORT_FORMATS.find((known) => known === name || (name === "md" && known === "markdown"));
  if (format === undefined) throw invalid("--format", `write ${EXPORT_FORMATS.join(" or ")}.`);
  return format;
}

/** Whole or not at all, for its owner alone; never through a link, and over another file with `force` only. */
async function writeNew(path: string, text: string, force: boolean): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined && !there.isFile()) throw invalid("memory export", `${path} is no regular file; name another one.`);
  if (there !== undefined && !force) throw invalid("memory export", `${path} is there already; --force overwrites it.`);
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString("hex")}`);
  try {
    const handle = await open(draft, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link fails where somebody has put something there meanwhile; renaming takes the place of a link, and does not follow it.
    await (force ? rename(draft, path) : link(draft, path));
  } catch (error) {
    throw new AgentError("OPTION_INVALID", { option: "memory export", reason: `${path} cannot be written: ${(error as Error).message}` }, { cause: error });
  } finally {
    await rm(draft, { force: true });
  }
}

export interface ImportOptions {
  project?: string | undefined;
  json?: boolean | undefined;
  untrusted?: boolean | undefined;
  skipBad?: boolean | undefined;
  dryRun?: boolean | undefined;
  /** Of claude-mem's. */
  fromProject?: string | undefined;
  prompts?: boolean | undefined;
}

/** Observations that one write of the store holds. */
const BATCH = 500;

/** `agent memory import FILE`: all of it is read and looked at before anything is stored. */
export async function importMemory(file: string, options: ImportOptions, needs: CommandNeeds): Promise<number> {
  const path = resolve(needs.cwd, file);
  const near = relative(needs.cwd, path);
  const from = file === "-" ? "stdin" : near.startsWith("..") || isAbsolute(near) ? path : near;
  const read = await readImport({
    ...{ path: file === "-" ? "stdin" : path, from, now: needs.now(), clean: needs.clean, project: options.fromProject, prompts: options.prompts },
    ...(file === "-" && { text: await needs.readStdin() }),
    ...(options.untrusted && { trust: "untrusted" as const }),
  });
  if (read.bad.length > 0 && !options.skipBad) throw refuse(file, read);
  return withMemory(options.project, needs, async (memory) => {
    let added = 0;
    for (let at = 0; at < read.observations.length && !options.dryRun; at += BATCH) {
      needs.signal.throwIfAborted();
      added += (await memory.add(read.observations.slice(at, at + BATCH))).added;
    }
    // Whoever imports thousands waits a little longer here, so that the first search need not.
    if (added >= BATCH) await memory.search({ query: "", limit: 1 });
    report(file, { read, added, options }, needs);
    return 0;
  });
}

const SHOWN_FAULTS = 10;

function refuse(file: string, { bad }: ImportedFile): AgentError {
  const shown = bad.slice(0, SHOWN_FAULTS).map(({ index, reason }) => `entry ${index}: ${reason}`);
  const more = bad.length > SHOWN_FAULTS ? ` And ${bad.length - SHOWN_FAULTS} more.` : "";
  return new AgentError("IMPORT_REFUSED", { file, reason: `${shown.join(" ")}${more}`, advice: "Correct them, or take the others alone: --skip-bad." });
}

function report(file: string, { read, added, options }: { read: ImportedFile; added: number; options: ImportOptions }, needs: CommandNeeds): void {
  const { kind, observations, bad, private: hidden, repeated, prompts = 0, projects } = read;
  const known = options.dryRun ? 0 : observations.length - added;
  if (options.json) {
    const counts = { found: observations.length, imported: added, known, bad, private: hidden, repeated, ...(projects && { prompts, projects }) };
    writeJson(needs, { file, kind, ...counts, dryRun: options.dryRun ?? false });
    return;
  }
  needs.write(options.dryRun ? `Would import ${observations.length} observations of ${file}.\n` : `Imported ${added} observations of ${file}.\n`);
  const notes = [
    [known, "were in the memory already"],
    [repeated, "say nothing, or what one before them says"],
    [hidden, "were wholly private"],
    [prompts, "prompts were left out; --prompts takes them in"],
    [bad.length, "could not be used:"],
  ] as const;
  for (const [count, text] of notes) if (count > 0) needs.write(`  ${count} ${text}\n`);
  for (const { index, reason } of bad.slice(0, SHOWN_FAULTS)) needs.write(`    entry ${index}: ${reason}\n`);
  if (projects && Object.keys(projects).length > 1)
    needs.write(
      `  of projects: ${Object.entries(projects)
        .map(([name, count]) => `${name || "(none)"} (${count})`)
        .join(", ")}; --from-project takes one\n`,
    );
}
