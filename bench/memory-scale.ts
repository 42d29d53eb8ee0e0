import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRedactor } from "../core/redact.ts";
import type { Observation } from "../plugins/memory/observation.ts";
import { optionsSchema } from "../plugins/memory/options.ts";
import { createSearchEngine } from "../plugins/memory/search-engine.ts";
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

/** A project whose observations are at hand: what is measured is the search, not the disk. */
function openEngine(dir: string, observations: Observation[]) {
  const part = Object.fromEntries(observations.map((one) => [one.id, one]));
  const source = { project: NAME, indexDir: dir, parts: async () => [{ name: "all", mark: "1" }], read: async () => part };
  const unused = () => Promise.reject(new Error("no model is asked"));
  const context = { ask: unused, report: console.error, redact: createRedactor().redact };
  const needs = { context, options: () => optionsSchema.parse({}), vectors: unused, now: () => SET_NOW, signal: new AbortController().signal };
  return createSearchEngine(source, needs);
}

const percentile = (sorted: number[], part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;

/** In this process: builds the index of `count` and keeps it in `dir`. */
async function build(dir: string, count: number) {
  const engine = await openEngine(dir, makeMany(count).observations);
  const startedAt = performance.now();
  await engine.reindex();
  return { buildMs: performance.now() - startedAt };
}

/** In a process of its own: loads it and asks. */
async function ask(dir: string, count: number) {
  const parsedAt = performance.now();
  const bytes = readFileSync(join(dir, "words"));
  JSON.parse(bytes.subarray(bytes.indexOf(10) + 1).toString());
  const parseMs = performance.now() - parsedAt;
  const { observations, texts } = makeMany(count);
  const startedAt = performance.now();
  const engine = await openEngine(dir, observations);
  const loadMs = performance.now() - startedAt;
  const times: number[] = [];
  const cpuBefore = process.cpuUsage();
  for (const query of texts) {
    const at = performance.now();
    await engine.search({ query, limit: 20 });
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
      const child = spawnSync(process.execPath, ["--import", "tsx", fileURLToPath(import.meta.url), mode, scratch, String(count)], {
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

const [mode, dir, count] = process.argv.slice(2);
if (mode === "build") build(dir!, Number(count)).then((figures) => console.log(JSON.stringify(figures)));
else if (mode === "ask") ask(dir!, Number(count)).then((figures) => console.log(JSON.stringify(figures)));
