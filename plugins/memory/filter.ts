import type { Filter } from "./memory.ts";
import type { Observation } from "./observation.ts";

/** What a filter looks at. */
export interface Filterable extends Pick<Observation, "id" | "type" | "concepts" | "trust"> {
  files: string[];
  session: string;
  /** ms since 1970 */
  at: number;
}

/** Whether all that the filter names holds. */
export function matchesFilter({ id, type, concepts, trust, filesRead, filesModified, sessionId, createdAt }: Observation, filter: Filter): boolean {
  return passesFilter({ id, type, concepts, trust, files: [...filesRead, ...filesModified], session: sessionId, at: createdAt }, filter);
}

/** The same of what an index knows. */
export function passesFilter(entry: Filterable, { type, concept, file, session, since, until, trust }: Filter): boolean {
  return (
    (type === undefined || hasField(entry, "type", type)) &&
    (concept === undefined || hasField(entry, "concept", concept)) &&
    (file === undefined || hasField(entry, "file", file)) &&
    (session === undefined || hasField(entry, "session", session)) &&
    (since === undefined || entry.at >= since) &&
    (until === undefined || entry.at <= until) &&
    (trust === undefined || entry.trust === trust)
  );
}

/** Case does not matter. Of sessions and ids the beginning will do. */
export function hasField(entry: Filterable, field: "type" | "concept" | "file" | "session" | "id", value: string): boolean {
  const wanted = value.toLowerCase();
  switch (field) {
    case "type":
      return entry.type.toLowerCase() === wanted;
    case "concept":
      return entry.concepts.some((concept) => concept.toLowerCase() === wanted);
    case "session":
      return entry.session.toLowerCase().startsWith(wanted);
    case "id":
      return entry.id.startsWith(wanted);
    case "file":
      return entry.files.some((file) => isPathOf(file.toLowerCase(), wanted));
  }
}

/** The path itself, the folder it lies in, or its last parts. */
export function isPathOf(path: string, wanted: string): boolean {
  const part = wanted.replace(/^\.\//, "").replace(/\/+$/, "");
  return path === part || path.startsWith(`${part}/`) || path.endsWith(`/${part}`) || path.includes(`/${part}/`);
}
