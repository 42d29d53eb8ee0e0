import { isUtf8 } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, mkdir, open, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AgentError, ERRORS, type ErrorCode, type ErrorData, errorMessage } from "./errors.ts";
import { FENCE_ID } from "./fence.ts";
import { canHold, heldPath, readRegular } from "./held.ts";
import { HeaderList, HttpResponse, type Pieces, piecesOf } from "./http-exchange.ts";
import type { Log } from "./log.ts";
import type { Redactor } from "./redact.ts";

/** What a model was asked; `body` is the parsed JSON of the request, or its text where it is none. */
export interface Asked {
  provider: string;
  model: string;
  body: unknown;
}

/** A piece of a body as it came; bytes that are not UTF-8 by themselves are in base64. */
type Piece = string | { base64: string };

/** An answer as it came, piece by piece. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Piece[];
}

/** One file of a recording. `response` is missing where none came; `failure` is what the exchange broke off with. */
interface RecordingFile {
  version: number;
  provider: string;
  model: string;
  request: unknown;
  response?: Answer;
  failure?: { code: string; data: ErrorData };
}

const VERSION = 1;
/** Headers of an answer that are kept: what its reader needs, and nothing that tells who asked. */
const KEPT_HEADERS = ["content-type", "retry-after", "retry-after-ms"];
/** Bytes of one body that are kept; a longer one is not recorded. */
const BODY_LIMIT = 64 * 1024 * 1024;

/** How a copied exchange ended: `whole`, `left` by its reader before the end, `failed`, or too long to be kept. */
export type CopyEnd = { kind: "whole" | "left" | "failed"; pieces: Uint8Array[]; error?: unknown } | { kind: "too long" };

/** The same answer, read no faster than before; `keep` is called once when its body is over. */
export function copyBody(response: Response, keep: (end: CopyEnd) => void): Response {
  const whole = piecesOf(response);
  const { status, statusText, url, headers } = response;
  const pieces: Uint8Array[] = [];
  let size = 0;
  let isOver = false;
  const end = (kind: "whole" | "left" | "failed", error?: unknown) => {
    if (!isOver) keep(size > BODY_LIMIT ? { kind: "too long" } : { kind, pieces, error });
    isOver = true;
  };
  const read = async () => {
    const piece = await (whole as Pieces).read().catch((error: unknown) => {
      end("failed", error);
      throw error;
    });
    if (piece.value === undefined) end("whole");
    else {
      size += piece.value.length;
      if (size > BODY_LIMIT) pieces.length = 0;
      else pieces.push(piece.value);
    }
    return piece;
  };
  const cancel = async (reason: unknown) => {
    end("left");
    await whole?.cancel(reason);
  };
  if (whole === undefined) end("whole");
  return new HttpResponse({ status, statusText, url, headers, pieces: whole && { read, cancel } }) as unknown as Response;
}

/** What is kept of an answer. */
export function toAnswer({ status, headers }: Response, pieces: Uint8Array[]): Answer {
  const kept = KEPT_HEADERS.flatMap((name) => (headers.get(name) === null ? [] : [[name, headers.get(name) as string]]));
  return { status, headers: Object.fromEntries(kept), body: pieces.map(toPiece) };
}

const toPiece = (bytes: Uint8Array): Piece => (isUtf8(bytes) ? Buffer.from(bytes).toString("utf8") : { base64: Buffer.from(bytes).toString("base64") });
const toBytes = (piece: Piece): Uint8Array => (typeof piece === "string" ? Buffer.from(piece, "utf8") : Buffer.from(piece.base64, "base64"));

/** The answer again, in the pieces in which it came; `failure` breaks it off after the last. */
export function toResponse({ status, headers, body }: Answer, failure?: Error): Response {
  const left = body.map(toBytes);
  const read = async () => {
    const value = left.shift();
    if (value === undefined && failure !== undefined) throw failure;
    return { done: value === undefined, value };
  };
  const pieces = { read, cancel: async () => {} };
  return new HttpResponse({ status, statusText: "", url: "", headers: new HeaderList(headers), pieces }) as unknown as Response;
}

/** Names the session to the provider's prompt cache: another one in each session, and nothing that is asked. */
const CACHE_KEY = "prompt_cache_key";

/** A request's body as it is compared: equal requests have equal JSON, in which each text is rewritten. */
export function canonize(body: unknown, rewrite: (text: string) => string = (text) => text): unknown {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return sortKeys(body, rewrite);
  const { [CACHE_KEY]: _, ...asked } = body as Record<string, unknown>;
  return sortKeys(asked, rewrite);
}

function sortKeys(value: unknown, rewrite: (text: string) => string): unknown {
  if (typeof value === "string") return rewrite(value);
  if (Array.isArray(value)) return value.map((item) => sortKeys(item, rewrite));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item, rewrite)]));
}

/** SHA-256 of who was asked what, in hex. */
export const hashOf = ({ provider, model, body }: Asked): string =>
  createHash("sha256")
    .update(JSON.stringify([provider, model, body]))
    .digest("hex");

/** The ids that `newId` makes, and those of fences. */
const OWN_ID = new RegExp(`\\b(ses|msg|prt|per|call)_[0-9a-f]{12}[0-9A-Za-z]{14}\\b|${FENCE_ID}`, "g");

/**
 * Makes requests of two runs alike: ids that the runtime made are numbered in the order of their first appearance, and
 * each text of `varying` stands as `{name}`. What a request says besides must be equal.
 */
function createNormalizer(varying: Record<string, string>): (body: unknown) => unknown {
  const texts = Object.entries(varying)
    .filter(([, text]) => text.length > 1)
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([name, text]) => ({ name, pattern: new RegExp(`${text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}(?![\\w-])`, "g") }));
  return (body) => {
    const ids = new Map<string, string>();
    const numberOf = (id: string, prefix = "fence") => ids.get(id) ?? ids.set(id, `${prefix}_${ids.size + 1}`).get(id)!;
    return canonize(body, (text) => texts.reduce((all, { name, pattern }) => all.replace(pattern, `{${name}}`), text).replace(OWN_ID, numberOf));
  };
}

export interface RecordingPlace {
  /** Absolute path of the directory. */
  dir: string;
  /** Texts that differ from run to run and from machine to machine, by the name that stands for each in a recorded request. */
  varying: Record<string, string>;
  redactor: Redactor;
  log: Log;
}

type Send = () => Promise<Response>;

export interface Recorder {
  /** Sends, and keeps what came in a file of its own. Whatever fails about that is one warning. */
  record(asked: Asked, send: Send, signal: AbortSignal | null | undefined): Promise<Response>;
  /** Resolves when everything that is over has been written. */
  close(): Promise<void>;
}

/** Records into a directory, which is made when it is needed; what is there already is added to. */
export function createRecorder({ dir, varying, redactor, log }: RecordingPlace): Recorder {
  const normalize = createNormalizer(varying);
  const { write, warn, begin, takeNumber, close } = createWriter(dir, { redactor, log });
  return {
    close,
    async record(asked, send, signal) {
      // By the time of the request: so identical ones are played in their order.
      const number = takeNumber();
      // Before an answer can change what is there.
      await begin().catch(() => {});
      const about = { version: VERSION, provider: asked.provider, model: asked.model, request: normalize(redactor.redactValue(asked.body)) };
      const fail = (error: unknown, response?: Answer) => {
        if (signal?.aborted || !(error instanceof AgentError)) return;
        write(number, { ...about, ...(response && { response }), failure: { code: error.code, data: error.data } });
      };
      const response = await send().catch((error: unknown) => {
        fail(error);
        throw error;
      });
      return copyBody(response, (end) => {
        if (end.kind === "too long") return warn(`an answer is longer than ${BODY_LIMIT} bytes.`);
        const answer = toSafeAnswer(response, end.pieces, redactor);
        if (answer === undefined) return warn("an answer holds a key in parts, and is not kept.");
        if (end.kind === "failed") fail(end.error, answer);
        else if (end.kind === "whole" || !signal?.aborted) write(number, { ...about, response: answer });
      });
    },
  };
}

/** Writes files one beside the other while the run goes on; the first fault is told, and none ends the run. */
function createWriter(dir: string, { redactor, log }: Pick<RecordingPlace, "redactor" | "log">) {
  const writing = new Set<Promise<void>>();
  let start: Promise<Started> | undefined;
  let taken = 0;
  let hasWarned = false;
  const begin = () => (start ??= startRecording(dir));
  const warn = (reason: string) => {
    if (!hasWarned) log.warn(`The recording in ${dir} is not complete: ${reason}`);
    hasWarned = true;
  };
  return {
    warn,
    takeNumber: () => taken++,
    begin,
    write(number: number, file: RecordingFile): void {
      const done: Promise<void> = begin()
        .then(({ held, first }) => writeRecording(held, first + number, redactor.redactValue(file)))
        .catch((error: unknown) => warn(errorMessage(error)))
        .finally(() => writing.delete(done));
      writing.add(done);
    },
    async close(): Promise<void> {
      await Promise.all(writing);
      await start?.then(({ close }) => close()).catch(() => {});
    },
  };
}

/**
 * A key that stands in an answer may go over several pieces: it is looked for in the whole, which is then one piece.
 * Undefined where it goes over several events of a stream, and so cannot be replaced.
 */
function toSafeAnswer(response: Response, pieces: Uint8Array[], { redact }: Redactor): Answer | undefined {
  const answer = toAnswer(response, pieces);
  const text = Buffer.concat(pieces).toString("utf8");
  const safe = redact(text);
  if (holdsKey(joinDeltas(safe), redact)) return undefined;
  return safe === text ? answer : { ...answer, body: [safe] };
}

const holdsKey = (text: string, redact: Redactor["redact"]): boolean => redact(text) !== text;

/** False for an answer in which a key stands, also where a stream brings it letter by letter. */
export function isSafe(pieces: Uint8Array[], { redact }: Redactor): boolean {
  const text = Buffer.concat(pieces).toString("utf8");
  return !holdsKey(text, redact) && !holdsKey(joinDeltas(text), redact);
}

/** What the events of a stream say together, kind by kind: the names that chat completions and Anthropic's messages give to it. */
function joinDeltas(text: string): string {
  const kinds = new Map<string, string>();
  for (const [, kind = "", said = ""] of text.matchAll(/"(content|reasoning|reasoning_content|arguments|text|thinking|partial_json)":\s?"((?:[^"\\]|\\.)*)"/g))
    kinds.set(kind, (kinds.get(kind) ?? "") + said);
  return [...kinds.values()].join("\n");
}

interface Started {
  /** The directory: also when a link takes its place while it is recorded into. */
  held: string;
  /** The number after the last one in it. */
  first: number;
  close(): Promise<void>;
}

async function startRecording(dir: string): Promise<Started> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const first = Math.max(0, ...(await readdir(dir)).map(numberOf)) + 1;
  if (!canHold()) return { held: dir, first, close: async () => {} };
  const handle = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  return { held: heldPath(handle.fd), first, close: () => handle.close() };
}

const numberOf = (file: string): number => Number(/^\d+(?=-.*\.json$)/.exec(file)?.[0] ?? 0);

/** Writes aside and links, so that a file is whole and no other process's is replaced: a number that is taken is passed over. */
async function writeRecording(dir: string, first: number, file: RecordingFile): Promise<void> {
  const draft = join(dir, `.${randomBytes(8).toString("hex")}.tmp`);
  const name = `${file.provider}-${file.model}`.replace(/[^\w.-]+/g, "-").slice(0, 80);
  try {
    await writeFile(draft, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600, flag: "wx" });
    for (let number = first; ; number++) {
      const isFree = await link(draft, join(dir, `${String(number).padStart(4, "0")}-${name}.json`)).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code !== "EEXIST") throw error;
          return false;
        },
      );
      if (isFree) return;
    }
  } finally {
    await rm(draft, { force: true });
  }
}

export interface Replay {
  /** The recorded answer; identical requests are answered in their order, from then on with the last. Throws RECORDING_MISSING. */
  answer(asked: Asked): Promise<Response>;
  /** Providers of which something is recorded. */
  providers(): Promise<string[]>;
}

interface Recordings {
  /** Names of files by the hash of their request, in order. */
  files: Map<string, string[]>;
  providers: string[];
}

/** Answers from a directory; it is read when it is first asked. Throws STORE_DAMAGED or STORE_NEWER for files that are no recordings. */
export function createReplay({ dir, varying, redactor }: RecordingPlace): Replay {
  const normalize = createNormalizer(varying);
  const played = new Map<string, number>();
  let loaded: Promise<Recordings> | undefined;
  const load = () => (loaded ??= loadRecordings(dir));
  return {
    providers: async () => (await load()).providers,
    async answer({ provider, model, body }) {
      const asked: Asked = { provider, model, body: normalize(redactor.redactValue(body)) };
      const hash = hashOf(asked);
      const { files } = await load();
      const names = files.get(hash);
      if (names === undefined) throw await toMissing(asked, dir, [...files.values()].flat().sort(byNumber));
      const place = played.get(hash) ?? 0;
      played.set(hash, place + 1);
      return play(await readRecording(dir, names[Math.min(place, names.length - 1)] as string));
    },
  };
}

function play({ response, failure }: RecordingFile): Response {
  const error = failure && new AgentError((Object.hasOwn(ERRORS, failure.code) ? failure.code : "NETWORK_FAILED") as ErrorCode, failure.data);
  if (response !== undefined) return toResponse(response, error);
  throw error ?? new AgentError("NETWORK_FAILED", { reason: "nothing was recorded of the answer." });
}

const byNumber = (a: string, b: string): number => numberOf(a) - numberOf(b) || (a < b ? -1 : 1);

async function loadRecordings(dir: string): Promise<Recordings> {
  const found = await readdir(dir).catch((error: unknown) => {
    throw new AgentError("OPTION_INVALID", { option: "replay", reason: errorMessage(error) }, { cause: error });
  });
  const files = new Map<string, string[]>();
  const providers = new Set<string>();
  for (const name of found.filter((file) => numberOf(file) > 0).sort(byNumber)) {
    const { provider, model, request } = await readRecording(dir, name);
    const hash = hashOf({ provider, model, body: canonize(request) });
    files.set(hash, [...(files.get(hash) ?? []), name]);
    providers.add(provider);
  }
  return { files, providers: [...providers] };
}

async function readRecording(dir: string, name: string): Promise<RecordingFile> {
  const path = join(dir, name);
  try {
    const file = JSON.parse(readRegular(path, { follows: true }).bytes.toString()) as RecordingFile;
    if (file.version > VERSION) throw new AgentError("STORE_NEWER", { path, version: file.version });
    const { response, failure } = file;
    const isAnswer = Number.isInteger(response?.status) && Array.isArray(response?.body);
    if (typeof file.provider === "string" && typeof file.model === "string" && (isAnswer || typeof failure?.code === "string")) return file;
    throw new Error("it is no recording.");
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw new AgentError("STORE_DAMAGED", { path, reason: errorMessage(error) }, { cause: error });
  }
}

async function toMissing(asked: Asked, dir: string, names: string[]): Promise<AgentError> {
  const wanted = { provider: asked.provider, model: asked.model, ...toFields(asked.body) };
  let nearest: { name: string; difference: Difference } | undefined;
  for (const name of names) {
    const { provider, model, request } = await readRecording(dir, name);
    const difference = compare({ provider, model, ...toFields(canonize(request)) }, wanted);
    if (nearest === undefined || difference.equal > nearest.difference.equal) nearest = { name, difference };
  }
  const suggestion = nearest === undefined ? "It holds no recording. " : `The nearest one, ${nearest.name}, differs in ${describe(nearest.difference)}. `;
  return new AgentError("RECORDING_MISSING", { model: `${asked.provider}/${asked.model}`, directory: dir, suggestion });
}

const toFields = (body: unknown): object => (typeof body === "object" && body !== null && !Array.isArray(body) ? body : { body });

/** How many leaves two values share, and the first that they do not. */
interface Difference {
  equal: number;
  path?: string;
  recorded?: unknown;
  asked?: unknown;
}

function compare(recorded: unknown, asked: unknown, path = ""): Difference {
  const isTree = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
  if (!isTree(recorded) || !isTree(asked)) return Object.is(recorded, asked) ? { equal: 1 } : { equal: 0, path, recorded, asked };
  const sum: Difference = { equal: 0 };
  for (const key of new Set([...Object.keys(recorded), ...Object.keys(asked)])) {
    const way = Array.isArray(asked) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
    const { equal, ...first } = compare(recorded[key], asked[key], way);
    sum.equal += equal;
    if (sum.path === undefined) Object.assign(sum, first);
  }
  return sum;
}

const QUOTE_LENGTH = 60;

function describe({ path = "the order of its keys", recorded, asked }: Difference): string {
  const [before, now] = [recorded, asked].map((value) => (typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing"))) as [string, string];
  let start = 0;
  while (start < before.length && before[start] === now[start]) start++;
  const quote = (text: string) => JSON.stringify(text.slice(Math.max(0, start - 20), start + QUOTE_LENGTH));
  return `${path}: recorded ${quote(before)}, asked ${quote(now)}`;
}
