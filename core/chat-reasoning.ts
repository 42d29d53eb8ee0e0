/**
 * One entry of `reasoning_details`: a thought in the open, its summary, or one that only its vendor can read. What it
 * holds besides (`id`, `format`, `index`, …) is kept, for its vendor wants it back as it was.
 */
export type ReasoningDetail = { id?: unknown; index?: unknown; [more: string]: unknown } & (
  | { type: "reasoning.text"; text?: string | null; signature?: string | null }
  | { type: "reasoning.summary"; summary: string }
  | { type: "reasoning.encrypted"; data: string }
);

/** The entry, or undefined for one of another kind: it could not be sent back. */
export function readDetail(value: unknown): ReasoningDetail | undefined {
  const { type, text, summary, data, signature } = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const isText = (one: unknown) => one === undefined || one === null || typeof one === "string";
  const isKnown =
    (type === "reasoning.text" && isText(text) && isText(signature)) ||
    (type === "reasoning.summary" && typeof summary === "string") ||
    (type === "reasoning.encrypted" && typeof data === "string");
  return isKnown ? (value as ReasoningDetail) : undefined;
}

/** What of it a person may read. */
export const textOfDetail = (detail: ReasoningDetail): string =>
  detail.type === "reasoning.text" ? (detail.text ?? "") : detail.type === "reasoning.summary" ? detail.summary : "";

/**
 * Adds an entry of the stream. Pieces of one thought are joined: same kind and same index, until its signature has come, for a
 * signature is good for exactly the text before it. Returns the characters that were added.
 */
export function addDetail(details: ReasoningDetail[], detail: ReasoningDetail): number {
  const last = details.at(-1);
  if (last === undefined || !goesOn(last, detail)) details.push({ ...detail });
  else if (last.type === "reasoning.text" && detail.type === "reasoning.text") {
    const text = (last.text ?? "") + (detail.text ?? "");
    Object.assign(last, without(detail, last), { text, ...(detail.signature && { signature: detail.signature }) });
  } else if (last.type === "reasoning.summary" && detail.type === "reasoning.summary")
    Object.assign(last, without(detail, last), { summary: last.summary + detail.summary });
  return textOfDetail(detail).length + String(detail.signature ?? detail.data ?? "").length;
}

function goesOn(last: ReasoningDetail, next: ReasoningDetail): boolean {
  if (last.type !== next.type || last.type === "reasoning.encrypted" || (last.type === "reasoning.text" && last.signature)) return false;
  const isSame = (name: "id" | "index") => last[name] === next[name] || last[name] == null || next[name] == null;
  return isSame("id") && isSame("index");
}

/** The fields of a piece that the thought does not have yet. */
const without = (piece: ReasoningDetail, known: ReasoningDetail): object =>
  Object.fromEntries(Object.entries(piece).filter(([name, value]) => value != null && known[name] == null));
