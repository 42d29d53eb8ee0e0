import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { type AgentEvent, EVENT_TYPES, type EventType } from "./events.ts";
import { type Entry, findEntryFault, findMessageFault, type Message, type TokenCount } from "./message.ts";
import { type Effect, findResultFault, findToolFault, type JsonSchema, type Tool, type ToolResult } from "./tool.ts";
import type { FinishReason } from "./turn.ts";

/** Where a hook is called from. */
export interface HookContext {
  cwd: string;
  /** Real paths that tools may use: the workspace and the extra roots. The workspace alone where it is absent. */
  roots?: readonly string[];
  /** Whether tools are kept from what is at a real, absolute path, because secrets are there. Never where it is absent. */
  isSecret?(path: string): boolean;
  sessionId: string;
  /** Of a session that `task` runs: the session that started it. */
  parentId?: string;
  /** The text of the prompt that is being answered. */
  prompt?: string;
  /** `provider/model` in use. */
  model: string;
  /** The configuration in force for this prompt: that of the runtime, with the agent profile's rules laid over it. */
  config: Readonly<Config>;
  signal: AbortSignal;
}

export interface ToolCall {
  id: string;
  tool: string;
  input: unknown;
}

/** What a request carries besides system, messages and tools. */
export interface RequestSettings {
  headers: Record<string, string>;
  providerOptions: Record<string, Record<string, any>>;
  temperature?: number;
  topP?: number;
  stop?: string[];
  seed?: number;
  maxOutputTokens?: number;
}

export type Decision = "allow" | "ask" | "deny";

export interface PermissionRequest {
  tool: string;
  /** Key of the permission map. */
  permission: string;
  effect: Effect;
  input: unknown;
  patterns: string[];
  callId: string;
  /** A question rather than a permission: what a person is asked, and answers to choose from. */
  question?: string;
  options?: string[];
}

export interface PermissionVerdict {
  decision: Decision;
  /** For the model and for the person who is asked. */
  reason?: string;
  /** Of *ask*: what the answer "always" covers, in the place of the patterns of the call. A later call is covered when all of its own are. */
  always?: string[];
  /** What this very call does, where the hook knows better than the tool. It permits nothing. */
  effect?: Effect;
}

/** What a plugin asks a model. The call is the plugin's own: it has no tools, and nothing of it enters the conversation. */
export interface AskRequest {
  /** `provider/model`, several for a fallback chain; the run's own where it is absent. */
  model?: string | string[];
  system?: string;
  messages: Message[];
  maxOutputTokens?: number;
  /** JSON Schema of the answer, for models that can be told so; nobody checks the answer. */
  outputSchema?: JsonSchema;
}

export interface AskAnswer {
  text: string;
  /** `length`: it was cut at its longest. */
  reason: FinishReason;
  /** `provider/model` that answered. */
  model: string;
  tokens: TokenCount;
  costUsd?: number;
}

/** Sends one request on the same way as the run's own: with its retries and fallbacks, its signal, its limits and its spending. Throws an AgentError. */
export type Ask = (request: AskRequest) => Promise<AskAnswer>;

/** What `compact` is told, and what it may do. */
export interface CompactContext extends HookContext {
  /** The request did not fit (`overflow`), or a plugin's `shouldCompact` said yes (`nearly-full`). */
  reason: "overflow" | "nearly-full";
  /** Tokens that the request takes, system prompt and tools included: see ContextUse. */
  usedTokens: number;
  /** Id of the entry with the prompt that is being answered. */
  promptId: string;
  /** Of the run's model: 4, until a provider has counted one of its requests. */
  charactersPerToken: number;
  /** Roughly how many tokens these take. */
  estimateTokens(entries: readonly Entry[]): number;
  /** The time it takes does not count as the hook's. */
  ask: Ask;
}

/** What the next request takes of the model's context. */
export interface ContextUse {
  /** Those of the last answer as the provider counted them, and an estimate of what came since; all estimated before the first answer. */
  tokens: number;
}

/** A new value, or nothing where all stays as it is. */
type Answer<T> = T | undefined | void | Promise<T | undefined | void>;

/**
 * The three kinds of hook. A hook gets data and returns a new value or nothing; it never changes what it got.
 * Each has 10 s.
 */
export interface Hooks {
  /** Observe: cannot change the outcome, so an error is a `plugin.error` event and the run goes on. */
  on?: { [T in EventType]?: (event: Extract<AgentEvent, { type: T }>) => void | Promise<void> };

  /* Transform: in the order of the plugins. An error fails the run (`toolBefore`, `toolAfter`, `env`: that call). */
  config?(config: Config): Answer<Config>;
  system?(system: string, context: HookContext): Answer<string>;
  messages?(messages: Message[], context: HookContext): Answer<Message[]>;
  tools?(tools: Tool[], context: HookContext): Answer<Tool[]>;
  request?(settings: RequestSettings, context: HookContext): Answer<RequestSettings>;
  env?(env: Record<string, string>, context: HookContext): Answer<Record<string, string>>;
  toolBefore?(call: ToolCall, context: HookContext): Answer<ToolCall>;
  toolAfter?(result: ToolResult, call: ToolCall, context: HookContext): Answer<ToolResult>;

  /* Decide. */
  /** The strictest verdict of all plugins counts; an error is a deny; nothing said is no verdict. */
  permission?(request: PermissionRequest, context: HookContext): Answer<Decision | PermissionVerdict>;
  /** Before each request: whether the context is so full that `compact` shall be asked. One yes is enough. */
  shouldCompact?(use: ContextUse, context: HookContext): boolean | Promise<boolean>;
  /** The first answer counts: the entries that take the place of all the others. What is not smaller is not taken. */
  compact?(entries: Entry[], context: CompactContext): Answer<Entry[]>;
}

const HOOKS: readonly string[] = [
  "config",
  "system",
  "messages",
  "tools",
  "request",
  "env",
  "toolBefore",
  "toolAfter",
  "permission",
  "shouldCompact",
  "compact",
] satisfies Exclude<keyof Hooks, "on">[];

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);

/** Why these are no hooks, or undefined. A misspelt hook is a fault: a rule that is never asked protects nobody. */
export function findHookFault(hooks: unknown): string | undefined {
  if (!isObject(hooks)) return "its hooks are not an object.";
  const { on = {}, ...others } = hooks as Hooks;
  if (!isObject(on)) return 'its hooks "on" are not an object.';
  const unknown = Object.keys(others).find((name) => !HOOKS.includes(name));
  if (unknown !== undefined) return `there is no hook "${unknown}"; hooks are on, ${HOOKS.join(", ")}.`;
  const unheard = Object.keys(on).find((type) => !EVENT_TYPES.includes(type));
  if (unheard !== undefined) return `there is no event "${unheard}"; events are ${EVENT_TYPES.join(", ")}.`;
  const idle = Object.entries({ ...on, ...others }).find(([, hook]) => hook !== undefined && typeof hook !== "function");
  return idle && `the hook "${idle[0]}" is not a function.`;
}

/** The hooks of one loaded plugin. */
export interface PluginHooks {
  plugin: string;
  hooks: Hooks;
}

/** ms that one hook may take. */
export const HOOK_LIMIT_MS = 10_000;
/** ms that observers may take at the end for what they have not yet handled. */
export const DRAIN_LIMIT_MS = 30_000;

type TransformName = "config" | "system" | "messages" | "tools" | "request" | "env" | "toolBefore" | "toolAfter";

/** A value on its way through the hooks: as it came, by "configuration", and as each plugin left it. */
export interface Stage<T> {
  by: string;
  value: T;
}

/** Never empty. */
export type Stages<T> = [Stage<T>, ...Stage<T>[]];

export const resultOf = <T>(stages: Stages<T>): T => (stages.at(-1) as Stage<T>).value;

export interface HookRunner {
  /** Observe: returns at once; each plugin gets its events one after the other, in order. */
  observe(event: AgentEvent): void;
  /** Whether any plugin has this hook: a value that nobody changes need not be made. */
  has(name: Exclude<keyof Hooks, "on">): boolean;
  /** Transform: the value as the last plugin left it. Throws HOOK_FAILED. */
  transform<T>(name: TransformName, value: T, ...rest: unknown[]): Promise<T>;
  /** Transform, with every stage of the value on its way; the last one holds the result. Throws HOOK_FAILED. */
  trace<T>(name: TransformName, value: T, ...rest: unknown[]): Promise<Stages<T>>;
  /** Decide: the strictest verdict; an error is a deny; undefined when no plugin says anything. */
  permission(request: PermissionRequest, context: HookContext): Promise<PermissionVerdict | undefined>;
  /** Decide: whether any plugin says yes. Throws HOOK_FAILED. */
  shouldCompact(use: ContextUse, context: HookContext): Promise<boolean>;
  /** Decide: the first answer. Throws HOOK_FAILED. */
  compact(entries: Entry[], context: CompactContext): Promise<Entry[] | undefined>;
  /** Resolves when the observers are done, at the latest after 30 s. */
  drain(): Promise<void>;
}

export interface HookLimits {
  hookMs: number;
  drainMs: number;
}

type Report = (fault: { plugin: string; hook: string; message: string }) => void;

/** Runs the hooks of `list`, which may grow while a run goes on. `report` gets what an observer did wrong. */
export function createHookRunner(
  list: readonly PluginHooks[],
  report: Report,
  limits: HookLimits = { hookMs: HOOK_LIMIT_MS, drainMs: DRAIN_LIMIT_MS },
): HookRunner {
  const withinLimit = <T>(run: () => Promise<T>): Promise<T> => within(limits.hookMs, run());
  const observers = createObservers(report, limits);
  const trace = createTrace(list, withinLimit);
  return {
    observe(event) {
      // An observer of plugin errors that fails itself would be told of that for ever.
      if (event.type === "plugin.error" && event.hook === "on.plugin.error") return;
      for (const entry of list) observers.tell(entry, event);
    },
    drain: () => observers.drain(),
    has: (name) => list.some(({ hooks }) => hooks[name] !== undefined),
    transform: async (name, value, ...rest) => resultOf(await trace(name, value, ...rest)),
    trace,
    async permission(request, context) {
      const verdicts = list.map(({ plugin, hooks }) => judge(plugin, () => withinLimit(async () => hooks.permission?.(request, context))));
      return strictest(await Promise.all(verdicts));
    },
    async shouldCompact(use, context) {
      for (const { plugin, hooks } of list)
        if (await withinLimit(async () => hooks.shouldCompact?.(use, context)).catch((error) => fail(plugin, "shouldCompact", error))) return true;
      return false;
    },
    compact: (entries, context) => findShorter(list, entries, { context, limitMs: limits.hookMs }),
  };
}

/** The transforms of a name, in the order of the plugins. */
function createTrace(list: readonly PluginHooks[], withinLimit: <T>(run: () => Promise<T>) => Promise<T>): HookRunner["trace"] {
  return async (name, value, ...rest) => {
    const stages: Stages<typeof value> = [{ by: "configuration", value }];
    for (const { plugin, hooks } of list) {
      const hook = hooks[name] as ((value: unknown, ...rest: unknown[]) => unknown) | undefined;
      if (hook === undefined) continue;
      const current = resultOf(stages);
      const answer = (await withinLimit(async () => hook(current, ...rest)).catch((error) => fail(plugin, name, error))) ?? current;
      stages.push({ by: plugin, value: checkAnswer(answer, value, { plugin, hook: name }) as typeof value });
    }
    return stages;
  };
}

interface Compacting {
  context: CompactContext;
  limitMs: number;
}

/** The first answer. The model that a plugin asks has its own time limits. */
async function findShorter(list: readonly PluginHooks[], entries: Entry[], { context, limitMs }: Compacting): Promise<Entry[] | undefined> {
  for (const { plugin, hooks } of list) {
    const run = async (pause: Pause) => hooks.compact?.(entries, { ...context, ask: (request) => pause(() => context.ask(request)) });
    const answer = await withinOwnTime(limitMs, run).catch((error) => fail(plugin, "compact", error));
    if (answer !== undefined && answer !== null) return checkAnswer(answer, entries, { plugin, hook: "compact" });
  }
  return undefined;
}

/** The queues of events, one for each plugin. */
function createObservers(report: Report, limits: HookLimits) {
  const tails = new Map<string, Promise<void>>();
  return {
    tell({ plugin, hooks }: PluginHooks, event: AgentEvent): void {
      const handler = hooks.on?.[event.type] as ((event: AgentEvent) => void | Promise<void>) | undefined;
      if (handler === undefined) return;
      const observe = async () => handler(event);
      const handle = () => within(limits.hookMs, observe()).catch((error) => report({ plugin, hook: `on.${event.type}`, message: errorMessage(error) }));
      tails.set(plugin, (tails.get(plugin) ?? Promise.resolve()).then(handle));
    },
    async drain(): Promise<void> {
      await within(limits.drainMs, Promise.all(tails.values())).catch(() => {});
    },
  };
}

const kindOf = (value: unknown): string => (Array.isArray(value) ? "list" : typeof value);

/** What is wrong with one item of an answer, where that would fail later and blame nobody. */
const ITEM_FAULTS: { [hook: string]: (item: unknown) => string | undefined } = {
  tools: findToolFault,
  messages: findMessageFault,
  toolAfter: findResultFault,
  compact: findEntryFault,
};

/** The answer, where it can take the place of the value. Throws HOOK_FAILED. */
function checkAnswer<T>(answer: unknown, value: T, { plugin, hook }: { plugin: string; hook: string }): T {
  if (kindOf(answer) !== kindOf(value)) fail(plugin, hook, `its answer is of the type ${kindOf(answer)}, not ${kindOf(value)}.`);
  for (const item of [answer].flat()) {
    const fault = ITEM_FAULTS[hook]?.(item);
    if (fault !== undefined) fail(plugin, hook, `its answer cannot be used: ${fault}`);
  }
  return answer as T;
}

/** An error is a deny, and so is an answer that is no decision. */
async function judge(plugin: string, ask: () => Promise<Decision | PermissionVerdict | undefined | void>): Promise<PermissionVerdict | undefined> {
  try {
    const answer = (await ask()) ?? undefined;
    if (answer === undefined) return undefined;
    const verdict = typeof answer === "string" ? { decision: answer } : answer;
    if (!Object.hasOwn(STRICTNESS, verdict.decision)) throw new Error("its answer is no decision.");
    return verdict;
  } catch (error) {
    return { decision: "deny", reason: `the permission hook of the plugin ${plugin} failed: ${errorMessage(error)}` };
  }
}

const STRICTNESS: Record<Decision, number> = { allow: 0, ask: 1, deny: 2 };

/** Undefined where none of them says anything. An effect counts where all who know one say the same. */
export function strictest(verdicts: (PermissionVerdict | undefined)[]): PermissionVerdict | undefined {
  const given = verdicts.filter((verdict) => verdict !== undefined);
  const effects = new Set(given.flatMap(({ effect }) => effect ?? []));
  const [effect] = effects.size === 1 ? effects : [];
  const worst = given.reduce<PermissionVerdict | undefined>(
    (worst, verdict) => (worst === undefined || STRICTNESS[verdict.decision] > STRICTNESS[worst.decision] ? verdict : worst),
    undefined,
  );
  if (worst === undefined) return undefined;
  const { effect: _, always: __, ...verdict } = worst;
  // Who asks for a reason of its own is not answered by what another takes for the same.
  const asking = given.filter(({ decision }) => decision === "ask");
  const always =
    worst.decision === "ask" && asking.every((each) => each.always !== undefined) ? [...new Set(asking.flatMap((each) => each.always ?? []))] : undefined;
  return { ...verdict, ...(effect !== undefined && { effect }), ...(always !== undefined && { always }) };
}

function fail(plugin: string, hook: string, error: unknown): never {
  throw new AgentError("HOOK_FAILED", { plugin, hook, reason: errorMessage(error) }, { cause: error });
}

/** Rejects after `ms`. The timer ends with the promise, so it never keeps a finished process alive. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${ms / 1000} s.`)), ms);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

type Pause = <T>(wait: () => Promise<T>) => Promise<T>;

/** The same, but what passes in `pause` does not count. */
async function withinOwnTime<T>(ms: number, run: (pause: Pause) => Promise<T>): Promise<T> {
  let [left, startedAt, waits, isOver] = [ms, 0, 0, false];
  let timer: NodeJS.Timeout | undefined;
  let expire = () => {};
  const limit = new Promise<never>((_, reject) => {
    expire = () => reject(new Error(`it took longer than ${ms / 1000} s.`));
  });
  const start = () => {
    startedAt = performance.now();
    if (!isOver) timer = setTimeout(expire, left);
  };
  const stop = () => {
    clearTimeout(timer);
    left -= performance.now() - startedAt;
  };
  const pause: Pause = async (wait) => {
    if (waits++ === 0) stop();
    try {
      return await wait();
    } finally {
      if (--waits === 0) start();
    }
  };
  start();
  try {
    return await Promise.race([run(pause), limit]);
  } finally {
    isOver = true;
    clearTimeout(timer);
  }
}
