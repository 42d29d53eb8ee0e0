import { AgentError } from "./errors.ts";
import type { Ask, AskAnswer, CompactContext } from "./hooks.ts";
import { newId } from "./id.ts";
import { addTokens, type Entry, type TokenCount, totalTokens } from "./message.ts";
import { hookContext, type PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import { closeToolCalls } from "./session-log.ts";
import { charactersOf, estimateTokens } from "./token-estimate.ts";

/** A compaction that leaves more than this share of the conversation is none that is worth its price. */
const PROGRESS = 0.75;
/** Compactions without progress after which a context that is only nearly full is left alone. */
const MAX_STALLED = 2;

/** Keeps the conversation of one run within its model's context. */
export class Compaction {
  readonly #run: PromptRun;
  readonly #ask: Ask;
  /** Tokens that the entries before `#from` take, system prompt and tools included; undefined while there is nothing to go by. */
  #known: number | undefined;
  #from = 0;
  #stalled = 0;

  constructor(run: PromptRun, ask: Ask) {
    this.#run = run;
    this.#ask = ask;
  }

  /** Asks the plugins whether the context is nearly full, and then for a shorter conversation. Whether there is one now. */
  async beforeRequest(request: ModelRequest): Promise<boolean> {
    const { hooks } = this.#run.environment;
    if (!hooks.has("shouldCompact")) return false;
    const tokens = this.#measure(request);
    if (this.#stalled >= MAX_STALLED || !(await hooks.shouldCompact({ tokens }, hookContext(this.#run)))) return false;
    return this.#compact("nearly-full", tokens);
  }

  /** The request did not fit. Whether there is a shorter conversation now. */
  afterOverflow(): Promise<boolean> {
    return this.#compact("overflow", this.#known ?? this.#estimate(this.#run.session.entries()));
  }

  /** What an answer used, where the provider's count is one: else the estimate goes on. To be told after its message was appended. */
  note(tokens: TokenCount): void {
    [this.#known, this.#from] = [totalTokens(tokens), this.#run.session.entries().length];
  }

  #measure(request: ModelRequest): number {
    const entries = this.#run.session.entries();
    // Where a window has left something out since, the last answer tells too much.
    const isWhole = request.entries.length === entries.length;
    const known = isWhole ? this.#known : undefined;
    const tokens = known === undefined ? this.#toTokens(charactersOfRequest(request)) : known + this.#estimate(entries.slice(this.#from));
    [this.#known, this.#from] = [tokens, entries.length];
    return tokens;
  }

  /** By what was measured of the model that answered last. */
  #toTokens(characters: number): number {
    return estimateTokens(characters, this.#ratio());
  }

  readonly #ratio = (): number => this.#run.environment.estimator.ratio(this.#run.last.model ?? "");

  readonly #estimate = (entries: readonly Entry[]): number => this.#toTokens(sum(entries.map(({ message }) => charactersOf(message))));

  async #compact(reason: CompactContext["reason"], usedTokens: number): Promise<boolean> {
    const { session, environment, emit, signal, promptId } = this.#run;
    const before = [...session.entries()];
    const { answers, limit, ask } = watchAsk(this.#ask);
    const answer = await environment.hooks.compact([...before], {
      ...hookContext(this.#run),
      reason,
      usedTokens,
      promptId,
      charactersPerToken: this.#ratio(),
      estimateTokens: this.#estimate,
      ask,
    });
    signal.throwIfAborted();
    // The conversation stays whole: with more room a model can still sum it up.
    if (limit() !== undefined) throw limit();
    const after = answer === undefined ? before : makeSound(answer, before, this.#run);
    const [tokensBefore, tokensAfter] = [this.#estimate(before), this.#estimate(after)];
    const isShorter = after.length > 0 && tokensAfter < tokensBefore;
    this.#stalled = isShorter && tokensAfter <= tokensBefore * PROGRESS ? 0 : this.#stalled + 1;
    if (isShorter) {
      session.replace(after);
      [this.#known, this.#from] = [undefined, 0];
      emit({ type: "compaction", reason, before: before.length, after: after.length, tokensBefore, tokensAfter, ...useOf(answers) });
    }
    return isShorter;
  }
}

/** Asks, keeps the answers, and the limit that did not allow one. */
function watchAsk(given: Ask): { answers: AskAnswer[]; limit(): AgentError | undefined; ask: Ask } {
  const answers: AskAnswer[] = [];
  let limit: AgentError | undefined;
  const ask: Ask = async (request) => {
    try {
      const answer = await given(request);
      answers.push(answer);
      return answer;
    } catch (error) {
      if (error instanceof AgentError && error.exit === 3) limit = error;
      throw error;
    }
  };
  return { answers, limit: () => limit, ask };
}

function useOf(answers: AskAnswer[]): { model?: string; tokens?: TokenCount; costUsd?: number } {
  const last = answers.at(-1);
  if (last === undefined) return {};
  const costs = answers.map(({ costUsd }) => costUsd);
  const costUsd = costs.every((cost) => cost !== undefined) ? costs.reduce((sum, cost) => sum + cost, 0) : undefined;
  return { model: last.model, tokens: answers.map(({ tokens }) => tokens).reduce(addTokens), ...(costUsd !== undefined && { costUsd }) };
}

/** What a plugin made of a conversation, as a session may keep it and a provider takes it: no secrets, every call with its result. */
function makeSound(answer: readonly Entry[], before: readonly Entry[], { environment }: PromptRun): Entry[] {
  const old = new Set(before);
  const safe = answer.map((entry) => (old.has(entry) ? entry : { ...entry, message: environment.redactor.redactValue(entry.message) }));
  return closeToolCalls(safe, (message) => ({ id: newId("msg"), at: Date.now(), message }));
}

const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);

function charactersOfRequest({ system, tools, messages, entries }: ModelRequest): number {
  const conversation = messages ?? entries.map(({ message }) => message);
  return system.length + JSON.stringify(tools).length + sum(conversation.map(charactersOf));
}
