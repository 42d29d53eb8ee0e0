import type { AgentEvent, Hooks, Message, PluginContext, ToolResult } from "agent-runtime";
import { cleaningOf } from "./cleaning.ts";
import type { Memory } from "./memory.ts";
import type { MemoryParts } from "./memory-parts.ts";
import { EMPTY_CONTENT, type Observation, observationId } from "./observation.ts";
import { Observer, type WatchedSession } from "./observe.ts";
import type { MemoryOptions } from "./options.ts";
import type { ToolNeeds } from "./tools.ts";
import type { WholeMemory } from "./whole-memory.ts";
import type { WorkNeeds } from "./worker.ts";

type HookContext = Parameters<NonNullable<Hooks["system"]>>[1];
type ToolCall = Parameters<NonNullable<Hooks["toolAfter"]>>[1];
export type WatchedEvent = Extract<AgentEvent, { type: "session.start" | "prompt" | "tool.finish" | "session.finish" }>;

/** ms that a session waits for what the memory has to say to it, and the part of them that the search has. */
const CONTEXT_MS = 3_000;
const SEARCH_MS = 1_500;
/** ms that a read waits for a note. */
const NOTE_MS = 1_000;
/** ms between the end of a prompt and the work: a prompt that follows at once has the process for itself. */
const PAUSE_MS = 250;
/** ms after which a piece of work no longer waits for the end of a prompt. */
const PATIENCE_MS = 60_000;

/**
 * What outlives a configuration: open stores, the sessions of this process, the worker. It has the newest configuration that
 * there is. Whatever goes wrong in it is told once; no prompt fails or waits for it.
 */
export class Life implements ToolNeeds {
  readonly #told = new Set<string>();
  readonly #running = new Set<string>();
  readonly #noted = new Set<string>();
  readonly #cleaning = cleaningOf(() => this.context);
  #context: PluginContext<MemoryOptions> | undefined;
  #setups = 0;
  #memory: Promise<WholeMemory> | undefined;
  #observer: Observer | undefined;
  #handled: Promise<void> = Promise.resolve();
  #work: { done: Promise<void>; stop: AbortController } | undefined;
  #pause: NodeJS.Timeout | undefined;
  #workedAt = Date.now();

  /** Of a setup; each ends with `leave`. */
  enter(context: PluginContext<MemoryOptions>): void {
    this.#context = context;
    this.#setups++;
  }

  async leave(): Promise<void> {
    if (--this.#setups === 0) await this.#close();
  }

  get context(): PluginContext<MemoryOptions> {
    return this.#context as PluginContext<MemoryOptions>;
  }

  get options(): MemoryOptions {
    return this.context.options;
  }

  #open(): Promise<WholeMemory> {
    const open = async () => (await import("./whole-memory.ts")).openWholeMemory(() => this.context);
    this.#memory ??= open().catch((error) => {
      this.#memory = undefined;
      throw error;
    });
    return this.#memory;
  }

  memory = (): Promise<Memory> => this.#open();

  async #watch(): Promise<Observer> {
    if (this.#observer !== undefined) return this.#observer;
    const dir = await this.context.dataDir();
    this.#observer ??= new Observer({
      inbox: async () => (await this.#open()).parts.inbox,
      skipTools: () => this.options.skipTools,
      dir,
      cleaning: this.#cleaning,
    });
    return this.#observer;
  }

  observe = (event: WatchedEvent): Promise<void> => {
    this.#follow(event);
    this.#handled = this.#handle(event).catch((error) => this.#tell(error));
    return this.#handled;
  };

  async #handle(event: WatchedEvent): Promise<void> {
    const observer = await this.#watch();
    switch (event.type) {
      case "session.start":
        return observer.start(event);
      case "prompt":
        return observer.prompt(event);
      case "tool.finish":
        return observer.finishTool(event);
      case "session.finish":
        return observer.finish(event);
      default:
        event satisfies never;
    }
  }

  /** Work is done while no prompt runs. */
  #follow({ type, sessionId, parentId }: WatchedEvent): void {
    if (type === "tool.finish" && Date.now() - this.#workedAt > PATIENCE_MS) this.#startWork();
    if (parentId !== undefined) return;
    if (type === "session.start") {
      this.#running.add(sessionId);
      clearTimeout(this.#pause);
    }
    if (type !== "session.finish") return;
    this.#running.delete(sessionId);
    if (this.#running.size > 0) return;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#startWork(), PAUSE_MS).unref();
  }

  /** Resolves when what has happened so far is noted. */
  async #settle(): Promise<void> {
    let before: Promise<void> | undefined;
    while (before !== this.#handled) {
      before = this.#handled;
      await before;
      // The observers of a plugin are called one after the other: the next one may have to be called yet.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What the session is told, at the end of its system prompt: the same in all of its prompts. */
  async system(system: string, { sessionId, parentId }: HookContext): Promise<string | undefined> {
    if (parentId !== undefined || !this.options.context.enabled) return undefined;
    const block = await this.#contextOf(sessionId).catch((error) => this.#tell(error));
    return block === undefined || block === "" ? undefined : `${system}\n\n${block}`;
  }

  async #contextOf(sessionId: string): Promise<string> {
    await this.#settle();
    const session = this.#observer?.session(sessionId);
    if (session?.context !== undefined) return session.context;
    if (session !== undefined) session.context = "";
    const { parts } = await this.#open();
    await parts.refresh();
    if (!hasNotes(parts)) return "";
    const block = await inTime(CONTEXT_MS, this.#makeContext(session), () =>
      this.#tell(new Error(`what a session is told took longer than ${CONTEXT_MS / 1000} s`)),
    );
    if (block === undefined || block === "" || session === undefined) return block ?? "";
    session.context = block;
    this.#observer?.keep(parts.inbox, session);
    return block;
  }

  async #makeContext(session: WatchedSession | undefined): Promise<string> {
    const { makeSessionContext } = await import("./session-context.ts");
    const memory = await this.memory();
    const { context, search } = this.options;
    const prompt = session?.request ?? "";
    return makeSessionContext(memory, { prompt, now: Date.now(), maxTokens: context.maxTokens, halfLifeDays: search.halfLifeDays, searchMs: SEARCH_MS });
  }

  async messages(messages: Message[], { sessionId }: HookContext): Promise<undefined> {
    this.#observer?.readEarlier(sessionId, messages);
  }

  /** The result of a read, with what is known of the traps of that file behind it. */
  async toolAfter(result: ToolResult, { tool, input }: ToolCall, { sessionId, cwd }: HookContext): Promise<ToolResult | undefined> {
    const path = (input as { filePath?: unknown } | undefined)?.filePath;
    if (tool !== "read" || typeof path !== "string" || typeof result.metadata?.filePath !== "string") return undefined;
    const key = `${sessionId}\n${path}`;
    if (this.#noted.has(key)) return undefined;
    this.#noted.add(key);
    const note = await inTime(NOTE_MS, this.#makeNote(path, cwd)).catch((error) => this.#tell(error));
    return note === undefined ? undefined : { ...result, output: `${result.output}\n${note}` };
  }

  async #makeNote(path: string, cwd: string): Promise<string | undefined> {
    if (!hasNotes((await this.#open()).parts)) return undefined;
    const { makeReadNote, pathInNotes } = await import("./read-note.ts");
    return makeReadNote(await this.memory(), pathInNotes(path, cwd));
  }

  async withoutPrivate(text: string, sessionId: string): Promise<string> {
    await this.#settle();
    return this.#observer?.session(sessionId)?.words.remove(text).text ?? text;
  }

  async hasOutside(sessionId: string): Promise<boolean> {
    await this.#settle();
    return this.#observer?.session(sessionId)?.hasOutside ?? true;
  }

  async save(said: Parameters<ToolNeeds["save"]>[0], sessionId: string): ReturnType<ToolNeeds["save"]> {
    await this.#settle();
    const session = this.#observer?.session(sessionId);
    if (session?.isPrivate) throw new Error("This prompt is private: nothing of it is kept.");
    const observation = await this.#makeSaved(said, { sessionId, session });
    const { added } = await (await this.memory()).add([observation]);
    return { id: observation.id, isNew: added > 0, trust: observation.trust };
  }

  async #makeSaved(
    said: Parameters<ToolNeeds["save"]>[0],
    { sessionId, session }: { sessionId: string; session: WatchedSession | undefined },
  ): Promise<Observation> {
    const [{ cleanAnswer }, { createPrivateWords }, { pathInNotes }, { importanceOf }, { givesOrders }] = await Promise.all([
      import("./make-item.ts"),
      import("./private-text.ts"),
      import("./read-note.ts"),
      import("./importance.ts"),
      import("./outside.ts"),
    ]);
    const words = session?.words ?? createPrivateWords();
    const clean = (text: string) => cleanAnswer(text, words, this.#cleaning).text;
    const [title, narrative] = [clean(said.title), clean(said.narrative)];
    if (title === "" || narrative === "") throw new Error("All of the title or the text is private: nothing of it is kept.");
    const made = {
      ...EMPTY_CONTENT,
      ...{ type: clean(said.type), title, narrative, sessionId, prompt: session?.prompt ?? 0, createdAt: Date.now(), by: "agent" },
      concepts: said.concepts.map(clean).filter((concept) => concept !== ""),
      filesRead: said.filesRead.map((path) => clean(pathInNotes(path, this.context.cwd))).filter((path) => path !== ""),
      ...(session?.agent !== undefined && { agent: session.agent }),
      source: { kind: "save" as const, tool: "memory_save" },
      trust: session === undefined || session.hasOutside || givesOrders(`${title}\n${narrative}`) ? ("untrusted" as const) : ("trusted" as const),
    };
    return { id: observationId(made), ...made, importance: importanceOf(made, { by: made.by }) };
  }

  /** Works on the queue; nobody waits for it but the end of the process. */
  #startWork(): void {
    if (this.options.drainSeconds === 0 || this.#work !== undefined || this.#observer === undefined) return;
    this.#workedAt = Date.now();
    const stop = new AbortController();
    const done = this.#workOff(stop.signal)
      .catch((error) => (stop.signal.aborted ? undefined : this.#tell(error)))
      .finally(() => {
        this.#work = undefined;
      });
    this.#work = { done, stop };
  }

  /** A prompt that begins meanwhile has the process for itself; what has waited for long goes on all the same. */
  async #workOff(signal: AbortSignal): Promise<void> {
    const memory = await this.#open();
    const { parts } = memory;
    const { work } = await import("./worker.ts");
    const mayTake = ({ at }: { at: number }) => this.#running.size === 0 || Date.now() - at > PATIENCE_MS;
    const { stored } = await work({ parts, context: this.#newest(), options: () => this.options, now: Date.now, signal, mayTake });
    await memory.tend(stored, signal);
  }

  /** The configuration as it is at the moment of each call: the worker takes a changed one with its next piece of work. */
  #newest(): WorkNeeds["context"] {
    const now = () => this.context;
    return {
      ask: (request) => now().ask(request),
      reload: () => now().reload(),
      lock: (name, options) => now().lock(name, options),
      extensions: (point) => now().extensions(point),
      report: (message) => now().report(message),
      redact: (text, options) => now().redact(text, options),
      get log() {
        return now().log;
      },
    };
  }

  /** The answer is out: what is queued has `drainSeconds`, what is left stays there. */
  async finish(signal: AbortSignal): Promise<void> {
    await this.#settle();
    clearTimeout(this.#pause);
    this.#running.clear();
    this.#startWork();
    if (this.#work !== undefined) await this.#drain(this.#work, signal);
    await this.#close();
  }

  async #drain({ done, stop }: { done: Promise<void>; stop: AbortController }, signal: AbortSignal): Promise<void> {
    const end = () => stop.abort();
    const timer = setTimeout(() => stop.abort(new DOMException("The time is up.", "TimeoutError")), this.options.drainSeconds * 1_000);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    await done.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    });
  }

  async #close(): Promise<void> {
    clearTimeout(this.#pause);
    const [memory, work] = [this.#memory, this.#work];
    this.#memory = undefined;
    work?.stop.abort();
    await work?.done;
    await (await memory?.catch(() => undefined))?.close();
  }

  #tell(error: unknown): undefined {
    const message = error instanceof Error ? error.message : String(error);
    if (!this.#told.has(message)) this.context.report(message);
    this.#told.add(message);
  }
}

const hasNotes = ({ inbox, archive }: MemoryParts): boolean => Object.keys(inbox.store.all("observations")).length > 0 || archive.segments().length > 0;

/** What the promise gives, or nothing where it takes longer; it goes on without anybody. Never keeps a finished process alive. */
async function inTime<T>(ms: number, promise: Promise<T>, onLate = () => {}): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      onLate();
      resolve(undefined);
    }, ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
