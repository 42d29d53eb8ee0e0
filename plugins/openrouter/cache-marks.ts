import type { Fetch } from "agent-runtime";

/** Anthropic refuses a request with more. */
const MOST_MARKS = 4;

interface Marked {
  cache_control?: object;
}
type Part = Marked & { type: string; text?: string };
type WireMessage = Marked & { role: string; content?: string | Part[] | null };
type Body = Marked & { messages?: WireMessage[]; tools?: Marked[] };

/**
 * OpenRouter reads marks on text parts and on tools, nowhere else, and is reported to hang on one beside a tool's result.
 * The package writes them there, leaves out that of the tools, and gives a marked message another form than the same
 * message without one. Here each mark moves into the text, and every text is a part, marked or not: what was sent once
 * is sent in the same bytes again. A body without marks stays as it is.
 */
export function withCacheMarks(fetch: Fetch): Fetch {
  return (input, init) => {
    const isMarked = typeof init?.body === "string" && init.body.includes('"cache_control":');
    return fetch(input, isMarked ? { ...init, body: placeMarks(init.body as string) } : init);
  };
}

export function placeMarks(text: string): string {
  const body = JSON.parse(text) as Body;
  const messages = (body.messages ?? []).map(withParts);
  const parts = messages.flatMap(({ content }) => (Array.isArray(content) ? content : [])).filter(isMarked);
  const mark = parts[0]?.cache_control;
  if (mark === undefined) return text;
  const tools = body.tools?.map((tool, index, { length }) => (index === length - 1 ? { ...tool, cache_control: mark } : tool));
  // What the request asks for as a whole is one more. The first and the newest of the others count: a hook may have added some.
  const left = MOST_MARKS - (body.cache_control ? 1 : 0) - (tools?.length ? 1 : 0);
  for (const part of parts.slice(1, Math.max(1, parts.length - (left - 1)))) delete part.cache_control;
  return JSON.stringify({ ...body, messages, ...(tools && { tools }) });
}

const isMarked = (item: Marked): boolean => item.cache_control !== undefined && item.cache_control !== null;

/** The text of a message as a part, and its mark on its last text; an empty text takes none. */
function withParts({ cache_control: own, ...message }: WireMessage): WireMessage {
  if (message.content === null || message.content === undefined || message.content === "") return message;
  const content: Part[] = typeof message.content === "string" ? [{ type: "text", text: message.content }] : message.content.map((part) => ({ ...part }));
  const mark = own ?? content.findLast(isMarked)?.cache_control;
  if (message.role === "system") return { ...message, content };
  for (const part of content) delete part.cache_control;
  const carrier = content.findLast(({ type, text }) => type === "text" && text !== "");
  if (carrier !== undefined && mark) carrier.cache_control = mark;
  return { ...message, content };
}
