import type { SearchContext, SearchProvider, SearchResult, ServiceOptions } from "./search-provider.ts";
import { askService, asSearchFailure, keyAdvice, readJson, searchFailed } from "./search-request.ts";

const ENDPOINT = "https://mcp.exa.ai/mcp";
const KEYS = keyAdvice("exa", "https://dashboard.exa.ai/api-keys");

/** Exa's public MCP server: one call of a tool for each search, without a key up to a limit. */
export function exa({ apiKey, url = ENDPOINT }: ServiceOptions): SearchProvider {
  const callTool = async (name: string, input: object, { fetch, signal }: SearchContext): Promise<ToolAnswer> => {
    const address = new URL(url);
    // Tools that are not offered by default are asked for by name.
    if (name !== SEARCH && !address.searchParams.has("tools")) address.searchParams.set("tools", name);
    const response = await askService({
      service: "exa",
      url: address,
      fetch,
      signal,
      headers: { accept: "application/json, text/event-stream", ...(apiKey && { authorization: `Bearer ${apiKey}` }) },
      body: { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: input } },
      keyAdvice: KEYS,
    });
    const isStream = /event-stream/i.test(response.headers.get("content-type") ?? "");
    return readAnswer(isStream ? await readEvent(response, signal) : await readJson(response, "exa", signal));
  };
  return {
    name: "exa",
    async search(query, { numResults, ...context }) {
      const { text, isError } = await callTool(SEARCH, { query, numResults }, context);
      if (isError) throw searchFailed("exa", text);
      return readResults(text);
    },
    async code(query, { tokens, ...context }) {
      const { text, isError } = await callTool("get_code_context_exa", { query, tokensNum: tokens }, context);
      if (isError && !IS_GONE.test(text)) throw searchFailed("exa", text);
      return isError ? undefined : text;
    },
  };
}

const SEARCH = "web_search_exa";
/** Exa takes this tool off its list: https://github.com/exa-labs/exa-mcp-server calls it deprecated. */
const IS_GONE = /\btool\b.*\b(not found|unknown|disabled)\b|\b(unknown|no such) tool\b/i;

interface ToolAnswer {
  text: string;
  isError: boolean;
}

/** The text of a JSON-RPC answer to `tools/call`. */
function readAnswer(answer: any): ToolAnswer {
  const { result, error } = answer ?? {};
  if (error !== undefined) return { text: String(error?.message ?? "a JSON-RPC error without a message"), isError: true };
  if (!Array.isArray(result?.content)) throw searchFailed("exa", "its answer holds neither a result nor an error");
  const texts = result.content.flatMap((part: any) => (typeof part?.text === "string" ? [part.text] : []));
  return { text: texts.join("\n\n"), isError: result.isError === true };
}

/** The first message of an event stream that is an answer; the stream may stay open behind it. */
async function readEvent(response: Response, signal: AbortSignal): Promise<unknown> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let piece = await reader?.read(); piece?.value !== undefined; piece = await reader?.read()) {
      text += decoder.decode(piece.value, { stream: true });
      const events = text.split(/\r?\n\r?\n/);
      text = events.pop() ?? "";
      const answer = events.map(readEventData).find(isAnswer);
      if (answer !== undefined) return answer;
    }
    const last = readEventData(text);
    if (isAnswer(last)) return last;
  } catch (error) {
    throw asSearchFailure("exa", error, signal);
  } finally {
    await reader?.cancel().catch(() => {});
  }
  throw searchFailed("exa", "its answer ended before the result");
}

function readEventData(event: string): any {
  const data = [...event.matchAll(/^data:(.*)$/gm)].map(([, line]) => line).join("\n");
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

const isAnswer = (message: any): boolean => typeof message === "object" && message !== null && ("result" in message || "error" in message);

/** Exa writes its results as text, one block each: lines of `Title:`, `URL:`, `Published:` and more, and then the text. */
function readResults(text: string): SearchResult[] {
  const blocks = text.split(/\n(?=Title: .*\n(?:[A-Z][\w ]*:.*\n){0,4}URL: )/).filter((block) => /^URL: /m.test(block));
  if (blocks.length === 0 && text.trim() !== "" && !/^no (search )?results/i.test(text.trim())) return [{ title: "", url: "", text }];
  return blocks.map((block) => {
    const [head = "", ...body] = block.split(/^(?:Highlights|Text|Summary|Content):[ \n]?/m);
    const field = (name: string): string => new RegExp(`^${name}: *(.*)$`, "m").exec(head)?.[1]?.trim() ?? "";
    const published = field("Published(?: Date)?");
    const publishedAt = /^\d/.test(published) ? { publishedAt: published } : {};
    return {
      title: field("Title"),
      url: field("URL"),
      text: body
        .join("\n")
        .replace(/\n-{3,}\s*$/, "")
        .trim(),
      ...publishedAt,
    };
  });
}
