import { AgentError, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { describeRetryAfter } from "./retry-after.ts";
import { USER_AGENT } from "./user-agent.ts";

const MAX_BYTES = 5 * 1024 * 1024;
const [DEFAULT_SECONDS, MOST_SECONDS] = [30, 120];
/** Of an answer that refuses: bytes that are read, for how long, and characters that are shown. */
const [MOST_OF_REFUSAL, REFUSAL_MS, REFUSAL_LENGTH] = [64 * 1024, 2_000, 1_000];
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
    run: (request, context) => fetchPage(request, allowPrivateHosts, context),
  });

/** The URL that is fetched, however it is spelt. */
const normalise = (url: string): string => (URL.canParse(url.trim()) ? new URL(url.trim()).href : url);

type Format = keyof typeof ACCEPT;

async function fetchPage(request: z.infer<typeof input>, allowPrivateHosts: string[], context: ToolContext): Promise<ToolResult> {
  const { format = "markdown", timeout = DEFAULT_SECONDS } = request;
  const url = request.url.trim();
  const response = await context.fetch(url, {
    headers: { "user-agent": USER_AGENT, accept: ACCEPT[format] },
    signal: context.signal,
    timeoutMs: Math.min(Math.max(timeout, 1), MOST_SECONDS) * 1000,
    maxBytes: MAX_BYTES,
    allowPrivateHosts,
    onRedirect: (next) => context.permit({ ...request, url: next }),
  });
  const type = response.headers.get("content-type") ?? "";
  const page: PageText = { type, format, url: response.url || url, signal: context.signal };
  const title = `${page.url} (${type || "no content type"})`;
  if (!response.ok) throw await refusal(response, await describeRefusal(response, page));
  const encoding = findUnknownEncoding(response);
  if (encoding !== undefined) throw await refusal(response, `it is compressed as "${encoding}", which is not read.`);
  if (isBinaryType(type)) return { title, ...(await readBinary(response, type, context)) };
  const bytes = new Uint8Array(await response.arrayBuffer());
  const text = decode(bytes, type);
  if (looksBinary(text, type)) return { title, output: notice(response, "binary", bytes.length) };
  return { title, output: (await toFormat(text, page)) || `${page.url} is empty.`, metadata: { bytes: bytes.length, contentType: type } };
}

/** What a server answers instead of a page, with the beginning of what it says about that. */
async function describeRefusal(response: Response, page: PageText): Promise<string> {
  const { status, statusText, headers } = response;
  const answer = `the server answered ${`${status} ${statusText}`.trim()}${describeRetryAfter(headers.get("retry-after"))}`;
  if (isBinaryType(page.type) || findUnknownEncoding(response) !== undefined) return `${answer}.`;
  const text = await toFormat(decode(await readStart(response), page.type), { ...page, format: "text" });
  page.signal.throwIfAborted();
  const said = text.replace(/[\0-\x1f\s]+/g, " ").trim();
  if (said.length > REFUSAL_LENGTH) return `${answer}: ${said.slice(0, REFUSAL_LENGTH)}…`;
  return `${answer}${said && `: ${said.replace(/\.$/, "")}`}.`;
}

/** The beginning of a body, also of one that breaks off or never ends. */
async function readStart(response: Response): Promise<Uint8Array> {
  const reader = response.body?.getReader();
  const pieces: Uint8Array[] = [];
  const timer = setTimeout(() => reader?.cancel().catch(() => {}), REFUSAL_MS);
  let length = 0;
  try {
    for (let piece = await reader?.read(); piece?.value !== undefined && length < MOST_OF_REFUSAL; piece = await reader?.read()) {
      pieces.push(piece.value);
      length += piece.value.length;
    }
  } catch {
    // What has come is enough.
  }
  clearTimeout(timer);
  await reader?.cancel().catch(() => {});
  reader?.releaseLock();
  return Buffer.concat(pieces);
}

/** A picture goes along for a model that takes it; of anything else it is said what it is. */
async function readBinary(response: Response, type: string, context: ToolContext): Promise<ToolResult> {
  const mediaType = nameOf(type);
  if (!(mediaType in PICTURES) || context.accepts(mediaType) === false) {
    await response.body?.cancel();
    return { output: notice(response, type, Number(response.headers.get("content-length")) || undefined) };
  }
  const bytes = Buffer.from(await response.arrayBuffer());
  if (!PICTURES[mediaType]!.test(bytes.toString("latin1", 0, 16))) return { output: notice(response, type, bytes.length) };
  const attachment = { mediaType, data: bytes.toString("base64"), filename: new URL(response.url).pathname.split("/").at(-1) || "picture" };
  return { output: `${response.url} is ${mediaType} (${bytes.length} bytes). It is attached.`, attachments: [attachment] };
}

/** How pictures that models take begin. */
const PICTURES: Record<string, RegExp> = {
  "image/png": /^\x89PNG\r\n/,
  "image/jpeg": /^\xff\xd8\xff/,
  "image/gif": /^GIF8/,
  "image/webp": /^RIFF[\s\S]{4}WEBP/,
};

async function refusal(response: Response, reason: string): Promise<AgentError> {
  await response.body?.cancel().catch(() => {});
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

/** Text is what says so, what people read as text though it is called an application, and what may turn out to be text. */
function isBinaryType(type: string): boolean {
  return (
    !isUntold(type) &&
    !/^text\/|[/+](json|xml|yaml|x-yaml|toml|x-toml|ndjson|x-ndjson|javascript|x-javascript|ecmascript|typescript|graphql|sql|x-www-form-urlencoded|x-tex)$/.test(
      nameOf(type),
    )
  );
}

const nameOf = (type: string): string => type.toLowerCase().split(";")[0]!.trim();

/** Servers send what they know nothing about as a stream of octets. */
const isUntold = (type: string): boolean => !nameOf(type).includes("/") || nameOf(type).endsWith("/octet-stream");

function looksBinary(text: string, type: string): boolean {
  const start = text.slice(0, 1024);
  return start.includes("\0") || (isUntold(type) && start.includes("\ufffd"));
}

/** Plain text is often sent as HTML. */
const TAG = /<(?:!doctype|\/[a-z]|(?:html|head|body|title|meta|p|br|hr|img|a|h[1-6]|li|td|div|input|script|frame)\b)/i;
const isHtml = (text: string, type: string): boolean => (isUntold(type) ? /^\s*<(!doctype html|html)\b/i.test(text) : /html/i.test(type) && TAG.test(text));

function decode(bytes: Uint8Array, type: string): string {
  const declared =
    /charset=["']?([\w.:-]+)/i.exec(type)?.[1] ??
    // What can be read there byte by byte is not UTF-16, whatever it says.
    /<(?:meta\b[^>]{0,200}?charset=|\?xml\b[^>]{0,100}?encoding=)["']?(?!utf-16)([\w.:-]+)/i.exec(Buffer.from(bytes.subarray(0, 1024)).toString("latin1"))?.[1];
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

interface PageText {
  type: string;
  format: Format;
  url: string;
  signal: AbortSignal;
}

async function toFormat(text: string, { type, format, url, signal }: PageText): Promise<string> {
  if (format === "html" || !isHtml(text, type)) return text;
  const { readPage } = await import("./read-page.ts");
  return readPage(text, { format, url, signal });
}
