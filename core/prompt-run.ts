import type { BackgroundTasks } from "./background.ts";
import type { Channel } from "./channel.ts";
import type { AgentProfile, Config, PermissionConfig } from "./config.ts";
import type { Confining } from "./confine.ts";
import type { AgentError } from "./errors.ts";
import type { EventSender } from "./event-sender.ts";
import type { AgentEvent, Emit, ModelSource } from "./events.ts";
import type { Exec } from "./exec.ts";
import type { HookContext, HookRunner, Stages } from "./hooks.ts";
import type { GuardedFetch } from "./http.ts";
import type { Spending } from "./limits.ts";
import type { Log } from "./log.ts";
import type { LoopGuard } from "./loop-guard.ts";
import type { UserContent } from "./message.ts";
import type { RefusedMedia } from "./modalities.ts";
import type { Notices } from "./notices.ts";
import type { ModelOpener } from "./open-model.ts";
import type { OpenedSession } from "./open-sessions.ts";
import type { Paths } from "./paths.ts";
import type { Redactor } from "./redact.ts";
import type { Registry } from "./registry.ts";
import type { Rests, Route } from "./route.ts";
import type { PromptOptions, PromptRequest, RuntimeOptions } from "./runtime.ts";
import type { SecretFiles } from "./secret-files.ts";
import type { Session } from "./session.ts";
import type { TokenEstimator } from "./token-estimate.ts";
import type { TaskOptions, Tool } from "./tool.ts";

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
  /** As the configuration has it. */
  secretFiles: SecretFiles;
  exec: Exec;
  /** The sandbox for a process. */
  confining: Confining;
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
  /** What a person allowed for good, and the models of which it was told that they are passed over: both live as long as the runtime. */
  grants: Set<string>;
  passedOver: Set<string>;
  /** Kinds of files that models have refused; lives as long as the runtime. */
  refusedMedia: RefusedMedia;
}

/** One prompt on its way. */
export interface PromptRun {
  environment: PromptEnvironment;
  request: PromptRequest;
  session: Session;
  /** As it is now: the permission mode may change while the prompt runs. */
  readonly config: Readonly<Config>;
  profile: AgentProfile | undefined;
  tools: ReadonlyMap<string, Tool>;
  /** The same tools, as the hooks left them one after the other. */
  toolStages: Stages<Tool[]>;
  /** Takes those that servers have brought or taken away since. */
  renewTools(): Promise<void>;
  spending: Spending;
  guard: LoopGuard;
  /** Of the fences around what tools bring; nobody outside can know it. */
  fenceId: string;
  emit: Emit;
  sender: EventSender;
  /** Resolves when the step before is safe on the disk, and told of. */
  durable: Promise<void>;
  signal: AbortSignal;
  channel: Channel<AgentEvent>;
  /** Whether the reader of the channel wants `text.delta`, `reasoning.delta` and `tool.progress`. */
  deltas: boolean;
  /** What the user said during the run. */
  steer(): UserContent[];
  whenSteered(): Promise<void>;
  /** The run whose task this is. */
  parent: PromptRun | undefined;
  background: BackgroundTasks;
  /** Of the run that no other has started: a question, its own or one of its tasks, that nobody could answer. */
  unanswered?: AgentError;
  /** Id of the entry with the prompt, "" before it is written. */
  promptId: string;
  /** What the prompt says. */
  words: string;
  /** The models that are asked, the first one first; tasks inherit them. */
  chain?: string[];
  /** The last answer, for the result of a run that fails later. */
  last: { text: string; model?: string; steps: number };
}

export const hookContext = (run: PromptRun): HookContext => ({
  cwd: run.environment.cwd,
  roots: run.environment.paths.roots,
  isSecret: run.environment.secretFiles.isSecret,
  sessionId: run.session.id,
  ...(run.parent !== undefined && { parentId: run.parent.session.id }),
  prompt: run.words,
  model: run.last.model ?? "",
  config: run.config,
  signal: run.signal,
});

/** Throws when a limit of the run, or of one whose task it is, does not allow another request; `step` counts for the run alone. */
export function checkSpending(run: PromptRun, step: number): void {
  run.spending.check(step);
  for (const above of ancestorsOf(run)) above.spending.check(0);
}

/**
 * The same route, kept within the limits of the run and of those whose task it is; what an answer used counts for all of
 * them. `steps`: how many steps a request counts for in the session.
 */
export function withinLimits(route: Route, run: PromptRun, steps: number): Route {
  const all = [run, ...ancestorsOf(run)];
  const root = rootOf(run);
  return {
    get model() {
      return route.model;
    },
    async ask(request, step) {
      // A task uses what its root has, so the root's turns are enough.
      const endTurn = await root.spending.takeTurn(step.signal);
      try {
        checkSpending(run, 0);
        const turn = await route.ask(request, step);
        const { tokens, costUsd, costSource } = turn;
        const used = { tokens, costSource, ...(costUsd !== undefined && { costUsd }) };
        for (const { spending } of all) spending.add(used);
        run.session.count({ ...used, steps });
        return turn;
      } finally {
        endTurn();
      }
    },
  };
}

/** The run that is no task. */
export const rootOf = (run: PromptRun): PromptRun => (run.parent === undefined ? run : rootOf(run.parent));

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
