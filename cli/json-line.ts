/** Any value as one line of JSON. Cycles, BigInt and what refuses to be written become a word in their place; never throws. */
export function toJsonLine(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch {
    return JSON.stringify(toPlain(value, [])) ?? "null";
  }
}

function toPlain(value: unknown, above: object[]): unknown {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (above.includes(value)) return "[circular]";
  const inside = [...above, value];
  try {
    const json = "toJSON" in value && typeof value.toJSON === "function" ? value.toJSON() : value;
    if (json !== value) return toPlain(json, inside);
    if (Array.isArray(value)) return value.map((entry) => toPlain(entry, inside));
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, toPlain(entry, inside)]));
  } catch {
    return "[unreadable]";
  }
}
