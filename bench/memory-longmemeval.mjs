// LongMemEval-S, session level: node --import tsx bench/memory-longmemeval.mjs longmemeval_s.json
import { readLongMemEval } from "./memory-files.ts";
import { measureHaystacks } from "./memory-haystacks.ts";
import { FIGURES, figuresOf, printTable } from "./memory-table.ts";

const rows = await measureHaystacks(readLongMemEval(process.argv[2]), Date.now());
console.log(`${rows[0].all.questions} questions, any session with evidence found\n`);
printTable(
  ["", ...FIGURES],
  [
    ...rows.flatMap(({ name, all, groups }) => [
      [name, ...figuresOf(all)],
      ...Object.entries(groups).map(([group, one]) => [`${name}: ${group}, ${one.questions}`, ...figuresOf(one)]),
    ]),
    ["third party: BM25 (agentmemory)", "", 86.2, 94.6, 71.5, 73.0],
  ],
);
