import { AgentError, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { htmlToMarkdown, htmlToText } from "./html.ts";

const USER_AGENT = "agent-runtime/0.1.0 (+https://github.com/agent-runtime/agent-runtime)";
const MAX_BYTES = 5 * 1024 * 1024;
const [DEFAULT_SECONDS, MOST_SECONDS] = [30, 120];
const ACCEPT = {
  markdown: "text/markdown, text/html;q=0.9, text/plain;q=0.8, */*;q=0.1",
  text: "text/plain, text/html;q=0.9, */*;q=0.1",
  html: "text/html, */*;q=0.1",
};

const input = z.object({ url: z.string(), format: z.enum(["text", "markdown", "html"]).optional(), timeout: z.number().describe("seconds").optional() });

/** The tool that reads one page. `allowPrivateHosts`: hosts, addresses and CIDR ranges that it may reach though they are not public. */
export const webfetch = (allowPrivateHosts: string[]): Tool =>
  tool({
    name: "webfetch",
    description: "Fetch a public URL and return its text, HTML as Markdown.",
    input,
    effect: "net",
    patterns: ({ url }) => [normalise(url)],
    run: ({ url, format = "markdown", timeout = DEFAULT_SECONDS }, context) => fetchPage(url.trim(), { format, timeout, allowPrivateHosts }, context),
  });

/** The URL that is fetched, however it is spelt. */
const normalise = (url: string): string => (URL.canParse(url.trim()) ? new URL(url.trim()).href : url);

interface PageOptions {
  format: keyof typeof ACCEPT;
  timeout: number;
  allowPrivateHosts: string[];
}

async function fetchPage(url: string, { format, timeout, allowPrivateHosts }: PageOptions, context: ToolContext): Promise<ToolResult> {
  const timeoutMs = Math.min(Math.max(timeout, 1), MOST_SECONDS) * 1000;
  const headers = { "user-agent": USER_AGENT, accept: ACCEPT[format] };
  const response = await context.fetch(url, { headers, signal: context.signal, timeoutMs, maxBytes: MAX_BYTES, allowPrivateHosts });
  const type = response.headers.get("content-type") ?? "";
  const title = `${response.url || url} (${type || "no content type"})`;
  if (!response.ok) throw await refusal(response, `the server answered ${`${response.status} ${response.statusText}`.trim()}.`);
  const encoding = findUnknownEncoding(response);
  if (encoding !== undefined) throw await refusal(response, `it is compressed as "${encoding}", which is not read.`);
  if (isBinaryType(type)) {
    await response.body?.cancel();
    return { title, output: notice(response, type, Number(response.headers.get("content-length")) || undefined) };
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (type === "" && bytes.subarray(0, 1024).includes(0)) return { title, output: notice(response, "binary", bytes.length) };
  const text = decode(bytes, type);
  return { title, output: (await toFormat(text, type, format)) || `${response.url || url} is empty.`, metadata: { bytes: bytes.length, contentType: type } };
}

async function refusal(response: Response, reason: string): Promise<AgentError> {
  await response.body?.cancel();
  return new AgentError("FETCH_FAILED", { url: response.url, reason });
}

/** A server that ignores what it was asked for; what the client reads is undone by then. */
const findUnknownEncoding = ({ headers }: Response): string | undefined =>
  (headers.get("content-encoding") ?? "")
    .split(",")
    .find((name) => !/^(|identity|x-gzip|gzip|deflate|br)$/i.test(name.trim()))
    ?.trim();

const notice = (response: Response, type: string, bytes: number | undefined): string =>
  `${response.url} is ${type.split(";")[0]}${bytes === undefined ? "" : ` (${bytes} bytes)`}, not text. It was not read.`;

/** Text is what says so, and what people read as text though it is called an application. */
function isBinaryType(type: string): boolean {
  const [name = ""] = type.toLowerCase().split(";");
  return (
    name.trim() !== "" &&
    !/^text\/|[/+](json|xml|yaml|x-yaml|toml|x-toml|ndjson|x-ndjson|javascript|ecmascript|typescript|graphql|sql|x-www-form-urlencoded|x-tex)$/.test(
      name.trim(),
    )
  );
}

const isHtml = (text: string, type: string): boolean => /html/i.test(type) || (type === "" && /^\s*<(!doctype html|html)\b/i.test(text));

function decode(bytes: Uint8Array, type: string): string {
  const declared =
    /charset=["']?([\w.:-]+)/i.exec(type)?.[1] ??
    /<meta\b[^>]{0,200}?charset=["']?([\w.:-]+)/i.exec(Buffer.from(bytes.subarray(0, 1024)).toString("latin1"))?.[1];
  const mark = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : undefined;
  try {
    const decoder = new TextDecoder(mark ?? declared ?? "utf-8");
    const text = decoder.decode(bytes);
    return decoder.encoding === "windows-1252" ? text.replace(/[\x80-\x9f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]!) : text;
  } catch {
    return new TextDecoder().decode(bytes);
  }
}

/** 0x80 to 0x9f, which Node.js 20 decodes as if they were ISO 8859-1 (https://encoding.spec.whatwg.org/#legacy-single-byte-encodings). */
const WINDOWS_1252 = [..."€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ"];

async function toFormat(text: string, type: string, format: PageOptions["format"]): Promise<string> {
  if (format === "html" || !isHtml(text, type)) return text;
  return format === "text" ? htmlToText(text) : htmlToMarkdown(text);
}
