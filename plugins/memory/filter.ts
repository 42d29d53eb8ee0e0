import type { Filter } from "./memory.ts";
import type { Observation } from "./observation.ts";

/** Whether all that the filter names holds. */
export function matchesFilter(observation: Observation, { type, concept, file, session, since, until, trust }: Filter): boolean {
  return (
    (type === undefined || observation.type === type) &&
    (concept === undefined || observation.concepts.includes(concept)) &&
    (file === undefined || [...observation.filesRead, ...observation.filesModified].some((path) => isPathOf(path, file))) &&
    (session === undefined || observation.sessionId.startsWith(session)) &&
    (since === undefined || observation.createdAt >= since) &&
    (until === undefined || observation.createdAt <= until) &&
    (trust === undefined || observation.trust === trust)
  );
}

/** The path itself, the folder it lies in, or its last parts. */
export function isPathOf(path: string, wanted: string): boolean {
  const part = wanted.replace(/^\.\//, "").replace(/\/+$/, "");
  return path === part || path.startsWith(`${part}/`) || path.endsWith(`/${part}`) || path.includes(`/${part}/`);
}
