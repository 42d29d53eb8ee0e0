import { AgentError, type PluginContext } from "agent-runtime";
import { type Cleaning, cleaningOf } from "./cleaning.ts";
import { addTurn, openConversation, type Said } from "./conversation.ts";
import { findMode } from "./find-mode.ts";
import { eraseLeft } from "./forget.ts";
import type { ItemState } from "./inbox.ts";
import { EMPTY_REPLY, replySchema, systemText } from "./instructions.ts";
import { FRESH, fileFresh, type MemoryParts, persist } from "./memory-parts.ts";
import type { Mode } from "./mode.ts";
import type { Content, Observation } from "./observation.ts";
import type { MemoryOptions } from "./options.ts";
import { PROJECTS } from "./project.ts";
import { storeResult } from "./store-result.ts";
import type { WorkItem } from "./work-item.ts";

export interface WorkNeeds {
  parts: MemoryParts;
  context: Pick<PluginContext, "ask" | "reload" | "lock" | "extensions" | "log" | "report" | "redact">;
  /** As they are now: asked again for each piece of work. */
  options(): MemoryOptions;
  /** ms since 1970 */
  now(): number;
  signal: AbortSignal;
  /** Pieces of work; all of them by default. */
  limit?: number | undefined;
  /** Asked before each piece of work: false ends it, with nothing lost. */
  mayTake?(item: WorkItem): boolean;
}

export interface WorkReport {
  stored: Observation[];
  /** Pieces of work that are left, dead ones aside. */
  left: number;
  /** Why it ended before everything was done, where providers failed. */
  failure?: string | undefined;
  /** The process that is at work already. */
  busy?: number;
}

/** Works off a queue. One process does at a time: where another is at work, this one leaves it to that one. */
export async function work(needs: WorkNeeds): Promise<WorkReport> {
  const { parts, context } = needs;
  await parts.refresh();
  if (!isDue(parts)) return { stored: [], left: 0 };
  const lock = await context.lock(`${PROJECTS}/${parts.project}/worker`);
  if ("busy" in lock) return { stored: [], left: leftIn(parts), busy: lock.busy };
  try {
    return await new Worker(needs).run();
  } finally {
    lock.release();
  }
}

const leftIn = ({ inbox }: MemoryParts): number => inbox.items().filter(({ state }) => state !== "dead").length;

const freshIn = ({ inbox: { store } }: MemoryParts): number => Object.keys(store.all("observations")).length;

/** Whether there is anything to do at all: most ends of a process find nothing, and take no lock. */
const isDue = (parts: MemoryParts): boolean => leftIn(parts) > 0 || freshIn(parts) >= FRESH || Object.keys(parts.inbox.store.all("erase")).length > 0;

/** Items without a model that one write takes. */
const BATCH = 50;
/** Failures in a row after which a person is told. */
const FAILURES_TO_TELL = 3;
/** Errors that no waiting mends: they are told at once. */
const SETTINGS = new Set([
  ...["OPTION_INVALID", "MODEL_INVALID", "MODEL_UNSET", "MODEL_NOT_FOUND", "MODEL_NOT_FREE", "MODEL_UNAVAILABLE"],
  ...["KEY_MISSING", "AUTH_REFUSED", "QUOTA_EXCEEDED", "PROVIDER_BROKEN"],
]);
const REASON_CHARACTERS = 600;
/** How often a reply that was cut is asked for again, each time with half as much to read. */
const MAX_CUTS = 2;

/** What became of asking about one item. */
type Outcome =
  | { kind: "done" }
  /** The provider cannot be asked now; nothing is lost, and nothing counts. `code`: of our error, where it is one. */
  | { kind: "failed"; reason: string; code?: string }
  /** The request itself was refused: because of the item, or of how we ask? The next one tells. */
  | { kind: "refused"; reason: string }
  | { kind: "aborted" };

class Worker {
  readonly #needs: WorkNeeds;
  readonly #cleaning: Cleaning;
  readonly #parts: MemoryParts;
  readonly #stored: Observation[] = [];
  /** Refused; passed over until the next start. */
  readonly #suspects = new Map<string, { reason: string; isCounted: boolean }>();
  /** Those that were told. */
  readonly #fallbacks = new Set<string>();
  #taken = 0;
  #isFiling = true;

  constructor(needs: WorkNeeds) {
    this.#needs = needs;
    this.#cleaning = cleaningOf(() => needs.context);
    this.#parts = needs.parts;
  }

  async run(): Promise<WorkReport> {
    await this.#recover();
    const failure = await this.#workOff().catch((error: unknown) => {
      if (!(error instanceof AgentError)) throw error;
      return this.#noteFailure({ reason: this.#clean(`${error.code}: ${error.message}`), code: error.code });
    });
    await this.#fileIfDue();
    return { stored: this.#stored, left: leftIn(this.#parts), ...(failure !== undefined && { failure }) };
  }

  /** We have the lock, so whoever had leased something is gone. */
  async #recover(): Promise<void> {
    const { inbox } = this.#parts;
    await this.#parts.change(async () => {
      for (const { id, state, attempts } of inbox.items()) if (state === "leased") inbox.setState(id, { state: "pending", attempts });
      for (const id of Object.keys(inbox.store.all("states"))) if (inbox.store.get("items", id) === undefined) inbox.store.remove("states", id);
      await inbox.store.write();
      await eraseLeft(this.#parts).catch((error: unknown) => this.#needs.context.log.warn(String(error)));
    });
  }

  /** What cannot be filed stays in the inbox, where it is found all the same. */
  async #fileIfDue(): Promise<void> {
    if (!this.#isFiling || freshIn(this.#parts) < FRESH) return;
    await this.#parts
      .change(() => fileFresh(this.#parts))
      .catch((error: unknown) => {
        this.#isFiling = false;
        this.#needs.context.log.warn("observations could not be filed", { reason: String(error) });
      });
  }

  /** In the order in which it came. Returns why it ended early, where providers failed. */
  async #workOff(): Promise<string | undefined> {
    const { signal } = this.#needs;
    while (!signal.aborted && this.#taken < (this.#needs.limit ?? Number.POSITIVE_INFINITY)) {
      await this.#fileIfDue();
      const item = await this.#next();
      if (item === undefined || this.#needs.mayTake?.(item) === false) return undefined;
      await this.#needs.context.reload();
      const options = this.#needs.options();
      const mode = findMode(options.mode, this.#needs.context.extensions("memory.mode"));
      if (options.model === undefined && options.provider === undefined) {
        await this.#workByRules(mode);
        continue;
      }
      const outcome = await this.#workOn(item, options, mode);
      if (outcome.kind === "aborted") return this.#noteSilence();
      if (outcome.kind === "done") await this.#judgeSuspects(options);
      else if (outcome.kind === "refused" && [...this.#suspects.values()].every(({ isCounted }) => isCounted))
        this.#suspects.set(item.id, { reason: outcome.reason, isCounted: false });
      else return this.#noteFailure(outcome);
    }
    return undefined;
  }

  async #next(): Promise<WorkItem | undefined> {
    await this.#parts.refresh();
    const known = this.#pending(1)[0];
    if (known !== undefined) return known;
    await this.#parts.refresh({ force: true });
    return this.#pending(1)[0];
  }

  #pending(most: number): WorkItem[] {
    const { inbox } = this.#parts;
    const found: WorkItem[] = [];
    for (const id of Object.keys(inbox.store.all("items"))) {
      if (found.length === most) break;
      const state = inbox.store.get("states", id)?.state ?? "pending";
      if (state === "pending" && !this.#suspects.has(id)) found.push(inbox.item(id) as WorkItem);
    }
    return found;
  }

  async #workByRules(mode: Mode): Promise<void> {
    const { contentsByRules } = await import("./extract.ts");
    const left = (this.#needs.limit ?? Number.POSITIVE_INFINITY) - this.#taken;
    await this.#parts.change(async () => {
      for (const item of this.#pending(Math.min(BATCH, left))) {
        this.#taken++;
        this.#keep(await storeResult(this.#parts, item, { contents: contentsByRules(item, mode), by: "heuristic", now: this.#needs.now() }));
      }
      await persist(this.#parts);
    });
  }

  #keep(observations: Observation[]): void {
    this.#stored.push(...observations);
  }

  /** Leased, asked, and either stored and acknowledged in one write, or pending again. */
  async #workOn(item: WorkItem, options: MemoryOptions, mode: Mode): Promise<Outcome> {
    this.#taken++;
    for (let cuts = 0; ; cuts++) {
      const asked = await this.#ask(item, { options, mode, cuts });
      if (asked.kind === "cut") {
        if (cuts < MAX_CUTS) continue;
        return this.#countAttempt(item.id, `its reply was cut ${cuts + 1} times: raise maxOutputTokens`, options);
      }
      if (asked.kind === "unusable") return this.#countAttempt(item.id, asked.reason, options);
      return asked;
    }
  }

  async #ask(item: WorkItem, how: AskHow): Promise<Outcome | { kind: "cut" } | { kind: "unusable"; reason: string }> {
    const { inbox } = this.#parts;
    const asking = this.#openAsking(item, how);
    this.#setState(item, "leased");
    await inbox.store.write();
    try {
      const answer = await this.#needs.context.ask({ ...this.#requestFor(item, how, asking), on: (event) => this.#noteStep(item, event) });
      return await this.#settle(item, answer, { ...how, ask: asking.ask });
    } catch (error) {
      this.#setState(item, "pending");
      await inbox.store.write();
      return this.#judgeError(error);
    }
  }

  #openAsking(item: WorkItem, { options, mode, cuts }: AskHow) {
    const window = { maxMessages: options.maxContextMessages, maxTokens: options.maxTokens };
    const system = systemText(mode);
    const asking = openConversation(this.#parts.inbox, item, { mode, window, system, cuts });
    if (asking.cut) this.#needs.context.log.warn("the extractor's conversation was cut", { session: item.sessionId, ...asking.cut });
    return { ...asking, system };
  }

  #requestFor(item: WorkItem, { options, mode }: AskHow, { said, system }: { said: Said[]; system: string }): Parameters<PluginContext["ask"]>[0] {
    const { provider, apiKey, siteUrl, appName, temperature, maxOutputTokens } = options;
    const ofSummary = item.kind === "end" ? options.summaryModel : undefined;
    const model = ofSummary ?? options.model;
    const own = { ...(apiKey !== undefined && { apiKey }), ...(siteUrl !== undefined && { siteUrl }), ...(appName !== undefined && { appName }) };
    const owner = provider ?? firstOf(options.model)?.split("/")[0];
    return {
      ...(model !== undefined && { model }),
      ...(ofSummary === undefined && provider !== undefined && { provider }),
      system,
      messages: said.map(({ role, text }) => ({ role, content: [{ type: "text", text }] })),
      temperature,
      maxOutputTokens,
      outputSchema: replySchema(item, mode),
      ...(owner !== undefined && Object.keys(own).length > 0 && { providerOptions: { [owner]: own } }),
      signal: this.#needs.signal,
    };
  }

  /** On a fallback the item is free for a moment: whoever looks, or is killed, finds it as it is. The next provider gets the same messages. */
  #noteStep(item: WorkItem, { type, from, to, message }: { type: "retry" | "fallback"; from: string; to: string; message: string }): void {
    if (type === "retry") return;
    if (!this.#fallbacks.has(`${from}\n${to}`)) this.#needs.context.log.warn("extraction falls back", { from, to, reason: this.#clean(message) });
    this.#fallbacks.add(`${from}\n${to}`);
    for (const state of ["pending", "leased"] as const) {
      this.#setState(item, state);
      void this.#parts.inbox.store.write();
    }
  }

  /** The write that takes the item out is the one that puts in what came of it. What was forgotten meanwhile stays forgotten. */
  async #settle(
    item: WorkItem,
    answer: Answer,
    { mode, cuts, ask }: AskHow & { ask: string },
  ): Promise<Outcome | { kind: "cut" } | { kind: "unusable"; reason: string }> {
    const { cleanContents, readAnswer } = await import("./extract.ts");
    const reply = readAnswer(answer.text, item, { mode, isCut: answer.reason === "length", isLast: cuts >= MAX_CUTS });
    const spent = {
      requests: 1,
      input: answer.tokens.input + answer.tokens.cache.read + answer.tokens.cache.write,
      output: answer.tokens.output,
      costUsd: answer.costUsd ?? 0,
    };
    return this.#parts.change(async () => {
      const { inbox } = this.#parts;
      inbox.spend(spent);
      if (inbox.store.get("items", item.id) === undefined) {
        await persist(this.#parts);
        return { kind: "done" };
      }
      if (reply.kind !== "contents") {
        this.#setState(item, "pending");
        await inbox.store.write();
        return reply.kind === "failed" ? { kind: "failed", reason: this.#clean(reply.reason) } : reply;
      }
      inbox.store.remove("health", "extraction");
      if (reply.dropped) this.#needs.context.report(`memory: a reply had ${reply.dropped} observations too many; they were left out (${item.id}).`);
      const contents = cleanContents(reply.contents, this.#cleaning);
      const said =
        isSame(contents, reply.contents) && this.#clean(answer.text, answer.text.length) === answer.text
          ? answer.text
          : JSON.stringify({ observations: contents });
      this.#keep(await this.#storeReply(item, contents, { answer: { ...answer, text: said }, ask }));
      await persist(this.#parts);
      return { kind: "done" };
    });
  }

  async #storeReply(item: WorkItem, contents: Content[], { answer, ask }: { answer: Answer; ask: string }): Promise<Observation[]> {
    const { inbox } = this.#parts;
    const { now } = this.#needs;
    const stored = await storeResult(this.#parts, item, { contents, by: answer.model, now: now() });
    if (item.trust !== "trusted") return stored;
    const { tool, patterns = [] } = item.call ?? {};
    const reply = answer.text.trim() === "" ? EMPTY_REPLY : answer.text;
    const origin = { ...(tool !== undefined && { tool }), ...(patterns.length > 0 && { from: patterns.join("\n") }) };
    addTurn(inbox, item, { turn: { item: item.id, ask, reply, ...origin, observations: stored.map(({ id }) => id) }, now: now() });
    return stored;
  }

  #judgeError(error: unknown): Outcome | { kind: "cut" } | { kind: "unusable"; reason: string } {
    if (this.#needs.signal.aborted) return { kind: "aborted" };
    if (!(error instanceof AgentError)) throw error;
    const reason = this.#clean(`${error.code}: ${error.message}`);
    switch (error.code) {
      case "CONTEXT_OVERFLOW":
      case "ANSWER_TOO_LONG":
      case "ANSWER_CUT":
        return { kind: "cut" };
      case "ANSWER_EMPTY":
      case "OUTPUT_INVALID":
      case "CONTENT_REFUSED":
        return { kind: "unusable", reason };
      case "REQUEST_INVALID":
        return { kind: "refused", reason };
      default:
        return { kind: "failed", reason, code: error.code };
    }
  }

  /** Given up after so many; never silently. */
  async #countAttempt(id: string, why: string, { maxAttempts }: MemoryOptions): Promise<Outcome> {
    const reason = this.#clean(why);
    await this.#parts.change(async () => {
      const { inbox } = this.#parts;
      const item = inbox.item(id);
      if (item === undefined) return;
      const attempts = item.attempts + 1;
      const isDead = attempts >= maxAttempts;
      inbox.setState(id, { state: isDead ? "dead" : "pending", attempts, reason });
      await persist(this.#parts);
      if (isDead)
        this.#needs.context.report(
          `memory: the work ${id} was given up after ${attempts} unusable replies (${reason}); see agent memory queue, and agent memory retry.`,
        );
    });
    return { kind: "done" };
  }

  /** Another request was taken, so it was they. */
  async #judgeSuspects(options: MemoryOptions): Promise<void> {
    for (const [id, suspect] of this.#suspects) {
      if (!suspect.isCounted) await this.#countAttempt(id, suspect.reason, options);
      suspect.isCounted = true;
    }
  }

  /** Who gives no answer for as long as there is time fails, too: else nobody would be told while the queue grows. */
  async #noteSilence(): Promise<undefined> {
    const why: unknown = this.#needs.signal.reason;
    if (this.#taken === 1 && why instanceof Error && why.name === "TimeoutError") await this.#noteFailure({ reason: "no answer came while there was time" });
  }

  async #noteFailure({ reason, code = "" }: { reason: string; code?: string }): Promise<string> {
    const { inbox } = this.#parts;
    const { now, context } = this.#needs;
    const before = inbox.health();
    const failures = (before?.failures ?? 0) + 1;
    const told = before?.told === true || failures >= FAILURES_TO_TELL || SETTINGS.has(code);
    inbox.store.put("health", "extraction", { failures, since: before?.since ?? now(), at: now(), reason, told });
    await inbox.store.sync();
    if (told && before?.told !== true)
      context.report(
        `memory: extraction has failed${failures === 1 ? "" : ` ${failures} times in a row`} (${reason}). Nothing is lost: ${leftIn(this.#parts)} pieces of work wait; see agent memory stats.`,
      );
    return reason;
  }

  #setState({ id, attempts, reason }: WorkItem, state: ItemState["state"]): void {
    this.#parts.inbox.setState(id, { state, attempts, ...(reason !== undefined && { reason }) });
  }

  #clean = (text: string, most = REASON_CHARACTERS): string => this.#cleaning.redact(text).slice(0, most);
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

type Answer = Awaited<ReturnType<PluginContext["ask"]>>;

interface AskHow {
  options: MemoryOptions;
  mode: Mode;
  cuts: number;
}

const firstOf = (model: string | string[] | undefined): string | undefined => (typeof model === "string" ? model.split(",") : model)?.[0]?.trim();
