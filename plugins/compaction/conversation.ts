import type { Hooks } from "agent-runtime";

export type Compact = NonNullable<Hooks["compact"]>;
export type Entry = Parameters<Compact>[0][number];
export type CompactContext = Parameters<Compact>[1];
type ToolEntry = Entry & { message: Extract<Entry["message"], { role: "tool" }> };
type Output = Extract<ToolEntry["message"]["content"][number], { type: "tool-result" }>["output"];

/** A conversation, cut in three. `first` and the entry with the prompt that is being answered stay, wherever they stand. */
export interface Parts {
  first: Entry;
  /** What may be summarised. */
  old: Entry[];
  /** The newest entries: begins with a prompt or an answer, so no call stands without its results, nor without the files that these gave. */
  recent: Entry[];
}

/** Keeps at most `tokens` of the newest entries and at most `turns` prompts, but always the last message with its results. */
export function cutRecent(entries: readonly Entry[], limits: { tokens: number; turns: number }, { estimateTokens, promptId }: CompactContext): Parts {
  const pinned = Math.max(
    0,
    entries.findIndex(({ message }) => message.role === "user"),
  );
  let start = entries.length;
  let [tokens, turns] = [0, 0];
  for (let index = entries.length - 1; index > pinned; index--) {
    const entry = entries[index] as Entry;
    const isPrompt = entry.message.role === "user" && (entries[index - 1]?.message.role !== "tool" || entry.id === promptId);
    tokens += estimateTokens([entry]);
    if (isPrompt) turns++;
    if (start < entries.length && (tokens > limits.tokens || turns > limits.turns)) break;
    if (isPrompt || entry.message.role === "assistant") start = index;
  }
  return { first: entries[pinned] as Entry, old: entries.slice(pinned + 1, start), recent: entries.slice(start) };
}

const MARK_CHARACTERS = 100;

/** A text with at most about `characters`: head and tail, and how much is missing between them. */
export function elide(text: string, characters: number): string {
  if (text.length <= characters + MARK_CHARACTERS) return text;
  const half = Math.floor(characters / 2);
  return `${text.slice(0, half)}\n(${text.length - 2 * half} characters left out)\n${half === 0 ? "" : text.slice(-half)}`;
}

/** The entry with tool outputs of at most `characters` each: the same object where nothing is longer. The calls stay, so the pairs do. */
export function clipOutputs(entry: Entry, characters: number): Entry {
  const { message } = entry;
  if (message.role !== "tool") return entry;
  const content = message.content.map((part) => {
    if (part.type !== "tool-result") return part;
    const text = outputText(part.output);
    const clipped = elide(text, characters);
    if (clipped === text) return part;
    const type = part.output.type.startsWith("error") ? ("error-text" as const) : ("text" as const);
    return { ...part, output: { type, value: `${clipped}\n(This output was shortened to save context. Call the tool again where you need more of it.)` } };
  });
  return content.every((part, index) => part === message.content[index]) ? entry : { ...entry, message: { ...message, content } };
}

export const outputText = (output: Output): string =>
  "value" in output && typeof output.value === "string" ? output.value : JSON.stringify("value" in output ? output.value : output);
