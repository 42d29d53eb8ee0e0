import type { Message } from "agent-runtime";

/**
 * The system messages and at most `limit` of the newest others. The rest begins with a user message and never with a tool
 * result whose call is gone; where the last prompt alone is longer, that prompt stays and the steps right after it go.
 */
export function keepRecent(prompt: readonly Message[], limit: number): Message[] {
  const pinned = prompt.filter(({ role }) => role === "system");
  const rest = prompt.filter(({ role }) => role !== "system");
  if (rest.length <= limit) return [...prompt];
  const recent = rest.slice(-limit);
  const user = recent.findIndex(({ role }) => role === "user");
  if (user >= 0) return [...pinned, ...recent.slice(user)];
  const asked = rest.findLast(({ role }) => role === "user");
  const steps = limit > 1 ? rest.slice(-(limit - 1)) : [];
  const answer = steps.findIndex(({ role }) => role === "assistant");
  return [...pinned, ...(asked === undefined ? [] : [asked]), ...(answer < 0 ? [] : steps.slice(answer))];
}
