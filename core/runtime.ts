import * as nodeFs from "node:fs";
import { realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { joinSignals } from "./abort.ts";
import { createChannel } from "./channel.ts";
import { type Config, configDirectory, dataDirectory, hostEnvironment, type LoadedConfig, loadConfig } from "./config.ts";
import { findWorkspaceRoot } from "./config-files.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { AgentEvent, ModelSource, RunResult } from "./events.ts";
import { createExec } from "./exec.ts";
import { makeDirectories } from "./generation.ts";
import { createHookRunner, type PermissionRequest } from "./hooks.ts";
import { createGuardedFetch } from "./http.ts";
import { newId } from "./id.ts";
import { limitsOf } from "./limits.ts";
import { collectPlugins } from "./load-plugins.ts";
import { type Log, silentLog } from "./log.ts";
import { createNotices, type Notices } from "./notices.ts";
import { createModelOpener } from "./open-model.ts";
import { createOpenSessions } from "./open-sessions.ts";
import { createPaths, currentDirectory } from "./paths.ts";
import type { LazyPlugin, Plugin, PluginCommand, PluginContext } from "./plugin.ts";
import { findProfile } from "./profile.ts";
import { runPrompt } from "./prompt.ts";
import type { PromptEnvironment } from "./prompt-run.ts";
import { createRedactor, type Redactor } from "./redact.ts";
import { createRegistry, type Registry } from "./registry.ts";
import { selectTools } from "./select-tools.ts";
import { createMemorySessions, createSessions, type Sessions } from "./session.ts";
import { buildSystemPrompt } from "./system-prompt.ts";
import type { JsonSchema } from "./tool.ts";

/** One prompt. Only `message` is needed; the rest beats the configuration and the command line for this prompt. */
export interface PromptRequest {
  message: string;
  /** `provider/model`, or a chain `a,b`. */
  model?: string | string[];
  fallback?: string | string[];
  /** Replaces the system prompt; `appendSystem` extends it. */
  system?: string;
  appendSystem?: string;
  agent?: string;
  /** Id of the session to go on with. */
  session?: string;
  temperature?: number;
  topP?: number;
  stop?: string[];
  seed?: number;
  maxOutputTokens?: number;
  /** Paths to attach, relative to the workspace. */
  files?: string[];
  outputSchema?: JsonSchema;
  /** Run first, in order; the model sees calls and results. */
  tools?: { name: string; params?: unknown }[];
  /** With it no model is asked at all. */
  noReply?: boolean;
}

/** With `reject` as a text the model is told why. */
export type PermissionAnswer = "once" | "always" | "reject" | { reject: string };

export interface RuntimeOptions {
  /** The workspace; the process's directory by default. */
  cwd?: string;
  /** Further directories that tools may use. */
  roots?: string[];
  /** Laid over everything that files and environment say: the command line of the host. */
  config?: Partial<Config>;
  /** Where `config.model` comes from, for `model.resolved`; "cli" by default when `config` has it. */
  modelSource?: ModelSource;
  /** Provider of a model id that is given without one; without any model its default model is taken. */
  provider?: string;
  /** A configuration file instead of those that are searched for. */
  configFile?: string;
  /** False: read no configuration file and no environment; only `config` counts. True by default. */
  discover?: boolean;
  /** Plugins beside those of the configuration: as objects, lazy entries, or specs ("name", "./path", ["name", options]). */
  plugins?: (Plugin | LazyPlugin | string | [string, Record<string, unknown>])[];
  /** False: without the plugins of configuration and plugin folders. True by default. */
  configuredPlugins?: boolean;
  skipBrokenPlugins?: boolean;
  /** Trust the workspace's configuration for this run. */
  trust?: boolean;
  /** Default `$XDG_DATA_HOME/agent`. */
  dataDir?: string;
  env?: Record<string, string | undefined>;
  /** False: keep no session on disk. */
  persist?: boolean;
  /** Asks a person; without it *ask* means deny. */
  ask?(request: PermissionRequest & { id: string }, signal: AbortSignal): Promise<PermissionAnswer>;
  log?: Log;
  /** Exact tool set: only these (`tools`), without these (`disableTools`), or only those that read (`readOnly`). */
  tools?: string[];
  disableTools?: string[];
  readOnly?: boolean;
  limits?: RunLimits;
}

/** Limits of one prompt; undefined is none (steps: 100). They are ceilings: no request passes them. */
export interface RunLimits {
  steps?: number;
  costUsd?: number;
  tokens?: number;
  timeoutMs?: number;
}

export interface PromptOptions {
  signal?: AbortSignal;
  /** Go on with the newest root session of this workspace. */
  continueNewest?: boolean;
  /** Work in a copy of the session that is gone on with. */
  fork?: boolean;
  /** Id of the session that is created; one that exists already is gone on with. */
  sessionId?: string;
  title?: string;
  /** Emit `text.delta`, `reasoning.delta` and `tool.progress`. */
  deltas?: boolean;
  /** Instead of the configuration's, for this prompt and its tasks. */
  permissionMode?: Config["permissionMode"];
  /** Asked before each request to the model: words of the user that came meanwhile, which join the conversation there. */
  steer?(): string[];
}

/**
 * A running prompt: iterate over its events, or await `result`, or both. Never rejects for a run that failed: that is
 * a `result` with status and error. Reading slowly slows the run down; not iterating at all does not.
 */
export interface Run extends AsyncIterable<AgentEvent> {
  readonly result: Promise<RunResult>;
}

export interface Runtime {
  readonly cwd: string;
  readonly config: Readonly<Config>;
  readonly sessions: Sessions;
  /** Names of the tools that a model is given. */
  tools(): Promise<string[]>;
  /** Commands that plugins bring. */
  command(name: string): Promise<PluginCommand | undefined>;
  prompt(request: string | PromptRequest, options?: PromptOptions): Run;
  /** Makes every text safe to print: known keys and what looks like one are replaced. */
  redact(text: string): string;
  /** Ends what is running, disposes plugins in reverse order, closes the stores. Idempotent. */
  close(): Promise<void>;
}

/** Reads the configuration, sets up the plugins and wires everything. Sends nothing. Throws what makes a run impossible. */
export async function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const env = options.env ?? hostEnvironment();
  const cwd = await realpath(options.cwd ?? currentDirectory()).catch((error: unknown) => {
    throw new AgentError("OPTION_INVALID", { option: "cwd", reason: errorMessage(error) }, { cause: error });
  });
  const dataDir = options.dataDir ?? dataDirectory(env);
  const log = options.log ?? silentLog;
  const loaded = await loadConfig({ ...options, cwd, env, dataDir, ...(options.config !== undefined && { overlay: options.config }) });
  for (const warning of loaded.warnings) log.warn(warning);
  return assemble({ options, env, cwd, dataDir, loaded, log });
}

/** What the parts are made of. */
interface Ground {
  options: RuntimeOptions;
  env: Record<string, string | undefined>;
  cwd: string;
  dataDir: string;
  loaded: LoadedConfig;
  log: Log;
}

/** Plugins that were set up end with the runtime, and also when there will be none. */
async function assemble(ground: Ground): Promise<Runtime> {
  const { loaded } = ground;
  const notices = createNotices(loaded.untrusted === undefined ? [] : [{ type: "config.untrusted", ...loaded.untrusted }]);
  const redactor = createRedactor(loaded.secrets);
  const fetch = createGuardedFetch();
  const report = (fault: PluginFault) => notices.tell({ type: "plugin.error", ...fault });
  const registry = await setUpPlugins(ground, { fetch, report });
  try {
    return await wire(ground, { notices, redactor, fetch, registry, hooks: createHookRunner(registry.hooks, report) });
  } catch (error) {
    await registry.dispose();
    throw error;
  }
}

type Parts = Pick<PromptEnvironment, "notices" | "redactor" | "fetch" | "registry" | "hooks">;

async function wire({ options, env, cwd, dataDir, loaded, log }: Ground, { notices, redactor, fetch, registry, hooks }: Parts): Promise<Runtime> {
  const config = await hooks.transform("config", loaded.config);
  const spillDir = join(dataDir, "tool-output");
  const { exec, close: closeExec } = createExec({ env });
  const sessions = options.persist === false ? createMemorySessions() : createSessions({ dir: join(dataDir, "sessions"), on: notices.tell });
  const open = createOpenSessions(sessions, cwd);
  const environment: PromptEnvironment = {
    cwd,
    config,
    untrusted: loaded.untrusted?.keys ?? [],
    permissionCeiling: loaded.permissionCeiling,
    options: { ...options, modelSource: options.modelSource ?? loaded.modelSource },
    hooks,
    registry,
    opener: createModelOpener({ config, registry, env, dataDir, redactor, log }),
    paths: await createPaths({ cwd, roots: options.roots ?? [], spillDir }),
    exec,
    fetch,
    redactor,
    log,
    notices,
    systemPrompt: systemPrompts({ cwd, env, log }, config, fetch),
    ...createSpill(spillDir, redactor),
    ...open,
    resting: new Map(),
    grants: new Set(),
  };
  return createFace(environment, {
    sessions,
    closeAll: [closeExec, () => hooks.drain(), () => registry.dispose(), open.close, () => sessions.close(), async () => warnOfRest(notices, log)],
  });
}

interface PluginFault {
  plugin: string;
  hook?: string;
  message: string;
}

async function setUpPlugins(ground: Ground, { fetch, report }: { fetch: PluginContext["fetch"]; report(fault: PluginFault): void }): Promise<Registry> {
  const { options, env, cwd, dataDir, loaded } = ground;
  const entries = await collectPlugins({
    given: options.plugins ?? [],
    configured: options.configuredPlugins === false ? [] : loaded.pluginSpecs,
    cwd,
    place: { packageDirs: [configDirectory(env)], cacheDir: join(dataDir, "cache", "plugins") },
    skipBroken: options.skipBrokenPlugins ? report : undefined,
  });
  return createRegistry(entries, { contextOf: pluginContexts(ground, fetch), report });
}

interface Face {
  sessions: Sessions;
  closeAll: (() => Promise<void>)[];
}

function createFace(environment: PromptEnvironment, { sessions, closeAll }: Face): Runtime {
  const { cwd, config, registry, redactor } = environment;
  const closing = new AbortController();
  const running = new Set<Promise<RunResult>>();
  let closed: Promise<void> | undefined;
  return {
    cwd,
    config,
    sessions,
    tools: async () => [...selectTools(registry.tools, { options: environment.options, config, profile: findProfile(undefined, config) }).keys()],
    command: (name) => registry.command(name),
    redact: redactor.redact,
    prompt(request, promptOptions = {}) {
      const run = startPrompt(typeof request === "string" ? { message: request } : { ...request }, {
        ...promptOptions,
        environment,
        closing: closing.signal,
      });
      const forget = () => running.delete(run.result);
      running.add(run.result);
      run.result.then(forget, forget);
      return run;
    },
    close() {
      closing.abort(new AgentError("INTERRUPTED"));
      closed ??= (async () => {
        await Promise.allSettled(running);
        for (const close of closeAll) await close().catch((error: unknown) => environment.log.warn(String(error)));
      })();
      return closed;
    },
  };
}

interface StartOptions extends PromptOptions {
  environment: PromptEnvironment;
  closing: AbortSignal;
}

function startPrompt(request: PromptRequest, { environment, closing, ...options }: StartOptions): Run {
  const channel = createChannel<AgentEvent>();
  const { timeoutMs } = limitsOf(environment.options.limits, environment.config);
  const limit = timeoutMs === undefined ? undefined : { ms: timeoutMs, error: () => new AgentError("LIMIT_TIME", { limit: timeoutMs / 1000 }) };
  const { signal, release } = joinSignals([options.signal, closing], limit);
  const result = runPrompt({ request, options, signal, channel }, environment).finally(() => {
    release();
    channel.close();
  });
  return { result, [Symbol.asyncIterator]: () => channel[Symbol.asyncIterator]() };
}

/** What happened when no prompt was there any more. */
function warnOfRest(notices: Notices, log: Log): void {
  for (const { type, ...facts } of notices.left()) log.warn(type, facts);
}

function pluginContexts(
  { cwd, dataDir, loaded, log }: Ground,
  fetch: PluginContext["fetch"],
): (name: string, options: Record<string, unknown>) => PluginContext {
  return (name, options) => ({
    cwd,
    options,
    config: loaded.config,
    fetch,
    log,
    async dataDir() {
      const directory = join(dataDir, "plugins", name.replace(/[^\w.-]/g, "_"));
      makeDirectories(nodeFs, directory);
      return directory;
    },
  });
}

/** Instruction files are read once for each base text. */
function systemPrompts(
  { cwd, env, log }: Pick<Ground, "cwd" | "env" | "log">,
  config: Readonly<Config>,
  fetch: PluginContext["fetch"],
): PromptEnvironment["systemPrompt"] {
  const made = new Map<string | undefined, Promise<string>>();
  return (base) => {
    const known =
      made.get(base) ??
      buildSystemPrompt({ cwd, root: findWorkspaceRoot(cwd), configDir: configDirectory(env), instructions: config.instructions ?? [], base, fetch, log });
    made.set(base, known);
    return known;
  };
}

/** Texts that are too long for the context, each in a file of its own that only its owner can read. */
function createSpill(spillDir: string, redactor: Redactor): Pick<PromptEnvironment, "spill" | "spillPath"> {
  const made = new Set<string>();
  const spillPath = async (sessionId: string) => {
    const directory = join(spillDir, sessionId);
    try {
      if (!made.has(sessionId)) makeDirectories(nodeFs, directory);
    } catch {
      // Where nothing can be made, nothing can be written either: whoever writes finds out and goes on without.
    }
    made.add(sessionId);
    return join(directory, `${newId("call")}.txt`);
  };
  return {
    spillPath,
    async spill(sessionId, text) {
      const path = await spillPath(sessionId);
      return writeFile(path, redactor.redact(text), { mode: 0o600, flag: "wx" }).then(
        () => path,
        () => undefined,
      );
    },
  };
}
