import type { Figures } from "./memory-measure.ts";

export function printTable(head: string[], rows: (string | number)[][]): void {
  const text = (cell: string | number) => (typeof cell === "number" ? cell.toFixed(1) : cell);
  for (const row of [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows]) console.log(`| ${row.map(text).join(" | ")} |`);
  console.log();
}

export const FIGURES = ["R@1", "R@5", "R@10", "MRR", "nDCG@10"];
export const figuresOf = ({ at1, at5, at10, mrr, ndcg10 }: Figures) => [at1, at5, at10, mrr, ndcg10];
