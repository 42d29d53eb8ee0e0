// What it costs to remember beside 100,000 stored observations: one append, and the memory of a process that only records.
// node --conditions=source --import tsx bench/memory-store.mjs runs it.
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const STORED = 100_000;
const APPENDS = 1_000;
const RECORDED = 200;
const self = fileURLToPath(import.meta.url);
const [mode, root] = process.argv.slice(2);

const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
const percentile = (list, part) => list.sort((a, b) => a - b)[Math.floor(list.length * part)];
const ms = (value) => `${value.toFixed(3)} ms`;

async function openKit(dataDir) {
  return (await import("../tests/fixtures/memory-kit.ts")).openKit({ dataDir });
}

async function fill() {
  const { makeObservation } = await import("../tests/fixtures/memory-kit.ts");
  const { openMemory } = await import("../plugins/memory/open-memory.ts");
  const kit = await openKit(root);
  const memory = await openMemory({ context: kit.context, cwd: root, project: "project-00000000" });
  for (let from = 0; from < STORED; from += 5_000) {
    const some = Array.from({ length: 5_000 }, (_, index) =>
      makeObservation(from + index, { sessionId: `ses_${Math.floor((from + index) / 50)}`, narrative: `${from + index} `.padEnd(600, "what was seen there ") }),
    );
    await memory.add(some);
  }
  await memory.close();
  await kit.close();
}

/** A process that records and does nothing else: what it takes at the end, in MB, and its appends, in ms. */
async function record() {
  const { makeItem } = await import("../tests/fixtures/memory-kit.ts");
  const kit = await openKit(root);
  const openedAt = performance.now();
  const { inbox } = await kit.open();
  const openMs = performance.now() - openedAt;
  const output = "x".repeat(4_000);
  const times = [];
  for (let number = 0; number < RECORDED; number++) {
    const item = makeItem(Date.now() * 1_000 + number, { call: { ...makeItem(0).call, output } });
    const at = performance.now();
    inbox.append(item);
    times.push(performance.now() - at);
  }
  globalThis.gc?.();
  process.stdout.write(JSON.stringify({ rss: process.memoryUsage().rss / 1e6, heap: process.memoryUsage().heapUsed / 1e6, openMs, times }));
  await inbox.close();
  await kit.close();
}

const child = (what, dir) =>
  execFileSync(process.execPath, ["--expose-gc", "--conditions=source", "--import", "tsx", self, what, dir], { encoding: "utf8", maxBuffer: 1e8 });

/** The same bytes by the plainest means there is. */
function yardstick(dir) {
  const line = "x".repeat(4_700);
  const times = [];
  for (let count = 0; count < APPENDS; count++) {
    const at = performance.now();
    appendFileSync(join(dir, "plain"), line);
    times.push(performance.now() - at);
  }
  return times;
}

async function main() {
  const [empty, full] = ["empty", "full"].map((name) => mkdtempSync(join(tmpdir(), `memory-${name}-`)));
  try {
    child("fill", full);
    const runs = { empty: [], full: [] };
    for (let round = 0; round < 5; round++) {
      runs.empty.push(JSON.parse(child("record", empty)));
      runs.full.push(JSON.parse(child("record", full)));
    }
    const of = (name, key) => median(runs[name].map((run) => run[key]));
    const appends = (name) => runs[name].flatMap(({ times }) => times);
    const plain = yardstick(empty);
    const rows = [
      ["append, nothing stored", ms(median(appends("empty"))), `p95 ${ms(percentile(appends("empty"), 0.95))}`],
      [`append, ${STORED} stored`, ms(median(appends("full"))), `p95 ${ms(percentile(appends("full"), 0.95))}; goal ≤ 1 ms`],
      ["yardstick: fs.appendFileSync of as many bytes", ms(median(plain)), `p95 ${ms(percentile(plain, 0.95))}`],
      ["opening the inbox, nothing stored", ms(of("empty", "openMs")), ""],
      [`opening the inbox, ${STORED} stored`, ms(of("full", "openMs")), ""],
      ["heap of a process that records, nothing stored", `${of("empty", "heap").toFixed(1)} MB`, `RSS ${of("empty", "rss").toFixed(0)} MB`],
      [`heap of a process that records, ${STORED} stored`, `${of("full", "heap").toFixed(1)} MB`, `RSS ${of("full", "rss").toFixed(0)} MB`],
    ];
    for (const row of rows) console.log(`| ${row.join(" | ")} |`);
  } finally {
    for (const dir of [empty, full]) rmSync(dir, { recursive: true, force: true });
  }
}

await (mode === "fill" ? fill() : mode === "record" ? record() : main());
