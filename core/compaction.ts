import type { Ask, AskAnswer, CompactContext } from "./hooks.ts";
import { newId } from "./id.ts";
import { addTokens, type Entry, type Message, type TokenCount, totalTokens } from "./message.ts";
import { checkSpending, hookContext, type PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import { closeToolCalls } from "./session-log.ts";

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
    return this.#compact("overflow", this.#known ?? estimateTokens(this.#run.session.entries()));
  }

  /** What an answer used; to be told after its message was appended. */
  note(tokens: TokenCount): void {
    const total = totalTokens(tokens);
    // Some providers do not count: then the estimate goes on.
    if (total > 0) [this.#known, this.#from] = [total, this.#run.session.entries().length];
  }

  #measure(request: ModelRequest): number {
    const entries = this.#run.session.entries();
    const tokens = this.#known === undefined ? estimateRequest(request) : this.#known + estimateTokens(entries.slice(this.#from));
    [this.#known, this.#from] = [tokens, entries.length];
    return tokens;
  }

  async #compact(reason: CompactContext["reason"], usedTokens: number): Promise<boolean> {
    const { session, environment, emit, signal, promptId } = this.#run;
    const before = [...session.entries()];
    const answers: AskAnswer[] = [];
    const ask: Ask = async (request) => {
      const answer = await this.#ask(request);
      answers.push(answer);
      return answer;
    };
    const answer = await environment.hooks.compact([...before], { ...hookContext(this.#run), reason, usedTokens, promptId, estimateTokens, ask });
    signal.throwIfAborted();
    const after = answer === undefined ? before : makeSound(answer, before, this.#run);
    const [tokensBefore, tokensAfter] = [estimateTokens(before), estimateTokens(after)];
    const isShorter = after.length > 0 && tokensAfter < tokensBefore;
    this.#stalled = isShorter && tokensAfter <= tokensBefore * PROGRESS ? 0 : this.#stalled + 1;
    if (isShorter) {
      session.replace(after);
      [this.#known, this.#from] = [undefined, 0];
      emit({ type: "compaction", reason, before: before.length, after: after.length, tokensBefore, tokensAfter, ...useOf(answers) });
    }
    // What it cost must not bring a second request over a limit.
    if (answers.length > 0) checkSpending(this.#run, 0);
    return isShorter;
  }
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

const CHARACTERS_PER_TOKEN = 4;
/** What an image takes at most with the usual vendors is some 1,600 tokens; its bytes say nothing. */
const FILE_CHARACTERS = 6_000;

function estimateRequest({ system, tools, messages, entries }: ModelRequest): number {
  const conversation = messages ?? entries.map(({ message }) => message);
  return Math.ceil((system.length + JSON.stringify(tools).length + sum(conversation.map(charactersOf))) / CHARACTERS_PER_TOKEN);
}

const estimateTokens = (entries: readonly Entry[]): number => Math.ceil(sum(entries.map(({ message }) => charactersOf(message))) / CHARACTERS_PER_TOKEN);

const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);

function charactersOf({ content }: Message): number {
  if (typeof content === "string") return content.length;
  return sum(
    content.map((part) => {
      if (part.type === "text" || part.type === "reasoning") return part.text.length;
      if (part.type === "tool-call") return part.toolName.length + (JSON.stringify(part.input) ?? "").length;
      if (part.type !== "tool-result") return FILE_CHARACTERS;
      return "value" in part.output && typeof part.output.value === "string" ? part.output.value.length : JSON.stringify(part.output).length;
    }),
  );
}
