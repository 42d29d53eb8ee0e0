import type { Channel } from "./channel.ts";
import type { AgentProfile, Config, PermissionConfig } from "./config.ts";
import type { EventSender } from "./event-sender.ts";
import type { AgentEvent, Emit, ModelSource } from "./events.ts";
import type { Exec } from "./exec.ts";
import type { HookContext, HookRunner, Stages } from "./hooks.ts";
import type { GuardedFetch } from "./http.ts";
import type { Spending } from "./limits.ts";
import type { Log } from "./log.ts";
import type { LoopGuard } from "./loop-guard.ts";
import type { Notices } from "./notices.ts";
import type { ModelOpener } from "./open-model.ts";
import type { OpenedSession } from "./open-sessions.ts";
import type { Paths } from "./paths.ts";
import type { Redactor } from "./redact.ts";
import type { Registry } from "./registry.ts";
import type { Rests } from "./route.ts";
import type { PromptOptions, PromptRequest, RuntimeOptions } from "./runtime.ts";
import type { Session } from "./session.ts";
import type { TokenEstimator } from "./token-estimate.ts";
import type { TaskOptions, Tool } from "./tool.ts";
import type { Turn } from "./turn.ts";

/** What the runtime gives to every prompt. */
export interface PromptEnvironment {
  cwd: string;
  config: Readonly<Config>;
  /** Keys of the configuration that an untrusted workspace sets; they are not in `config`. */
  untrusted: readonly string[];
  /** Rules that no profile passes. */
  permissionCeiling: PermissionConfig | undefined;
  options: RuntimeOptions;
  /** Where `config.fallback` comes from. */
  fallbackSource: ModelSource | undefined;
  hooks: HookRunner;
  registry: Registry;
  opener: ModelOpener;
  paths: Paths;
  exec: Exec;
  fetch: GuardedFetch;
  redactor: Redactor;
  log: Log;
  notices: Notices;
  /** Base text, workspace and instruction files; `base` replaces the first. */
  systemPrompt(base?: string): Promise<string>;
  /** A new file outside the workspace that the tools can read; `spill` also fills it. Both return its path. */
  spillPath(sessionId: string): Promise<string>;
  spill(sessionId: string, text: string): Promise<string | undefined>;
  openSession(request: PromptRequest, options: PromptOptions): Promise<OpenedSession>;
  openChild(parentId: string, options: TaskOptions): Promise<OpenedSession>;
  /** Models that rest after a failure. */
  rests: Rests;
  /** Characters per token of each model, measured; lives as long as the runtime. */
  estimator: TokenEstimator;
  /** What a person allowed for good, and the models whose missing key was told of: both live as long as the runtime. */
  grants: Set<string>;
  keyless: Set<string>;
}

/** One prompt on its way. */
export interface PromptRun {
  environment: PromptEnvironment;
  request: PromptRequest;
  session: Session;
  config: Readonly<Config>;
  profile: AgentProfile | undefined;
  tools: ReadonlyMap<string, Tool>;
  /** The same tools, as the hooks left them one after the other. */
  toolStages: Stages<Tool[]>;
  spending: Spending;
  guard: LoopGuard;
  emit: Emit;
  sender: EventSender;
  /** Resolves when the step before is safe on the disk, and told of. */
  durable: Promise<void>;
  signal: AbortSignal;
  channel: Channel<AgentEvent>;
  /** Whether the reader of the channel wants `text.delta`, `reasoning.delta` and `tool.progress`. */
  deltas: boolean;
  /** Words of the user that came during the run. */
  steer(): string[];
  /** The run whose task this is. */
  parent: PromptRun | undefined;
  /** Id of the entry with the prompt, "" before it is written. */
  promptId: string;
  /** The models that are asked, the first one first; tasks inherit them. */
  chain?: string[];
  /** The last answer, for the result of a run that fails later. */
  last: { text: string; model?: string; steps: number };
}

export const hookContext = (run: PromptRun): HookContext => ({
  cwd: run.environment.cwd,
  roots: run.environment.paths.roots,
  sessionId: run.session.id,
  model: run.last.model ?? "",
  config: run.config,
  signal: run.signal,
});

/** What a request used counts for those who started the run, too. */
export function addUse(run: PromptRun, { tokens, costUsd, costSource }: Pick<Turn, "tokens" | "costUsd" | "costSource">, steps: number): void {
  const used = { tokens, costSource, ...(costUsd !== undefined && { costUsd }) };
  for (const at of [run, ...ancestorsOf(run)]) at.spending.add(used);
  run.session.count({ ...used, steps });
}

/** Throws when a limit does not allow another request; `step` counts for the run alone. */
export function checkSpending(run: PromptRun, step: number): void {
  run.spending.check(step);
  for (const above of ancestorsOf(run)) above.spending.check(0);
}

/** Throws when a limit does not allow another request; else that request is under way until its use is added. */
export function beginRequest(run: PromptRun, step: number): void {
  checkSpending(run, step);
  for (const at of [run, ...ancestorsOf(run)]) at.spending.begin();
}

/** A request that failed, or that waits, is not under way any more. */
export function abandonRequest(run: PromptRun): void {
  for (const at of [run, ...ancestorsOf(run)]) at.spending.abandon(1);
}

/** The runs whose task this is, from the nearest up. */
export const ancestorsOf = ({ parent }: PromptRun): PromptRun[] => (parent === undefined ? [] : [parent, ...ancestorsOf(parent)]);

/**
 * What a profile cannot pass: the rules of the command line, and those of the runs whose task this is, which may have
 * another profile. Without them a model could leave its own profile by giving a task to another one.
 */
export function permissionCeilings(run: PromptRun): HookContext[] {
  const own = hookContext(run);
  const others = ancestorsOf(run).filter(({ request }) => request.agent !== run.request.agent);
  const ceilings = others.map(({ config }): HookContext => ({ ...own, config }));
  const { permissionCeiling: permission } = run.environment;
  if (permission !== undefined && run.profile?.permission !== undefined)
    ceilings.push({ ...own, config: { ...run.config, permission, permissionMode: "yolo" } });
  return ceilings;
}
