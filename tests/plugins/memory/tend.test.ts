import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PluginContext } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { openStore } from "../../../core/store.ts";
import type { Observation } from "../../../plugins/memory/observation.ts";
import { optionsSchema } from "../../../plugins/memory/options.ts";
import { tend } from "../../../plugins/memory/tend.ts";
import type { Vectors } from "../../../plugins/memory/vectors.ts";
import { observation } from "../../fixtures/memory.ts";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

const never = new AbortController().signal;
const notes = (count: number): Observation[] => Array.from({ length: count }, (_, index) => observation({ title: `note ${index}` }));

async function prepare(observations = 100) {
  const folder = await mkdtemp(join(tmpdir(), "tend-"));
  folders.push(folder);
  const filled: number[] = [];
  let consolidated = 0;
  const vectors: Pick<Vectors, "fill"> = {
    async fill(list) {
      filled.push(list.length);
      return list.length;
    },
  };
  const memory = {
    project: "work-1",
    stats: async () => ({ observations }) as never,
    async consolidate() {
      consolidated++;
      return { merged: [], superseded: [], conflicts: [] };
    },
  };
  const run = (stored: Observation[], given: { consolidates?: boolean; signal?: AbortSignal; hasVectors?: boolean } = {}) =>
    tend(stored, {
      memory,
      vectors: () => (given.hasVectors === false ? undefined : Promise.resolve(vectors as Vectors)),
      consolidates: given.consolidates ?? true,
      signal: given.signal ?? never,
      openStore: ((name: string, options: object) => openStore({ ...options, dir: join(folder, name) } as never)) as PluginContext["openStore"],
    });
  return { run, filled, consolidated: () => consolidated };
}

describe("tending what was stored", () => {
  test("embeds what is new, and puts all in order after each fifty, counted over processes", async () => {
    const { run, filled, consolidated } = await prepare();
    for (const count of [20, 20, 9]) await run(notes(count));
    expect(consolidated()).toBe(0);
    await run(notes(1));
    expect(consolidated()).toBe(1);
    await run(notes(20));
    expect(consolidated()).toBe(1);
    expect(filled).toEqual([20, 20, 9, 1, 20]);
  });

  test("does nothing for nothing, after an interrupt, or where it is switched off", async () => {
    const { run, filled, consolidated } = await prepare();
    await run([]);
    await run(notes(99), { signal: AbortSignal.abort() });
    expect(filled).toEqual([]);
    await run(notes(99), { consolidates: false, hasVectors: false });
    expect(filled).toEqual([]);
    expect(consolidated()).toBe(0);
    expect(optionsSchema.parse({}).consolidate).toBe(true);
  });

  test("leaves a very large memory to the command", async () => {
    const { run, consolidated } = await prepare(100_000);
    await run(notes(60));
    expect(consolidated()).toBe(0);
  });
});
