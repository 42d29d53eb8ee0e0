import * as nodeFs from "node:fs";
import { realpath, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { joinSignals, orAborted } from "./abort.ts";
import { authPath, type ProviderKey, readStoredSecrets } from "./auth.ts";
import { createChannel } from "./channel.ts";
import { type Config, configDirectory, dataDirectory, hostEnvironment, type LoadConfigOptions, type LoadedConfig, loadConfig } from "./config.ts";
import { isSecret, keysIn } from "./config-environment.ts";
import { findWorkspaceRoot } from "./config-files.ts";
import { type ConfigStamp, stampConfig } from "./config-stamp.ts";
import { checkConfinement, createConfining } from "./confine.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { AgentEvent, ModelSource, RunResult } from "./events.ts";
import { createExec, type StartProcess } from "./exec.ts";
import { makeDirectories } from "./generation.ts";
import { createHookRunner, type PermissionRequest } from "./hooks.ts";
import { createGuardedFetch } from "./http.ts";
import { newId } from "./id.ts";
import { isInside } from "./inside.ts";
import { limitsOf } from "./limits.ts";
import { collectPlugins } from "./load-plugins.ts";
import { type Log, silentLog } from "./log.ts";
import type { UserContent } from "./message.ts";
import { splitModelList } from "./model-id.ts";
import { createNotices, type Notices } from "./notices.ts";
import { createModelOpener, type ModelOpener } from "./open-model.ts";
import { createOpenSessions } from "./open-sessions.ts";
import { createPaths, currentDirectory } from "./paths.ts";
import type { LazyPlugin, Plugin, PluginCommand, PluginContext, ToolSource } from "./plugin.ts";
import type { PluginAskDependencies } from "./plugin-ask.ts";
import { createPluginContexts, type PluginNeeds } from "./plugin-context.ts";
import { isOfferedIn } from "./prepare-request.ts";
import { findProfile } from "./profile.ts";
import { runPrompt } from "./prompt.ts";
import type { PromptEnvironment } from "./prompt-run.ts";
import { createRedactor, type Redactor } from "./redact.ts";
import { createRegistry, type Registry } from "./registry.ts";
import { createRests } from "./rests.ts";
import { createSecretFiles, type SecretFiles } from "./secret-files.ts";
import { selectTools } from "./select-tools.ts";
import { createMemorySessions, createSessions, type Sessions } from "./session.ts";
import { buildSystemPrompt } from "./system-prompt.ts";
import { createTokenEstimator } from "./token-estimate.ts";
import type { JsonSchema } from "./tool.ts";
import type { Traffic } from "./traffic.ts";

/** One prompt. Only `message` is needed; the rest beats the configuration and the command line for this prompt. */
export interface PromptRequest {
  /** Words, or text and files in their order; a file's data is bytes, base64, or a URL that the provider fetches. */
  message: UserContent;
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

/** With `reject` as a text the model is told why. `answer` is for a question; "nobody": there is no one to answer any more. */
export type PermissionAnswer = "once" | "always" | "reject" | "nobody" | { reject: string } | { answer: string };

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
  /** Throws UNTRUSTED where anything that the workspace says would be left out for lack of trust. */
  requireTrust?: boolean;
  /** Default `$XDG_DATA_HOME/agent`. */
  dataDir?: string;
  env?: Record<string, string | undefined>;
  /** False: keep no session on disk. */
  persist?: boolean;
  /** Asks a person for a permission, or the `question` of the request; without it *ask* means deny, and nobody answers. */
  ask?(request: PermissionRequest & { id: string }, signal: AbortSignal): Promise<PermissionAnswer>;
  log?: Log;
  /** Exact tool set: only these (`tools`), without these (`disableTools`), or only those that read (`readOnly`). */
  tools?: string[];
  disableTools?: string[];
  readOnly?: boolean;
  limits?: RunLimits;
  /** A directory that gets a copy of what models are asked and answer; made when it is needed. */
  record?: string;
  /** A directory that was recorded into: models are asked nothing, no key is needed. What was not recorded is RECORDING_MISSING. */
  replay?: string;
  /** Answer identical requests from disk; `config.cache` has its limits. */
  cache?: boolean;
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
  /** Instead of the configuration's, for this prompt and its tasks. A function is asked at each call of a tool. */
  permissionMode?: Config["permissionMode"] | (() => Config["permissionMode"]);
  /** Asked before each request to the model: what the user said meanwhile, which joins the conversation there. */
  steer?(): UserContent[];
  /** Resolves when there is something for `steer`: a run that only waits for background tasks asks the model then. */
  whenSteered?(): Promise<void>;
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
  /** Names of the tools that the configured model is given at first. */
  tools(): Promise<string[]>;
  /** Servers that tools come from, as they stand now. */
  toolSources(): ToolSource[];
  /** Commands that plugins bring. */
  command(name: string): Promise<PluginCommand | undefined>;
  /** Where each provider has its key, as it stands now; the keys themselves never come out. Throws STORE_DAMAGED. */
  keys(): Promise<ProviderKey[]>;
  prompt(request: string | PromptRequest, options?: PromptOptions): Run;
  /**
   * Takes the configuration anew where its files have changed: the next prompts get it, sessions go on, and the prompts that
   * run end with the one before. False: nothing has changed. Throws what makes the new one unusable, once for each change;
   * the one before then stays.
   */
  reload(): Promise<boolean>;
  /** Makes every text safe to print: known keys and what looks like one are replaced. */
  redact(text: string): string;
  /**
   * Ends what is running, lets plugins finish what outlasts the prompts (until `signal` aborts, where there is one), disposes
   * them in reverse order, closes the stores. Idempotent.
   */
  close(options?: { signal?: AbortSignal }): Promise<void>;
}

/** Reads the configuration, sets up the plugins and wires everything. Sends nothing. Throws what makes a run impossible. */
export async function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const env = options.env ?? hostEnvironment();
  const cwd = await realpath(options.cwd ?? currentDirectory()).catch((error: unknown) => {
    throw new AgentError("OPTION_INVALID", { option: "cwd", reason: errorMessage(error) }, { cause: error });
  });
  const ground: Ground = { options, env, cwd, dataDir: resolve(options.dataDir ?? dataDirectory(env)), log: options.log ?? silentLog };
  const loaded = await load(ground);
  const lasting = await createLasting(ground, loaded);
  return createFace(await configure(ground, lasting, loaded), lasting, ground);
}

/** What the parts are made of. */
interface Ground {
  options: RuntimeOptions;
  env: Record<string, string | undefined>;
  cwd: string;
  dataDir: string;
  log: Log;
}

/** The configuration as the files stand now. */
interface Loaded extends LoadedConfig {
  stamp: ConfigStamp;
}

const sourcesOf = ({ options, cwd, env, dataDir }: Ground): LoadConfigOptions => ({
  ...options,
  cwd,
  env,
  dataDir,
  ...(options.config !== undefined && { overlay: options.config }),
});

const stampOf = (ground: Ground): ConfigStamp => stampConfig({ ...sourcesOf(ground), authFile: authPath(ground.dataDir) });

async function load(ground: Ground, settled?: LoadConfigOptions["settled"]): Promise<Loaded> {
  const stamp = stampOf(ground);
  const loaded = await loadConfig({ ...sourcesOf(ground), settled });
  for (const warning of loaded.warnings) ground.log.warn(warning);
  if (ground.options.requireTrust && loaded.untrusted !== undefined)
    throw new AgentError("UNTRUSTED", { what: `What this run needs (${loaded.untrusted.keys.join(", ")})` });
  return { ...loaded, stamp };
}

/** What lives as long as the runtime, whatever becomes of its configuration. */
type Lasting = Awaited<ReturnType<typeof createLasting>>;

async function createLasting({ options, env, cwd, dataDir, log }: Ground, { config }: Loaded) {
  const notices = createNotices([]);
  const redactor = createRedactor([]);
  const providerKeys = new Set<string>();
  const spillDir = join(dataDir, "tool-output");
  const { exec, startProcess, close: closeExec } = createExec({ env, redactor, isKey: (value) => providerKeys.has(value) });
  const sessions = options.persist === false ? createMemorySessions() : createSessions({ dir: join(dataDir, "sessions"), on: notices.tell });
  const { close: closeSessions, ...open } = createOpenSessions(sessions, cwd);
  const openSession = withSafeTitle(open.openSession, redactor);
  const { roots } = await createPaths({ cwd, roots: options.roots ?? [] });
  // What a replay repeats says nothing of how a provider is now, nor the other way round.
  const rests = createRests({ ...(options.replay === undefined && { dir: join(dataDir, "routes") }), redact: redactor.redact });
  const confining = createConfining({ env, cwd, roots, home: env.HOME || homedir(), dataDir, configDir: configDirectory(env), exec });
  // The runtime's face knows how to take another configuration; it is made after the first one.
  const control = { reload: async () => false };
  const known = { grants: new Set<string>(), passedOver: new Set<string>(), refusedMedia: new Map<string, string>(), estimator: createTokenEstimator() };
  const shared = { exec, confining, redactor, providerKeys, notices, ...createSpill(spillDir, redactor), ...open, openSession, rests, ...known };
  const traffic = await openTraffic(options, config, { cwd, dataDir, redactor, log });
  return { shared, bounds: { roots, spillDir }, sessions, traffic, startProcess, ofPlugins: new Map<string, unknown>(), control, closeExec, closeSessions };
}

const withSafeTitle =
  (open: PromptEnvironment["openSession"], { redact }: Redactor): PromptEnvironment["openSession"] =>
  (request, { title, ...options }) =>
    open(request, { ...options, ...(title !== undefined && { title: redact(title) }) });

/** One configuration at work, with the plugins it names. */
interface Configured {
  stamp: ConfigStamp;
  workspace: LoadedConfig["workspace"];
  environment: PromptEnvironment;
  /** Ends its plugins. */
  end(): Promise<void>;
}

/** Plugins that were set up end with their configuration, and also when there will be none. */
async function configure(ground: Ground, { shared, bounds, traffic, startProcess, ofPlugins, control }: Lasting, loaded: Loaded): Promise<Configured> {
  const { options, env, cwd, dataDir, log } = ground;
  const { providerKeys, ...others } = shared;
  const { notices, redactor } = others;
  for (const secret of [...loaded.secrets, ...(await readStoredSecrets(dataDir))]) redactor.add(secret);
  if (loaded.untrusted !== undefined) notices.tell({ type: "config.untrusted", ...loaded.untrusted });
  const fetch = createGuardedFetch({ env });
  const report = (fault: PluginFault) => notices.tell({ type: "plugin.error", ...fault });
  const servers = { ...shared, config: loaded.config, secretFiles: openSecretFiles(ground, { ...bounds, ...loaded }) };
  let ready: ReturnType<PluginNeeds["whenReady"]>;
  const later = { reload: () => control.reload(), whenReady: () => ready };
  const needs = { fetch, startProcess: confineServers(startProcess, servers), ofPlugins, redactor, notices, report, ...later };
  const registry = await setUpPlugins(ground, loaded, needs);
  try {
    const hooks = createHookRunner(registry.hooks, report);
    const config = await hooks.transform("config", loaded.config);
    const reach = await openPaths(ground, { ...bounds, config, keyFiles: loaded.keyFiles });
    const openerOf = (config: Config) => createModelOpener({ config, registry, env, dataDir, redactor, keys: providerKeys, log, traffic });
    const environment: PromptEnvironment = {
      ...others,
      ...reach,
      ...{ cwd, config, hooks, registry, fetch, log },
      untrusted: loaded.untrusted?.keys ?? [],
      permissionCeiling: loaded.permissionCeiling,
      fallbackSource: loaded.fallbackSource,
      options: { ...options, modelSource: options.modelSource ?? loaded.modelSource },
      opener: openerOf(config),
      systemPrompt: systemPrompts({ cwd, env, log }, config, { fetch, isSecret: reach.secretFiles.isSecret }),
    };
    const asking = { ...environment, openerWith: createOpeners(environment, openerOf), withoutSchema: new Set<string>() };
    ready = { asking, extensions: registry.extensions };
    return { stamp: loaded.stamp, workspace: loaded.workspace, environment, end: () => hooks.drain().then(() => registry.dispose()) };
  } catch (error) {
    await registry.dispose();
    throw error;
  }
}

/** A plugin may ask with other options of a provider than a run does: one opener for each set of them. */
function createOpeners({ config, opener, redactor }: PromptEnvironment, openerOf: (config: Config) => ModelOpener): PluginAskDependencies["openerWith"] {
  const made = new Map<string, ModelOpener>();
  return (options) => {
    if (options === undefined || Object.keys(options).length === 0) return opener;
    const key = JSON.stringify(options);
    const known = made.get(key);
    if (known !== undefined) return known;
    for (const secret of keysIn([options]).filter(isSecret)) redactor.add(secret);
    const provider = { ...config.provider };
    for (const [id, own] of Object.entries(options)) provider[id] = { ...provider[id], options: { ...provider[id]?.options, ...own } };
    const opened = openerOf({ ...config, provider });
    made.set(key, opened);
    return opened;
  };
}

/** What tools may reach of the disk. */
async function openPaths(ground: Ground, { config, keyFiles, ...bounds }: Lasting["bounds"] & { config: Config; keyFiles: string[] }) {
  const { cwd, dataDir, env } = ground;
  const secretFiles = openSecretFiles(ground, { ...bounds, config, keyFiles });
  return { secretFiles, paths: await createPaths({ cwd, ...bounds, own: [dataDir, configDirectory(env)], secrets: secretFiles }) };
}

/** Rules of the configuration say which secret files a person allows. */
function openSecretFiles(
  { env, cwd, dataDir }: Ground,
  { roots, config, keyFiles }: { roots: readonly string[]; config: Readonly<Config>; keyFiles: string[] },
): SecretFiles {
  return createSecretFiles({ home: env.HOME || homedir(), env, dataDir, keyFiles, cwd, roots, permission: config.permission });
}

/** Servers are programs like any other: they run in the sandbox that commands run in. */
function confineServers(
  start: StartProcess,
  { confining, notices, ...policy }: Pick<PromptEnvironment, "confining" | "notices" | "config" | "secretFiles">,
): StartProcess {
  return async (file, args, options) => {
    const found = await confining({ ...policy, readable: [] });
    if (found.missing !== undefined) notices.tell({ type: "sandbox.unavailable", reason: found.missing });
    checkConfinement(found, policy.config);
    return start(file, args, { ...options, confine: found.confine });
  };
}

/** Only where one is asked for is anything loaded for it. */
async function openTraffic(
  { record, replay, cache }: RuntimeOptions,
  config: Readonly<Config>,
  { cwd, dataDir, redactor, log }: { cwd: string; dataDir: string; redactor: Redactor; log: Log },
): Promise<Traffic | undefined> {
  if (record === undefined && replay === undefined && !cache) return undefined;
  if (record !== undefined && replay !== undefined) throw new AgentError("OPTION_INVALID", { option: "replay", reason: "it cannot go with record." });
  const { createTraffic } = await import("./traffic.ts");
  const kept = cache ? await import("./response-cache.ts") : undefined;
  return createTraffic({
    record: record && resolve(record),
    replay: replay && resolve(replay),
    cache: kept?.createResponseCache({ dir: kept.responseCacheDirectory(dataDir), ...config.cache, log }),
    varying: { workspace: cwd, data: dataDir, platform: `Platform: ${process.platform}` },
    redactor,
    log,
  });
}

interface PluginFault {
  plugin: string;
  hook?: string;
  message: string;
}

type SetUpNeeds = Omit<PluginNeeds, "cwd" | "dataDir" | "log" | "config" | "packageDirs" | "report"> & { report(fault: PluginFault): void };

async function setUpPlugins(ground: Ground, loaded: Loaded, needs: SetUpNeeds): Promise<Registry> {
  const { options, env, cwd, dataDir, log } = ground;
  const { redactor, report } = needs;
  const { digest } = loaded.workspace;
  const isTrusted = loaded.workspace.isTrusted || options.discover === false;
  const entries = await collectPlugins({
    given: options.plugins ?? [],
    configured: options.configuredPlugins === false ? [] : loaded.pluginSpecs,
    cwd,
    // What tools may write is no place for compiled code.
    place: { packageDirs: [configDirectory(env)], cacheDir: !isInside(dataDir, findWorkspaceRoot(cwd)) && join(dataDir, "cache", "plugins") },
    isTrusted,
    skipBroken: options.skipBrokenPlugins ? report : undefined,
  });
  if (isTrusted && digest !== undefined && options.configuredPlugins !== false && loaded.pluginSpecs.length > 0)
    await (await import("./trust.ts")).confirmTrust(cwd, digest);
  // Those of the host stand in no configuration.
  for (const secret of keysIn(entries.map((entry) => entry.options)).filter(isSecret)) redactor.add(secret);
  const packageDirs = [...(isTrusted ? [cwd] : []), configDirectory(env)];
  const contextOf = createPluginContexts({ ...needs, cwd, dataDir, log, config: loaded.config, packageDirs });
  return createRegistry(entries, { contextOf, config: loaded.config, readOnly: options.readOnly, report });
}

/**
 * Throws UNTRUSTED for a change that the model may have made itself: in what is trusted though tools may write it, and in
 * what the workspace says of rights, `rights` as they would be.
 */
function refuseForeign(stamp: ConfigStamp, { stamp: before, workspace }: Configured, rights = workspace.rights): void {
  const isForeign = stamp.exposed !== before.exposed || (stamp.workspace !== before.workspace && (workspace.isTrusted || rights !== workspace.rights));
  if (isForeign) throw new AgentError("UNTRUSTED", { what: "The change" });
}

/** The configuration in force, and how another takes its place. */
function createReloader(first: Configured, { lasting, ground, running }: { lasting: Lasting; ground: Ground; running: Set<Promise<RunResult>> }) {
  const ending = new Set<Promise<void>>();
  let current = first;
  let reloading: Promise<unknown> = Promise.resolve();
  let isOver = false;
  const reload = async () => {
    if (isOver) return false;
    const stamp = stampOf(ground);
    const before = current;
    if (isDeepStrictEqual(stamp, before.stamp)) return false;
    // What cannot be used is told once, and again when it has changed.
    current = { ...before, stamp };
    refuseForeign(stamp, first);
    const loaded = await load(ground, first.workspace.settled);
    // Once more, for what was written while it was read.
    refuseForeign(stampOf(ground), first, loaded.workspace.rights);
    current = await configure(ground, lasting, loaded);
    ending.add(Promise.allSettled([...running]).then(before.end));
    return true;
  };
  return {
    current: () => current.environment,
    reload() {
      const reloaded = reloading.then(reload);
      reloading = reloaded.catch(() => {});
      return reloaded;
    },
    async end() {
      isOver = true;
      await reloading;
      await Promise.all([current.end(), ...ending]);
    },
  };
}

/** Names of the tools that the configured model is offered in its first request. */
async function firstTools({ registry, options, config }: PromptEnvironment): Promise<string[]> {
  await registry.refreshTools();
  const chosen = selectTools(registry.tools, { options, config, profile: findProfile(undefined, config), mayCome: registry.mayCome });
  const request = { model: splitModelList(config.model)[0] ?? "", sessionId: "", tools: [...chosen.keys()] };
  return [...chosen.values()].filter((tool) => isOfferedIn(request, tool)).map(({ name }) => name);
}

function createFace(first: Configured, lasting: Lasting, ground: Ground): Runtime {
  const { shared, sessions, traffic, control, closeExec, closeSessions } = lasting;
  const closing = new AbortController();
  const running = new Set<Promise<RunResult>>();
  const { current, reload, end } = createReloader(first, { lasting, ground, running });
  control.reload = reload;
  let closed: Promise<void> | undefined;
  return {
    cwd: ground.cwd,
    get config() {
      return current().config;
    },
    sessions,
    tools: () => firstTools(current()),
    toolSources: () => current().registry.toolSources(),
    command: (name) => current().registry.command(name),
    keys: () => current().opener.keys(),
    redact: shared.redactor.redact,
    reload,
    prompt(request, promptOptions = {}) {
      const run = startPrompt(typeof request === "string" ? { message: request } : { ...request }, {
        ...promptOptions,
        environment: current(),
        closing: closing.signal,
      });
      const forget = () => running.delete(run.result);
      running.add(run.result);
      run.result.then(forget, forget);
      return run;
    },
    close({ signal = new AbortController().signal } = {}) {
      closing.abort(new AgentError("INTERRUPTED"));
      const finish = () => (signal.aborted ? undefined : finishPlugins(current(), signal));
      closed ??= Promise.allSettled(running)
        .then(finish)
        .then(() => closeAll({ end, traffic, closeExec, closeSessions, sessions, shared }, ground.log));
      return closed;
    },
  };
}

/** One after the other; what fails keeps nothing else open. */
async function closeAll(
  parts: Pick<Lasting, "traffic" | "closeExec" | "closeSessions" | "sessions" | "shared"> & { end(): Promise<void> },
  log: Log,
): Promise<void> {
  const { end, traffic, closeExec, closeSessions, sessions, shared } = parts;
  const endAll = () => together(end, closeExec);
  const warn = async () => warnOfRest(shared.notices, log);
  for (const close of [async () => traffic?.close(), endAll, closeSessions, () => sessions.close(), shared.rests.close, warn])
    await close().catch((error: unknown) => log.warn(String(error)));
}

/** What they have observed is known to them first. */
async function finishPlugins({ hooks, registry }: PromptEnvironment, signal: AbortSignal): Promise<void> {
  await orAborted(hooks.drain(), signal).catch(() => {});
  await registry.finish(signal);
}

/** A plugin that ends what it has started is not to take its end for a fault. Rejects as the first does, when both are done. */
async function together(first: () => Promise<void>, second: () => Promise<void>): Promise<void> {
  const [ended] = await Promise.allSettled([first(), second()]);
  if (ended.status === "rejected") throw ended.reason;
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
  const left = notices.left();
  const missing = left.find((facts) => facts.type === "sandbox.unavailable");
  if (missing !== undefined) log.warn(`no sandbox: ${missing.reason}`);
  for (const { type, ...facts } of left) if (type !== "sandbox.unavailable") log.warn(type, facts);
}

/** Instruction files are read once for each base text. */
function systemPrompts(
  { cwd, env, log }: Pick<Ground, "cwd" | "env" | "log">,
  config: Readonly<Config>,
  needs: { fetch: PluginContext["fetch"]; isSecret(path: string): boolean },
): PromptEnvironment["systemPrompt"] {
  const made = new Map<string | undefined, Promise<string>>();
  return (base) => {
    const known =
      made.get(base) ??
      buildSystemPrompt({ cwd, root: findWorkspaceRoot(cwd), configDir: configDirectory(env), instructions: config.instructions ?? [], base, log, ...needs });
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
