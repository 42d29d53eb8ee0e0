import type TurndownService from "turndown";

/** Stand before each row and each cell until their table is complete; the page itself holds no control characters. */
const [ROW, CELL] = ["\u0001", "\u0002"];

/**
 * Tables become Markdown tables; one with blocks in a cell is layout, and its cells become paragraphs. Not by the GFM
 * plugin: its work grows with more than the square of the rows, and 5,000 of them take 40 s.
 */
export function addTables(turndown: TurndownService): void {
  // A line break is "  \n"; every other newline is that of a block.
  turndown.addRule("cell", { filter: ["td", "th"], replacement: (content) => CELL + content.trim().replaceAll("  \n", " ") });
  turndown.addRule("row", { filter: "tr", replacement: (content) => ROW + content });
  turndown.addRule("rows", { filter: ["thead", "tbody", "tfoot"], replacement: (content) => content });
  turndown.addRule("table", { filter: "table", replacement: (content) => `\n\n${formatTable(content)}\n\n` });
}

function formatTable(content: string): string {
  const [caption = "", ...rows] = content.split(ROW).map((text) => text.trim());
  const table = rows.map((row) =>
    row
      .split(CELL)
      .slice(1)
      .map((cell) => cell.trim()),
  );
  const isLayout = table.some((row) => row.some((cell) => cell.includes("\n")));
  if (isLayout) return [caption, ...table.flat()].filter((text) => text !== "").join("\n\n");
  const lines = table.map((row) => `|${row.map((cell) => ` ${cell.replaceAll("|", "\\|")} |`).join("")}`);
  lines.splice(1, 0, ...table.slice(0, 1).map((row) => `|${" --- |".repeat(row.length)}`));
  return [caption, lines.join("\n")].filter((text) => text !== "").join("\n\n");
}
