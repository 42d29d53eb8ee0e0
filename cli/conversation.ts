import { AgentError, type PromptRequest } from "agent-runtime";
import { toAgentError } from "agent-runtime/host";
import { Asker } from "./asker.ts";
import { isFields } from "./content.ts";
import { type Frame, readFrame } from "./frames.ts";
import type { InputItem } from "./input.ts";
import { createObjectSplitter, type JsonPiece } from "./json-objects.ts";
import type { PermissionMode } from "./options.ts";

/** What a frame adds to its prompt. */
export interface Turn {
  /** Aborts when the other end interrupts it. */
  ending: AbortController;
  /** What came with `steer` while it ran and is not yet told to the model. Taken once. */
  steer(): PromptRequest["message"][];
  whenSteered(): Promise<void>;
  /** A change of it counts at once. */
  permissionMode?: PermissionMode;
  uuid?: string;
}

export interface ConversationOptions {
  /** Writes one line to stdout. */
  write(line: object): void;
  /** What lines go through before they are printed. */
  redact(text: string): string;
  /** The answer to `initialize`. Never rejects. */
  describe(): Promise<Record<string, unknown>>;
  /** The MCP servers and how they do. Never rejects. */
  servers(): Promise<object[]>;
  /** The mode that a word of Claude Code's means. Throws where it may not be set. */
  readMode(word: unknown): Promise<PermissionMode>;
}

/** A message that joins a prompt, and its bytes. */
interface Steered {
  message: PromptRequest["message"];
  size: number;
}

type RequestItem = Extract<InputItem, { kind: "request" }> & { turn: Turn };

/** What waits for its turn, and the bytes that it is counted for. */
interface Waiting {
  item: RequestItem | Extract<InputItem, { kind: "error" }>;
  size: number;
  /** Lines of frames that found no room, which this tells of. */
  crowded?: { first: number; last: number };
}

/** Bytes of what waits. */
const MOST_WAITING = 64 * 1024 * 1024;
/** What a frame takes that waits, besides its own bytes. */
const FRAME_OVERHEAD = 2048;

/**
 * The other end of `--input-format stream-json`. Its frames are read also while a prompt runs: a prompt waits for its
 * turn, everything else acts at once, whatever waits. A prompt that finds no room is refused; from a file, which nobody
 * is at the other end of, no more is read instead. What a frame sets counts for the prompts that come after it, and a
 * permission mode for all that is not yet done.
 */
export class Conversation {
  readonly asker: Asker;
  readonly #options: ConversationOptions;
  #queue: Waiting[] = [];
  #steered: Steered[] = [];
  /** Bytes of both. */
  #size = 0;
  #isFile = false;
  #running: Turn | undefined;
  #settings: Partial<PromptRequest> = {};
  #permissionMode: PermissionMode | undefined;
  #isOver = false;
  #wake = () => {};
  #wakeRun = () => {};
  #makeRoom = () => {};

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.asker = new Asker({
      cancel: (id) => options.write({ type: "control_cancel_request", request_id: id }),
      redact: options.redact,
    });
  }

  /** The prompts, each when the one before it is answered. */
  async *read(chunks: AsyncIterable<Uint8Array>, { isFile = false } = {}): AsyncGenerator<InputItem> {
    this.#isFile = isFile;
    if (isFile) this.asker.end();
    const reading = this.#readFrames(chunks);
    for (;;) {
      const next = this.#queue.shift();
      this.#size -= next?.size ?? 0;
      this.#makeRoom();
      if (next !== undefined) yield* this.#take(next.item);
      else if (this.#isOver) break;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    await reading;
  }

  async *#take(item: InputItem): AsyncGenerator<InputItem> {
    const { turn } = item.kind === "request" ? item : {};
    this.#running = turn;
    yield item;
    this.#running = undefined;
    for (const { message, size } of this.#takeSteered().reverse()) {
      this.#queue.unshift({ item: this.#toItem({ message }), size });
      this.#size += size;
    }
  }

  #takeSteered(): Steered[] {
    const taken = this.#steered.splice(0);
    for (const { size } of taken) this.#size -= size;
    this.#makeRoom();
    return taken;
  }

  async #readFrames(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    let found = false;
    const splitter = createObjectSplitter();
    const handle = async (pieces: JsonPiece[]) => {
      found ||= pieces.length > 0;
      for (const piece of pieces) await this.#handle(piece);
    };
    try {
      for await (const chunk of chunks) await handle(splitter.push(chunk));
      await handle(splitter.end());
      if (!found) throw new AgentError("INPUT_EMPTY");
    } catch (error) {
      this.#refuse(error);
    }
    this.asker.end();
    this.#isOver = true;
    this.#wake();
  }

  async #handle(piece: JsonPiece): Promise<void> {
    try {
      if (piece.kind === "error") throw piece.error;
      await this.#act(readFrame(piece.value, piece.line), piece);
    } catch (error) {
      this.#refuse(error);
    }
    while (this.#isFile && this.#size >= MOST_WAITING) await new Promise<void>((resolve) => (this.#makeRoom = resolve));
  }

  async #act(frame: Frame, { line, size }: { line: number; size: number }): Promise<void> {
    switch (frame.kind) {
      case "prompt":
        if (frame.steer && this.#running !== undefined && this.#hasRoom(size)) this.#steer({ message: frame.request.message, size: size + FRAME_OVERHEAD });
        else this.#put(this.#toItem(frame.request, frame.uuid), { line, size });
        return;
      case "system":
        this.#settings.system = frame.text;
        return;
      case "interrupt":
        return this.#interrupt();
      case "answer": {
        const isAwaited = this.asker.answer(frame.id, frame.answer);
        if (!isAwaited && !frame.mayBeLate) throw new AgentError("INPUT_INVALID", { line, reason: `nobody waits for the answer to "${frame.id}".` });
        if (frame.answer.decision === "reject" && frame.answer.interrupt) this.#interrupt();
        return;
      }
      case "control":
        return this.#control(frame.id, frame.request);
      case "nothing":
        return;
      default:
        frame satisfies never;
    }
  }

  #toItem(request: PromptRequest, uuid?: string): RequestItem {
    const turn: Turn = {
      ending: new AbortController(),
      steer: () => this.#takeSteered().map(({ message }) => message),
      whenSteered: () => (this.#steered.length > 0 ? Promise.resolve() : new Promise((resolve) => (this.#wakeRun = resolve))),
    };
    if (this.#permissionMode !== undefined) turn.permissionMode = this.#permissionMode;
    if (uuid !== undefined) turn.uuid = uuid;
    return { kind: "request", request: { ...this.#settings, ...request }, format: "stream-json", turn };
  }

  /** Frames that find no room one after the other share an error, so that their errors need no room of their own. */
  #put(item: Waiting["item"], { line, size }: { line: number; size: number }): void {
    if (this.#hasRoom(size)) this.#append({ item, size: size + FRAME_OVERHEAD });
    else {
      const last = this.#queue.at(-1);
      const crowded = { first: last?.crowded?.first ?? line, last: line };
      const lines = crowded.first === line ? `line ${line}` : `lines ${crowded.first} to ${line}`;
      const error = new AgentError("INPUT_CROWDED", { lines, line: crowded.first, limit: MOST_WAITING });
      const refused: Waiting = { item: { kind: "error", error, format: "stream-json" }, size: FRAME_OVERHEAD, crowded };
      if (last?.crowded === undefined) this.#append(refused);
      else Object.assign(last, refused);
    }
  }

  #hasRoom = (size: number): boolean => this.#isFile || this.#size + size + FRAME_OVERHEAD <= MOST_WAITING;

  #steer(steered: Steered): void {
    this.#steered.push(steered);
    this.#size += steered.size;
    this.#wakeRun();
  }

  #append(waiting: Waiting): void {
    this.#queue.push(waiting);
    this.#size += waiting.size;
    this.#wake();
  }

  #refuse(error: unknown): void {
    const failure = toAgentError(error);
    this.#put({ kind: "error", error: failure, format: "stream-json" }, { line: Number(failure.data.line ?? 0), size: 0 });
  }

  /** The prompt that runs, or the one that is about to. */
  #interrupt(): void {
    const [next] = this.#waitingTurns();
    (this.#running ?? next)?.ending.abort(new AgentError("INTERRUPTED"));
  }

  #waitingTurns = (): Turn[] => this.#queue.flatMap(({ item }) => (item.kind === "request" ? [item.turn] : []));

  /** Whoever narrows what is allowed means the next call, not the next prompt. */
  #setMode(mode: PermissionMode): void {
    this.#permissionMode = mode;
    for (const turn of [this.#running, ...this.#waitingTurns()]) if (turn !== undefined) turn.permissionMode = mode;
  }

  /** The Agent SDK's requests. Each is answered, also where it is not known here. */
  async #control(id: string, request: Record<string, unknown>): Promise<void> {
    try {
      const response = await this.#answer(request);
      this.#options.write({ type: "control_response", response: { subtype: "success", request_id: id, ...(response && { response }) } });
    } catch (error) {
      this.#options.write({ type: "control_response", response: { subtype: "error", request_id: id, error: toAgentError(error).message } });
    }
  }

  async #answer(request: Record<string, unknown>): Promise<Record<string, unknown> | undefined> {
    switch (request.subtype) {
      case "initialize":
        refuseForeign(request);
        this.#settings = { ...this.#settings, ...readInitialize(request) };
        return this.#options.describe();
      case "interrupt":
        this.#interrupt();
        return { still_queued: this.#waitingTurns().flatMap(({ uuid }) => uuid ?? []) };
      case "set_model":
        this.#settings = withModel(this.#settings, request.model);
        return undefined;
      case "set_permission_mode":
        this.#setMode(await this.#options.readMode(request.mode));
        return undefined;
      case "mcp_status":
        return { mcpServers: await this.#options.servers() };
      default:
        throw new AgentError("NOT_AVAILABLE", { name: `The control request ${String(request.subtype).slice(0, 100)}` });
    }
  }
}

/** A client that relies on its hooks must not find out later that nobody has asked them. */
function refuseForeign(request: Record<string, unknown>): void {
  const foreign = ["hooks", "sdkMcpServers"].find((key) => Object.keys(request[key] ?? {}).length > 0);
  if (foreign !== undefined) throw new AgentError("NOT_AVAILABLE", { name: `The client's ${foreign}` });
}

/** An empty system prompt, which the SDK sends where its user set none, replaces nothing. */
function readInitialize({ systemPrompt, appendSystemPrompt, jsonSchema }: Record<string, unknown>): Partial<PromptRequest> {
  const system = [systemPrompt].flat().filter((text): text is string => typeof text === "string" && text.trim() !== "");
  return {
    ...(system.length > 0 && { system: system.join("\n\n") }),
    ...(typeof appendSystemPrompt === "string" && { appendSystem: appendSystemPrompt }),
    ...(isFields(jsonSchema) && { outputSchema: jsonSchema }),
  };
}

function withModel({ model: _, ...settings }: Partial<PromptRequest>, model: unknown): Partial<PromptRequest> {
  return typeof model === "string" && model !== "" && model !== "default" ? { ...settings, model } : settings;
}
