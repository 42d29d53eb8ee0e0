import { extname } from "node:path";

/** A larger notebook is shown as the JSON that it is. */
export const NOTEBOOK_BYTES = 10 * 1024 * 1024;
/** Of one output. */
const OUTPUT_LINES = 200;
const OUTPUT_CHARACTERS = 20_000;

/** A text is a string or a list of its lines. Of what a file holds, nothing is sure. */
type Text = string | string[];

/** What nbformat 4 calls `source`, `execution_count` and `name`, nbformat 3 calls `input`, `prompt_number` and `stream`. */
interface Cell {
  cell_type?: unknown;
  source?: Text;
  input?: Text;
  execution_count?: unknown;
  prompt_number?: unknown;
  outputs?: Output[];
}
interface Output {
  output_type?: unknown;
  name?: unknown;
  stream?: unknown;
  text?: Text;
  data?: Record<string, unknown>;
  ename?: unknown;
  evalue?: unknown;
  traceback?: Text;
}

/** nbformat 3 has the data of an output in its fields. */
const MEDIA_OF_FIELDS: Record<string, string> = {
  text: "text/plain",
  html: "text/html",
  latex: "text/latex",
  json: "application/json",
  javascript: "application/javascript",
  svg: "image/svg+xml",
  png: "image/png",
  jpeg: "image/jpeg",
  pdf: "application/pdf",
};

export const isNotebook = (path: string): boolean => extname(path).toLowerCase() === ".ipynb";

/** The cells of a Jupyter notebook in their order, with their text outputs. Throws where the text is none of a notebook. */
export function renderNotebook(json: string): string {
  const cells = cellsOf(JSON.parse(json.replace(/^\uFEFF/, "")));
  const lines = cells.flatMap((cell: Cell, index) => renderCell(cell, index + 1, cells.length));
  return lines.length === 0 ? "(The notebook has no cells.)" : lines.join("\n");
}

/** nbformat 3 keeps them in worksheets. */
function cellsOf({ cells, worksheets }: { cells?: unknown; worksheets?: { cells?: unknown }[] }): Cell[] {
  const found = Array.isArray(worksheets) ? worksheets.flatMap((sheet) => sheet.cells) : cells;
  if (!Array.isArray(found)) throw new Error("it has no list of cells");
  return found;
}

function renderCell({ cell_type, source, input, execution_count, prompt_number, outputs }: Cell, number: number, count: number): string[] {
  const order = execution_count ?? prompt_number;
  const run = typeof order === "number" ? `, run ${order}` : "";
  const shown = (Array.isArray(outputs) ? outputs : []).flatMap((output) => renderOutput(output, number));
  return [`%% cell ${number} of ${count}, ${String(cell_type)}${run}`, ...linesOf(source ?? input), ...shown];
}

function renderOutput(output: Output, number: number): string[] {
  const title = (what: string) => `%% output of cell ${number}, ${what}`;
  if (output.output_type === "stream") return [title(String(output.name ?? output.stream)), ...shorten(linesOf(output.text))];
  if (output.output_type === "error" || output.output_type === "pyerr") {
    // Unlike other texts, its parts do not end with a newline.
    const trace = [output.traceback ?? []].flat().flatMap(linesOf);
    return [title("error"), ...shorten(trace.length > 0 ? trace : [`${String(output.ename)}: ${String(output.evalue)}`])];
  }
  const types = dataOf(output);
  const text =
    types.find(([type]) => type === "text/plain") ?? types.find(([type]) => type.startsWith("text/")) ?? types.find(([type]) => type.includes("json"));
  const others = types.filter((one) => one !== text && !one[0].startsWith("text/"));
  return [
    ...others.map(([type, value]) => title(`${type} of ${JSON.stringify(value).length} characters, not shown`)),
    ...(text === undefined ? [] : [title(text[0]), ...shorten(linesOf(text[1]))]),
  ];
}

/** What is shown of an output, by its media type. */
function dataOf({ data, ...fields }: Output): [string, unknown][] {
  if (data !== undefined) return Object.entries(data);
  return Object.entries(fields).flatMap(([name, value]) => (MEDIA_OF_FIELDS[name] === undefined ? [] : [[MEDIA_OF_FIELDS[name], value]]));
}

/** Without the colours of a terminal. */
function linesOf(text: unknown): string[] {
  const whole = typeof text === "string" ? text : Array.isArray(text) ? text.join("") : text === undefined ? "" : JSON.stringify(text);
  const plain = whole.replace(/\x1b\[[0-9;]*m/g, "");
  return plain === "" ? [] : plain.replace(/\n$/, "").split("\n");
}

function shorten(lines: string[]): string[] {
  let characters = 0;
  const end = lines.findIndex((line, index) => (characters += line.length) > OUTPUT_CHARACTERS || index >= OUTPUT_LINES);
  const shown = end < 0 ? lines.length : Math.max(1, end);
  if (shown === lines.length) return lines;
  return [...lines.slice(0, shown), `%% ${lines.length - shown} of the ${lines.length} lines of this output are left out`];
}
