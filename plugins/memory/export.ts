import { formatMarkdown, inOrder } from "./markdown.ts";
import type { Observation } from "./observation.ts";

export const EXPORT_FORMATS = ["json", "markdown"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Name and version of our own JSON. */
export const JSON_FORMAT = "agent-memory";
export const JSON_VERSION = 1;

/**
 * A memory as a file: all that is known of each observation, oldest first. It names neither the project nor the time, so that
 * what is imported elsewhere and exported again is the same, byte for byte.
 */
export function formatExport(observations: readonly Observation[], format: ExportFormat): string {
  const sorted = [...observations].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
  if (format === "markdown") return formatMarkdown(sorted);
  return `${JSON.stringify({ format: JSON_FORMAT, version: JSON_VERSION, observations: sorted.map(inOrder) }, null, 2)}\n`;
}
