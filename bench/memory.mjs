// How well the memory finds, and how fast: npm run bench:memory [-- own|dialogues|scale|care]. Data sets by path: bench/memory-locomo.mjs, bench/memory-longmemeval.mjs
import { measureCare, measureCareTime } from "./memory-care.ts";
import { makeDialogue } from "./memory-dialogues.ts";
import { measureHaystacks } from "./memory-haystacks.ts";
import { makeObservation } from "./memory-measure.ts";
import { GROUPS } from "./memory-observations.ts";
import { measureOwn } from "./memory-own.ts";
import { measureScale } from "./memory-scale.ts";
import { FIGURES, figuresOf, printTable } from "./memory-table.ts";

const parts = process.argv.length > 2 ? process.argv.slice(2) : ["own", "dialogues", "scale", "care"];
const NOW = Date.UTC(2026, 5, 15);

async function showOwn(heldOut) {
  const { observations, questions, rows } = await measureOwn({ heldOut });
  console.log(`${heldOut ? "Held out" : "Tuned on"}: ${observations} observations, ${questions} questions\n`);
  const groups = GROUPS.filter((group) => group !== "none");
  printTable(
    ["", ...FIGURES, "false positives", "tokens", ...groups.map((group) => `${group} R@1`)],
    rows.map(({ name, all, groups: by, falsePositives, tokens }) => [name, ...figuresOf(all), falsePositives, tokens, ...groups.map((group) => by[group].at1)]),
  );
}

async function showDialogues(heldOut) {
  const haystacks = [1, 2, 3].map((seed) => {
    const { turns, questions } = makeDialogue(seed + (heldOut ? 100 : 0), { heldOut });
    const observations = turns.map(({ key, narrative, session, createdAt }) => makeObservation({ id: key, narrative, sessionId: session, createdAt }));
    return { name: String(seed), observations, cases: questions.map(({ text, kind, evidence }) => ({ text, group: kind, evidence })), unitOf: (id) => id };
  });
  console.log(
    `Dialogues, ${heldOut ? "held out" : "tuned on"}: ${haystacks.reduce((sum, { cases }) => sum + cases.length, 0)} questions, any turn that answers\n`,
  );
  const rows = await measureHaystacks(haystacks, NOW);
  printTable(
    ["", ...FIGURES],
    rows.map(({ name, all }) => [name, ...figuresOf(all)]),
  );
}

if (parts.includes("own")) for (const heldOut of [false, true]) await showOwn(heldOut);
if (parts.includes("dialogues")) for (const heldOut of [false, true]) await showDialogues(heldOut);
if (parts.includes("scale")) {
  const rows = [1000, 10_000].map((count) => [count, measureScale(count)]);
  console.log(`Node ${process.version}; load: a fresh process, the file read and checked; JSON.parse of the same bytes is the yardstick\n`);
  printTable(
    ["observations", "file MB", "build ms", "load ms", "JSON.parse ms", "search p50 ms", "p95 ms", "CPU ms"],
    rows.map(([count, { megabytes, buildMs, loadMs, parseMs, p50, p95, cpu }]) => [String(count), megabytes, buildMs, loadMs, parseMs, p50, p95, cpu]),
  );
}
if (parts.includes("care")) {
  console.log("Consolidation: what it finds of the same observations, and how long 10,000 take\n");
  const rows = [false, true].map((heldOut) => [heldOut ? "held out" : "tuned on", measureCare(heldOut)]);
  printTable(
    ["", "observations", "replaced", "found", "wrong", "merged", "conflicts"],
    rows.map(([name, { observations, replaced, found, wrong, merged, conflicts }]) => [
      name,
      ...[observations, replaced, found, wrong, merged, conflicts].map(String),
    ]),
  );
  const { wholeMs, longestMs } = await measureCareTime(10_000);
  console.log(`10,000 observations: ${wholeMs.toFixed(0)} ms, others wait ${longestMs.toFixed(0)} ms at most`);
}
