import { AgentError } from "./errors.ts";
import type { Emit } from "./events.ts";
import type { ModelRequest } from "./request.ts";
import type { Turn, TurnContext } from "./turn.ts";

/** What one step gives to whoever answers it. */
export interface StepContext extends Omit<TurnContext, "model"> {
  signal: AbortSignal;
}

/** Answers requests. One model is a Route, and so is a chain of them. */
export interface Route {
  /** `provider/model`; of a chain that of the model which answered last. */
  readonly model: string;
  /** Messages that a request may have, where the provider's options say so. */
  readonly contextMessages?: number;
  ask(request: ModelRequest, step: StepContext): Promise<Turn>;
}

export interface RouteDependencies {
  /** Resolves after `ms`; rejects when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  now(): number;
  /** 0 ≤ n < 1 */
  random(): number;
  /** Model → why it rests, and until when (ms); lives as long as the runtime. */
  resting: Map<string, Rest>;
}

export interface Rest {
  until: number;
  error: AgentError;
}

export interface RetryOptions {
  /** Retries of one model. */
  maxRetries: number;
  /** ms after the first try within which the last retry of a model begins; 0 is none. */
  budgetMs: number;
}

/** First wait in ms, doubled with each try, and its cap: exponential back-off with full jitter. */
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** Retries of a model that gives empty answers: it did answer, and more of the same is all that is to be expected. */
const EMPTY_RETRIES = 2;
/** How long a failed model is passed over while another is available. */
const REST_MS = 30_000;

/**
 * Makes one route of a chain: retries on one model, then falls over to the next. What a void answer has shown is
 * voided by an event before the next try, so two models' words never stand in one message. Tools run after an
 * answer is complete, so none ever runs twice.
 */
export function route(routes: Route[], options: RetryOptions, dependencies: RouteDependencies): Route {
  let answered = routes[0]?.model ?? "";
  return {
    get model() {
      return answered;
    },
    async ask(request, step) {
      let rest = inOrderOfRest(routes, dependencies);
      if (rest[0] !== undefined && rest[0] !== routes[0]) tellPassedOver(routes, rest[0].model, answered, { step, dependencies });
      for (;;) {
        const [current, ...others] = rest as [Route, ...Route[]];
        try {
          const turn = await askWithRetries(current, { request, step, options, dependencies });
          answered = current.model;
          return turn;
        } catch (error) {
          rest = others.filter((other) => mayFollow(error, current, other));
          if (!(error instanceof AgentError) || rest[0] === undefined) throw error;
          letRest(current, error, dependencies);
          step.emit({ type: "fallback", from: current.model, to: rest[0].model, error: { code: error.code, message: error.message } });
        }
      }
    },
  };
}

/** Resting models go last: they are passed over only while another is available. */
function inOrderOfRest(routes: Route[], { resting, now }: RouteDependencies): Route[] {
  const isResting = ({ model }: Route) => (resting.get(model)?.until ?? 0) > now();
  return [...routes.filter((route) => !isResting(route)), ...routes.filter(isResting)];
}

/** No model takes the place of another in silence: also where an earlier prompt has found out that the first one rests. */
function tellPassedOver(routes: Route[], to: string, answered: string, { step, dependencies }: Pick<Attempt, "step" | "dependencies">): void {
  const from = routes[0]?.model ?? "";
  const error = dependencies.resting.get(from)?.error;
  if (to !== answered && error !== undefined) step.emit({ type: "fallback", from, to, error: { code: error.code, message: error.message } });
}

/** No credit for one model is credit for none of its provider but the free ones. A refused request or key stays refused. */
function mayFollow(error: unknown, from: Route, to: Route): boolean {
  if (!(error instanceof AgentError) || (error.recovery !== "retry" && error.recovery !== "fallback")) return false;
  const providerOf = ({ model }: Route) => model.slice(0, model.indexOf("/"));
  return error.code !== "QUOTA_EXCEEDED" || to.model.endsWith(":free") || providerOf(from) !== providerOf(to);
}

function letRest({ model }: Route, error: AgentError, { resting, now }: RouteDependencies): void {
  if (error.code === "ANSWER_EMPTY") return;
  resting.set(model, { until: now() + Math.max(REST_MS, retryAfterOf(error) ?? 0), error });
}

interface Attempt {
  request: ModelRequest;
  step: StepContext;
  options: RetryOptions;
  dependencies: RouteDependencies;
}

async function askWithRetries(route: Route, { request, step, options, dependencies }: Attempt): Promise<Turn> {
  const deadline = dependencies.now() + options.budgetMs;
  for (let attempt = 1; ; attempt++) {
    const watch = watchShown(step.emit);
    try {
      return await route.ask(request, { ...step, emit: watch.emit });
    } catch (error) {
      step.signal.throwIfAborted();
      if (watch.shown()) step.emit({ type: "text.void", messageId: step.messageId, reason: error instanceof AgentError ? error.code : "INTERNAL" });
      const delayMs = delayBefore(attempt, error, dependencies);
      if (delayMs === undefined || attempt > retriesFor(error, options) || dependencies.now() + delayMs > deadline) throw error;
      const { code, message } = error as AgentError;
      step.emit({ type: "retry", attempt, delayMs, error: { code, message }, model: route.model });
      await dependencies.wait(delayMs, step.signal);
    }
  }
}

const retriesFor = (error: unknown, { maxRetries }: RetryOptions): number =>
  error instanceof AgentError && error.code === "ANSWER_EMPTY" ? Math.min(EMPTY_RETRIES, maxRetries) : maxRetries;

/** Notes whether anything of an answer was shown. */
function watchShown(emit: Emit): { emit: Emit; shown(): boolean } {
  let shown = false;
  return {
    emit: (event) => {
      shown ||= event.type === "text" || event.type === "text.delta" || event.type === "reasoning" || event.type === "reasoning.delta";
      emit(event);
    },
    shown: () => shown,
  };
}

/** ms to wait before the next try, undefined when there is none. A Retry-After is kept to the millisecond and never shortened. */
function delayBefore(attempt: number, error: unknown, { random }: RouteDependencies): number | undefined {
  if (!(error instanceof AgentError) || error.recovery !== "retry") return undefined;
  const backOff = Math.round(random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1)));
  return retryAfterOf(error) ?? backOff;
}

const retryAfterOf = (error: AgentError): number | undefined => (typeof error.data.retryAfterMs === "number" ? error.data.retryAfterMs : undefined);

/** A conversation that is too long is compacted once, and asked once more. `compact` gives the new request, where it can. */
export function withCompaction(route: Route, compact: () => Promise<ModelRequest | undefined>): Route {
  return {
    get model() {
      return route.model;
    },
    async ask(request, step) {
      try {
        return await route.ask(request, step);
      } catch (error) {
        const shorter = error instanceof AgentError && error.code === "CONTEXT_OVERFLOW" ? await compact() : undefined;
        if (shorter === undefined) throw error;
        return route.ask(shorter, step);
      }
    },
  };
}
