import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Observation } from "../plugins/memory/observation.ts";
import { parseQuery } from "../plugins/memory/query.ts";
import { rankCandidates } from "../plugins/memory/rank.ts";
import { openSearchIndex } from "../plugins/memory/search-index.ts";
import { makeObservationSet, SET_NOW } from "./memory-observations.ts";

const NAME = "scale";

/** `count` observations and the questions about the first of the sets they are made of. */
export function makeMany(count: number): { observations: Observation[]; texts: string[] } {
  const observations: Observation[] = [];
  const texts: string[] = [];
  for (let seed = 1; observations.length < count; seed++) {
    const set = makeObservationSet(seed);
    for (const one of set.observations.slice(0, count - observations.length))
      observations.push({ ...one, id: `${one.id}_${seed}`, sessionId: `${one.sessionId}_${seed}` });
    if (texts.length < 300) texts.push(...set.cases.map(({ text }) => text));
  }
  return { observations, texts };
}

const fileOf = (path: string) => ({
  read: async () => readFileSync(path),
  write: async (bytes: Uint8Array) => writeFileSync(path, bytes),
});

const percentile = (sorted: number[], part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;

/** In this process: builds the index of `count` and keeps it at `path`. */
async function build(path: string, count: number) {
  const { observations } = makeMany(count);
  const startedAt = performance.now();
  const index = await openSearchIndex({ project: NAME, file: { ...fileOf(path), read: async () => undefined } });
  index.sync("all", "1", observations);
  const buildMs = performance.now() - startedAt;
  await index.save();
  return { buildMs };
}

/** In a process of its own: loads it and asks. */
async function ask(path: string, count: number) {
  const parsedAt = performance.now();
  const bytes = readFileSync(path);
  JSON.parse(bytes.subarray(bytes.indexOf(10) + 1).toString());
  const parseMs = performance.now() - parsedAt;
  const startedAt = performance.now();
  const index = await openSearchIndex({ project: NAME, file: fileOf(path) });
  const loadMs = performance.now() - startedAt;
  const { observations, texts } = makeMany(count);
  const byId = new Map(observations.map((one) => [one.id, one]));
  const read = async (ids: string[]) => ids.flatMap((id) => byId.get(id) ?? []);
  const times: number[] = [];
  const cpuBefore = process.cpuUsage();
  for (const text of texts) {
    const at = performance.now();
    const query = parseQuery(text, SET_NOW);
    rankCandidates(await index.search(query, { read }), { query, now: SET_NOW, halfLifeDays: 30, limit: 20 });
    times.push(performance.now() - at);
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  times.sort((a, b) => a - b);
  return {
    megabytes: bytes.length / 1e6,
    parseMs,
    loadMs,
    p50: percentile(times, 0.5),
    p95: percentile(times, 0.95),
    cpu: (user + system) / 1000 / times.length,
  };
}

export type ScaleFigures = Awaited<ReturnType<typeof ask>> & Awaited<ReturnType<typeof build>>;

/** Loading is measured in a fresh process, as `agent memory search` has it. */
export function measureScale(count: number): ScaleFigures {
  const scratch = mkdtempSync(join(tmpdir(), "agent-memory-"));
  try {
    const run = (mode: string) => {
      const child = spawnSync(process.execPath, ["--import", "tsx", fileURLToPath(import.meta.url), mode, join(scratch, "index"), String(count)], {
        encoding: "utf8",
      });
      if (child.status !== 0) throw new Error(child.stderr);
      return JSON.parse(child.stdout);
    };
    return { ...run("build"), ...run("ask") };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const [mode, path, count] = process.argv.slice(2);
if (mode === "build") build(path!, Number(count)).then((figures) => console.log(JSON.stringify(figures)));
else if (mode === "ask") ask(path!, Number(count)).then((figures) => console.log(JSON.stringify(figures)));
