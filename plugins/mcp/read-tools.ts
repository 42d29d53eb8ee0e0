import { cleanShort } from "./clean.ts";
import { digest } from "./configured.ts";
import { isObject } from "./connection.ts";
import { readSchema } from "./read-schema.ts";

/** What a server says of one of its tools: read, bounded, and as it came in `hash`. */
export interface ListedTool {
  /** As the server calls it. */
  name: string;
  description: string;
  schema: Record<string, unknown>;
  /** Of name, description and schema, unshortened: another one is another tool. */
  hash: string;
}

/** Entries of a list that are looked at, and tools that are taken. */
export const MOST_READ = 1_000;
const MOST_TOOLS = 128;
const LONGEST_DESCRIPTION = 1_024;
/** Characters that the tools of one server may add to each request. */
const MOST_TEXT = 256 * 1024;

/** The tools that can be offered, and the names of those that cannot. Hints of what a tool does are not read: a hostile server would say that it only reads. */
export function readTools(listed: unknown[]): { tools: ListedTool[]; left: string[] } {
  const tools: ListedTool[] = [];
  const left: string[] = [];
  const names = new Set<string>();
  let size = 0;
  for (const [index, raw] of listed.entries()) {
    const tool = isObject(raw) && index < MOST_READ ? readTool(raw) : undefined;
    size += tool === undefined ? 0 : tool.description.length + JSON.stringify(tool.schema).length;
    if (tool !== undefined && tools.length < MOST_TOOLS && size <= MOST_TEXT && !names.has(tool.name)) tools.push(tool);
    else left.push(isObject(raw) ? cleanShort(String(raw.name), 64) : "?");
    if (tool !== undefined) names.add(tool.name);
  }
  return { tools, left };
}

function readTool({ name, description, inputSchema }: Record<string, unknown>): ListedTool | undefined {
  if (typeof name !== "string" || name === "" || name.length > 256) return undefined;
  return {
    name,
    description: cleanShort(typeof description === "string" ? description : "", LONGEST_DESCRIPTION),
    schema: readSchema(inputSchema),
    hash: digest(stableJson([name, description ?? null, inputSchema ?? null])),
  };
}

/** Names in a fixed order: a server may write them in any. */
function stableJson(value: unknown): string {
  return JSON.stringify(value, (_, item) => (isObject(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item));
}

/** `server__tool` of at most 64 letters, digits, `_` and `-`. What had to be shortened or rewritten ends in a part of its hash, so that no two meet. */
export function toolNameOf(prefix: string, name: string): string {
  const full = `${prefix}__${name.replace(/[^a-zA-Z0-9_-]/g, "_")}`;
  return full.length <= 64 && full === `${prefix}__${name}` ? full : `${full.slice(0, 55)}_${digest(name).slice(0, 8)}`;
}
