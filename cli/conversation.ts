import { AgentError, type PromptRequest } from "agent-runtime";
import { toAgentError } from "agent-runtime/host";
import { Asker } from "./asker.ts";
import { type Frame, isFields, readFrame } from "./frames.ts";
import type { InputItem } from "./input.ts";
import { createObjectSplitter, type JsonPiece } from "./json-objects.ts";
import type { PermissionMode } from "./options.ts";

/** What a frame adds to its prompt. */
export interface Turn {
  /** Aborts when the other end interrupts it. */
  ending: AbortController;
  /** Words that came with `steer` while it ran and are not yet told to the model. */
  steered: string[];
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
  /** The mode that a word of Claude Code's means. Throws where it may not be set. */
  readMode(word: unknown): Promise<PermissionMode>;
}

type RequestItem = Extract<InputItem, { kind: "request" }> & { turn: Turn };

/** Prompts that wait; beyond it the other end has to, unless it is asked: its answer may stand behind more of them. */
const LONGEST_QUEUE = 1000;

/**
 * The other end of `--input-format stream-json`. Its frames are read also while a prompt runs: a prompt waits for its
 * turn, everything else acts at once. What a frame sets counts for the prompts that come after it.
 */
export class Conversation {
  readonly asker: Asker;
  readonly #options: ConversationOptions;
  #queue: (RequestItem | Extract<InputItem, { kind: "error" }>)[] = [];
  #running: Turn | undefined;
  #settings: Partial<PromptRequest> = {};
  #permissionMode: PermissionMode | undefined;
  #isOver = false;
  #wake = () => {};
  #makeRoom = () => {};

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.asker = new Asker({
      asked: () => this.#makeRoom(),
      cancel: (id) => options.write({ type: "control_cancel_request", request_id: id }),
      redact: options.redact,
    });
  }

  /** The prompts, each when the one before it is answered. */
  async *read(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<InputItem> {
    const reading = this.#readFrames(chunks);
    for (;;) {
      const item = this.#queue.shift();
      this.#makeRoom();
      if (item !== undefined) yield* this.#take(item);
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
    const late = turn?.steered.splice(0) ?? [];
    this.#queue.unshift(...late.map((message) => this.#toItem({ message })));
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
      await this.#act(readFrame(piece.value, piece.line), piece.line);
    } catch (error) {
      this.#refuse(error);
    }
    while (this.#queue.length >= LONGEST_QUEUE && !this.asker.isWaiting) await new Promise<void>((resolve) => (this.#makeRoom = resolve));
  }

  async #act(frame: Frame, line: number): Promise<void> {
    switch (frame.kind) {
      case "prompt":
        if (frame.steer && this.#running !== undefined) this.#running.steered.push(frame.request.message);
        else this.#put(this.#toItem(frame.request, frame.uuid));
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
    const turn: Turn = { ending: new AbortController(), steered: [] };
    if (this.#permissionMode !== undefined) turn.permissionMode = this.#permissionMode;
    if (uuid !== undefined) turn.uuid = uuid;
    return { kind: "request", request: { ...this.#settings, ...request }, format: "stream-json", turn };
  }

  #put(item: RequestItem | Extract<InputItem, { kind: "error" }>): void {
    this.#queue.push(item);
    this.#wake();
  }

  #refuse(error: unknown): void {
    this.#put({ kind: "error", error: toAgentError(error), format: "stream-json" });
  }

  /** The prompt that runs, or the one that is about to. */
  #interrupt(): void {
    const next = this.#queue.find((item) => item.kind === "request");
    (this.#running ?? next?.turn)?.ending.abort(new AgentError("INTERRUPTED"));
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
        return { still_queued: this.#queue.flatMap((item) => (item.kind === "request" && item.turn.uuid !== undefined ? [item.turn.uuid] : [])) };
      case "set_model":
        this.#settings = withModel(this.#settings, request.model);
        return undefined;
      case "set_permission_mode":
        this.#permissionMode = await this.#options.readMode(request.mode);
        return undefined;
      case "mcp_status":
        return { mcpServers: [] };
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
