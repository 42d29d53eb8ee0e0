// LoCoMo, turn level: node --import tsx bench/memory-locomo.mjs locomo10.json
import { readLocomo } from "./memory-files.ts";
import { measureHaystacks } from "./memory-haystacks.ts";
import { FIGURES, figuresOf, printTable } from "./memory-table.ts";

const rows = await measureHaystacks(readLocomo(process.argv[2]), Date.now());
console.log(`${rows[0].all.questions} questions, any evidence turn found\n`);
printTable(
  ["", ...FIGURES],
  [
    ...rows.flatMap(({ name, all, groups }) => [
      [name, ...figuresOf(all)],
      ...Object.entries(groups).map(([group, one]) => [`${name}: ${group}, ${one.questions}`, ...figuresOf(one)]),
    ]),
    ["third party: MiniSearch, defaults", "", 50.1, 59.4, 40.2, ""],
    ["third party: stems, stop words, neighbours and date as fields", "", 69.9, 78.6, 55.0, ""],
  ],
);
