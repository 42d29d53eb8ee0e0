import type { Config } from "./config.ts";
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
  /** Tells the model at this host, with this key, from the same one elsewhere; the model by default. */
  readonly id?: string;
  /** Whose credit it uses: tells host and key from others; the provider by default. */
  readonly account?: string;
  /** Messages that a request may have, where the provider's options say so. */
  readonly contextMessages?: number;
  /** It costs nothing, and needs no credit. */
  readonly isFree?: boolean;
  ask(request: ModelRequest, step: StepContext): Promise<Turn>;
}

export interface RouteDependencies {
  /** Resolves after `ms`; rejects when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  now(): number;
  /** 0 ≤ n < 1 */
  random(): number;
  rests: Rests;
}

/** Why a route rests, and until when. Times are in ms since 1970. */
export interface Rest {
  until: number;
  /** When it failed last, and how often in a row. */
  at: number;
  failures: number;
  error: { code: string; message: string };
}

/** The routes that failed, by their id. Nothing here ever fails: what cannot be kept is forgotten. */
export interface Rests {
  /** Reads what other runs have left, and what they have noted since. */
  get(route: string): Promise<Rest | undefined>;
  put(route: string, next: (last: Rest | undefined) => Rest): Promise<void>;
  /** Ends the row of failures: the route has answered what it was asked at `startedAt`. What failed later stays. */
  clear(route: string, startedAt: number): Promise<void>;
}

export interface RetryOptions {
  /** Retries of one model. */
  maxRetries: number;
  /** ms after the first try within which the last retry of a model begins; 0 is none. */
  budgetMs: number;
  /** Whether the next model is asked when a key is refused; false by default: who pays is not decided by an accident. */
  fallbackOnAuth?: boolean | undefined;
}

const DEFAULT_RETRIES = 5;
const DEFAULT_RETRY_SECONDS = 600;

/** The option `retry` of the configuration. */
export function readRetry({ maxRetries = DEFAULT_RETRIES, timeoutSeconds = DEFAULT_RETRY_SECONDS, fallbackOnAuth }: Config["retry"] = {}): RetryOptions {
  return { maxRetries, budgetMs: timeoutSeconds * 1000, fallbackOnAuth };
}

/** First wait in ms, doubled with each try, and its cap: exponential back-off with full jitter. */
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
/** Retries of a model that gives empty answers: it did answer, and more of the same is all that is to be expected. */
const EMPTY_RETRIES = 2;
/** How long a failed route rests that does not say so itself: doubled with each failure in a row, up to the second. */
const FIRST_REST_MS = 30_000;
const LONGEST_REST_MS = 600_000;
/** No Retry-After rests a route for longer: one that is meant for years is a slip of its server. */
const DAY_MS = 86_400_000;

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
      let left = routes.length > 1 ? await inOrderOfRest(routes, answered, { step, dependencies }) : routes;
      for (;;) {
        const [current, ...others] = left as [Route, ...Route[]];
        const startedAt = dependencies.now();
        try {
          const turn = await askWithRetries(current, { request, step, options, dependencies });
          answered = current.model;
          await dependencies.rests.clear(idOf(current), startedAt);
          return turn;
        } catch (error) {
          if (!isFault(error, options)) throw error;
          await letRest(current, { error, startedAt, dependencies });
          left = others.filter((other) => mayFollow(error, current, other));
          if (left[0] === undefined) throw error;
          step.emit({ type: "fallback", from: current.model, to: left[0].model, error: { code: error.code, message: error.message } });
        }
      }
    },
  };
}

const idOf = ({ id, model }: Route): string => id ?? model;

/**
 * Resting routes go last, and with them those that may not follow them: they are passed over only while another is available.
 * No model takes the place of another in silence: also where an earlier prompt, or an earlier run, has found out that the
 * first one rests.
 */
async function inOrderOfRest(routes: Route[], answered: string, { step, dependencies }: Pick<Attempt, "step" | "dependencies">): Promise<Route[]> {
  const now = dependencies.now();
  const known = await Promise.all(routes.map((route) => dependencies.rests.get(idOf(route))));
  const rests = known.map((rest) => (rest !== undefined && rest.until > now ? rest : undefined));
  const mayNotFollow = (route: Route) => (rest: Rest | undefined, index: number) => rest !== undefined && !mayFollow(rest.error, routes[index]!, route);
  const isResting = (route: Route, index: number) => rests[index] !== undefined || rests.slice(0, index).some(mayNotFollow(route));
  const sorted = [...routes.filter((route, index) => !isResting(route, index)), ...routes.filter(isResting)];
  const [from, to, rest] = [routes[0], sorted[0], rests[0]];
  if (from !== undefined && to !== undefined && to !== from && to.model !== answered && rest !== undefined) {
    const message = `${rest.error.message} (it rests for ${Math.ceil((rest.until - now) / 1000)} s more)`;
    step.emit({ type: "fallback", from: from.model, to: to.model, error: { code: rest.error.code, message } });
  }
  return sorted;
}

/** A failure that another model, or this one later, may not have. A refused request stays refused, and so does a key. */
function isFault(error: unknown, { fallbackOnAuth = false }: RetryOptions): error is AgentError {
  if (!(error instanceof AgentError)) return false;
  return error.recovery === "retry" || error.recovery === "fallback" || (fallbackOnAuth && error.code === "AUTH_REFUSED");
}

/** No credit for one model is credit for none that the same account pays for, but for the free ones. */
function mayFollow({ code }: { code: string }, from: Route, to: Route): boolean {
  const accountOf = ({ account, model }: Route) => account ?? model.slice(0, model.indexOf("/"));
  return code !== "QUOTA_EXCEEDED" || to.isFree === true || accountOf(from) !== accountOf(to);
}

interface Failure {
  error: AgentError;
  /** When the route was asked. */
  startedAt: number;
  dependencies: RouteDependencies;
}

/** An empty answer was one, and a model that takes no files takes words. What others have noted since this one was asked is the same failure, and counts once. */
async function letRest(route: Route, { error, startedAt, dependencies }: Failure): Promise<void> {
  if (error.code === "ANSWER_EMPTY" || error.code === "MEDIA_REFUSED") return;
  const at = dependencies.now();
  await dependencies.rests.put(idOf(route), (last) => {
    const isSame = last !== undefined && last.at > startedAt;
    const failures = (last?.failures ?? 0) + (isSame ? 0 : 1);
    const doubled = Math.min(FIRST_REST_MS * 2 ** (failures - 1), LONGEST_REST_MS);
    const until = at + Math.min(retryAfterOf(error) || doubled, DAY_MS);
    return { until: isSame ? Math.max(last.until, until) : until, at, failures, error: { code: error.code, message: error.message } };
  });
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
