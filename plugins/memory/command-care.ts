import { type CommandNeeds, findObservation, formatRows, formatTime, oneLine, withMemories, withMemory, writeJson } from "./command-needs.ts";
import type { ConsolidationReport, MemoryStats } from "./memory.ts";
import type { Observation } from "./observation.ts";
import type { WorkItem } from "./work-item.ts";
import type { WorkReport } from "./worker.ts";

export interface CareOptions {
  project?: string | undefined;
  json?: boolean | undefined;
}

/** `agent memory stats`: an object of one project, a list of all. */
export async function stats({ project, json }: CareOptions, needs: CommandNeeds): Promise<number> {
  const all = await withMemories(project, needs, (memory) => memory.stats());
  if (json) writeJson(needs, project === "*" ? all : all[0]);
  else if (all.length === 0) needs.write("No project has a memory yet.\n");
  else needs.write(all.map(formatStats).join("\n"));
  return 0;
}

const counted = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");

function formatStats(stats: MemoryStats): string {
  const { project, observations, summaries, sessions, untrusted, byType, queue, skipped, requests, tokens, costUsd, failing, bytes } = stats;
  const rows: [string, string][] = [
    ["project", project],
    ["observations", `${observations}${observations > 0 ? ` (${counted(byType)})` : ""}`],
    ["summaries", String(summaries)],
    ["sessions", String(sessions)],
    ["untrusted", String(untrusted)],
    ["queue", `${queue.pending} pending, ${queue.leased} leased, ${queue.dead} dead`],
    ["left out", counted(skipped)],
    ["requests", requests > 0 ? `${requests}: ${tokens.input} tokens in, ${tokens.output} out, $${costUsd.toFixed(4)}` : "0"],
    ["failing", failing === undefined ? "" : `${failing.failures} times since ${formatTime(failing.since)}: ${failing.reason}`],
    ["bytes", String(bytes)],
  ];
  return rows.flatMap(([name, value]) => (value === "" ? [] : [`${name.padEnd(14)}${oneLine(value)}\n`])).join("");
}

/** `agent memory queue`: what is still to be remembered, and what was given up and why. */
export async function queue({ project, json }: CareOptions, needs: CommandNeeds): Promise<number> {
  const rows = (await withMemories(project, needs, async (memory) => (await memory.queue()).map((item) => ({ item, project: memory.project })))).flat();
  if (json)
    writeJson(
      needs,
      rows.map((row) => queued(row.item, row.project)),
    );
  else if (rows.length === 0) needs.write("Nothing waits.\n");
  else needs.write(rows.map((row) => formatItem(row.item, project === "*" ? row.project : undefined)).join(""));
  if (!json && rows.some(({ item }) => item.state === "dead")) needs.write("agent memory retry [ID] gives dead ones another try.\n");
  if (!json && rows.some(({ item }) => item.state === "pending")) needs.write("agent memory work works off what is pending.\n");
  return 0;
}

const queued = ({ id, kind, sessionId, callId, at, trust, state, attempts, reason, call }: WorkItem, project: string) => ({
  ...{ id, kind, state, attempts, reason: reason ?? null, tool: call?.tool ?? null, sessionId, callId: callId ?? null, at, trust, project },
});

function formatItem({ id, kind, at, state, attempts, reason, call }: WorkItem, project: string | undefined): string {
  const what = kind === "end" ? "end of a prompt" : `${call?.tool ?? "call"} ${call?.patterns.join(" ") ?? ""}`;
  const tries = attempts > 0 ? `, ${attempts} unusable replies` : "";
  const why = reason === undefined ? "" : `: ${reason}`;
  return `${project === undefined ? "" : `${project}  `}${formatTime(at)}  ${state.padEnd(7)}  ${oneLine(id)}  ${oneLine(what).slice(0, 80)}${oneLine(`${tries}${why}`)}\n`;
}

export interface WorkChoice extends CareOptions {
  limit?: number | undefined;
  /** Seconds. */
  timeout?: number | undefined;
}

/** `agent memory work`: exit 0 when it did what it was told, or another process is at it, 3 when the time is up, 4 when providers failed. */
export async function work({ project, json, limit, timeout }: WorkChoice, needs: CommandNeeds): Promise<number> {
  const timer = timeout === undefined ? undefined : AbortSignal.timeout(timeout * 1000);
  const signal = timer === undefined ? needs.signal : AbortSignal.any([needs.signal, timer]);
  let rest = limit;
  const reports = await withMemories(project, needs, async (memory) => {
    if (rest === 0 || signal.aborted) return { stored: [], left: countWaiting(await memory.queue()), project: memory.project };
    const before = countWaiting(await memory.queue());
    const report = await needs.work(memory, { limit: rest, signal });
    if (rest !== undefined) rest = Math.max(0, rest - Math.max(0, before - report.left));
    return { ...report, project: memory.project };
  });
  needs.signal.throwIfAborted();
  const failure = reports.find((report: WorkReport) => report.failure !== undefined)?.failure;
  const stored = reports.flatMap((report): { observation: Observation; project: string }[] =>
    report.stored.map((observation) => ({ observation, project: report.project })),
  );
  const left = reports.reduce((sum, report) => sum + report.left, 0);
  const busy = reports.find((report: WorkReport) => report.busy !== undefined)?.busy;
  if (json) writeJson(needs, { stored: stored.map(({ observation }) => observation.id), left, failure: failure ?? null, busy: busy ?? null });
  else {
    needs.write(formatRows(stored.map((row) => (project === "*" ? row : { observation: row.observation }))));
    needs.write(`Stored ${stored.length} ${stored.length === 1 ? "observation" : "observations"}; ${left} pieces of work are left.\n`);
    if (busy !== undefined) needs.write(`Process ${busy} is at work on them.\n`);
    if (failure !== undefined) needs.write(`Extraction failed: ${oneLine(failure)}\n`);
  }
  return failure !== undefined ? 4 : left > 0 && timer?.aborted ? 3 : 0;
}

const countWaiting = (items: WorkItem[]): number => items.filter(({ state }) => state !== "dead").length;

/** `agent memory retry [ID]`: dead letters become work again. */
export async function retry(ids: string[], { project, json }: CareOptions, needs: CommandNeeds): Promise<number> {
  const revived = await withMemories(project, needs, (memory) => memory.retry(ids.length > 0 ? ids : undefined));
  const count = revived.reduce((sum, one) => sum + one, 0);
  if (json) writeJson(needs, { revived: count });
  else needs.write(count === 0 ? "No dead letter fits.\n" : `${count} pending again. Now: agent memory work\n`);
  return ids.length > 0 && count === 0 ? 2 : 0;
}

/** `agent memory compact`. */
export async function compact({ project, json }: CareOptions, needs: CommandNeeds): Promise<number> {
  const sizes = await withMemories(project, needs, async (memory) => {
    const before = (await memory.stats()).bytes;
    await memory.compact();
    return { project: memory.project, before, after: (await memory.stats()).bytes };
  });
  if (json) writeJson(needs, project === "*" ? sizes : sizes[0]);
  else for (const { project: id, before, after } of sizes) needs.write(`${id}: ${before} bytes before, ${after} now.\n`);
  return 0;
}

/** `agent memory reindex`. */
export async function reindex({ project, json }: CareOptions, needs: CommandNeeds): Promise<number> {
  const counts = await withMemories(project, needs, async (memory) => ({ project: memory.project, observations: await memory.reindex() }));
  if (json) writeJson(needs, project === "*" ? counts : counts[0]);
  else for (const { project: id, observations } of counts) needs.write(`${id}: the index holds ${observations} observations.\n`);
  return 0;
}

interface ConsolidateOptions extends CareOptions {
  dryRun?: boolean | undefined;
  /** Id of one that has taken in others. */
  undo?: string | undefined;
}

/** `agent memory consolidate`: near-duplicates are merged, what is out of date is linked to what took its place. */
export async function consolidate({ undo, ...options }: ConsolidateOptions, needs: CommandNeeds): Promise<number> {
  if (undo !== undefined) return undoMerge(undo, options, needs);
  const { project, json, dryRun = false } = options;
  const report = await withMemory(project, needs, (memory) => memory.consolidate({ dryRun }));
  if (json) writeJson(needs, { ...report, dryRun });
  else needs.write(formatConsolidation(report, dryRun));
  return 0;
}

async function undoMerge(id: string, { project, json, dryRun = false }: Omit<ConsolidateOptions, "undo">, needs: CommandNeeds): Promise<number> {
  const freed = await withMemory(project, needs, async (memory) => {
    const { takeApart } = await import("./consolidate.ts");
    const changed = takeApart(await findObservation(id, memory), await memory.list({}));
    if (!dryRun) await memory.change(changed);
    return changed.slice(1).map((each) => each.id);
  });
  if (json) writeJson(needs, { freed, dryRun });
  else needs.write(freed.length === 0 ? "It has taken in nothing.\n" : `${dryRun ? "Would stand" : "Stand"} for themselves again: ${freed.join(", ")}\n`);
  return 0;
}

function formatConsolidation({ merged, superseded, conflicts }: ConsolidationReport, dryRun: boolean): string {
  const lines = [
    ...merged.map(([kept, taken]) => `${kept} ${dryRun ? "would take" : "took"} in ${taken.join(", ")}`),
    ...superseded.map(([old, now]) => `${now} ${dryRun ? "would supersede" : "supersedes"} ${old}`),
    ...conflicts.map(([one, other]) => `${one} and ${other} say the contrary of each other`),
  ];
  const total = `${dryRun ? "Would merge" : "Merged"} ${merged.length}, superseded ${superseded.length}, conflicts ${conflicts.length}. Nothing is deleted.`;
  return `${[...lines, total].join("\n")}\n`;
}
