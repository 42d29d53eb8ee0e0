import { existsSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ALIASES, resolveAlias } from "./aliases.ts";
import { isTree, type Tree } from "./config-files.ts";
import type { AgentProfile, Config } from "./config-schema.ts";
import { sandboxOf } from "./confine.ts";
import { isInside } from "./inside.ts";
import { splitModelList } from "./model-id.ts";

/** What an untrusted file is measured against. */
export interface TrustedSide {
  /** What user files, environment and command line say. */
  config: Config;
  /** The workspace's root, real path. */
  root: string;
  /** Directory that relative instructions of the file start from. */
  base: string;
}

/** Keys that decide nothing but data: text, models, numbers. What is not named here or in RULES is left out. */
const DATA_KEYS = new Set([
  ..."$schema systemPrompt appendSystem outputFormat".split(" "),
  ..."temperature topP stop seed maxOutputTokens compaction tool_output toolOutput window attachment".split(" "),
  ..."username logLevel share autoshare autoupdate server watcher theme keybinds tui layout enterprise".split(" "),
]);
/** Not its id: that would put another model in the place of the one that is asked for. */
const MODEL_KEYS = new Set("name family release_date status attachment reasoning temperature tool_call interleaved limit modalities".split(" "));
const PROVIDER_KEYS = new Set(["name", "id"]);
/** Lists that take something away: one of the user's own is not replaced. */
const PROVIDER_LISTS = new Set(["whitelist", "blacklist"]);
const OPTION_KEYS = new Set(["timeout", "connectTimeout", "headerTimeout", "chunkTimeout", "contentTimeout"]);
const AGENT_KEYS = new Set("variant temperature top_p prompt description mode steps maxSteps hidden color".split(" "));
/** Models that are no model but a program: `demo/script` plays a file of the workspace, `demo/tour` runs its `check.js`. */
const PROGRAM = /^(demo\/)?(script|tour)(:|$)/;
const DEFAULT_STEPS = 100;
const DEEPEST_NESTING = 3;
const MODES = ["readonly", "plan", "ask", "auto", "yolo"];

/** Its template may have been a reference. */
type CommandConfig = Partial<NonNullable<Config["command"]>[string]>;
type Drop = (key: string) => undefined;
type Rule = (value: unknown, side: TrustedSide, drop: Drop) => unknown;

/** Keys of which a part is data. A rule returns what may stay, undefined for nothing, and names what it leaves out. */
const RULES: Record<string, Rule> = {
  model: (value, side, drop) => (isProgram(value, side) ? drop("model") : value),
  fallback: (value, side, drop) => (isProgram(value, side) ? drop("fallback") : value),
  small_model: (value, side, drop) => (isProgram(value, side) ? drop("small_model") : value),
  // Who pays is the user's own decision.
  retry: (value, _side, drop) => mapTree(value, (item, name) => (name === "fallbackOnAuth" && item === true ? drop(`retry.${name}`) : item)),
  disabled_providers: (value, { config }, drop) => (config.disabled_providers === undefined ? value : drop("disabled_providers")),
  enabled_providers: (value, { config }, drop) => (config.enabled_providers === undefined ? value : drop("enabled_providers")),
  provider: (value, side, drop) =>
    mapTree(value, (provider, id) => keepProvider(provider as Tree, side, { own: side.config.provider?.[id], drop: (key) => drop(`provider.${id}.${key}`) })),
  agent: (value, side, drop) =>
    mapTree(value, (agent, name) => keepAgent(agent as AgentProfile, side, { own: side.config.agent?.[name], drop: (key) => drop(`agent.${name}.${key}`) })),
  permission: (value, side, drop) => keepPermission(value, side, (key) => drop(key === "" ? "permission" : `permission.${key}`)),
  tools: (value, _side, drop) => mapTree(value, (on, name) => (on === false ? on : drop(`tools.${name}`))),
  command: (value, side, drop) => mapTree(value, (command, name) => (isText(command as CommandConfig, side) ? command : drop(`command.${name}`))),
  alias: (value, side, drop) =>
    mapTree(value, (id, name) => (name in ALIASES || name in (side.config.alias ?? {}) || isProgram(id, side) ? drop(`alias.${name}`) : id)),
  limits: (value, { config }, drop) => {
    const own: Tree = { steps: DEFAULT_STEPS, ...config.limits };
    const widens = (limit: unknown, name: string) =>
      name === "freeOnly" ? limit === false && own[name] === true : (limit as number) > ((own[name] as number) ?? Infinity);
    return mapTree(value, (limit, name) => (widens(limit, name) ? drop(`limits.${name}`) : limit));
  },
  subagent_depth: (value, { config }, drop) => ((value as number) <= (config.subagent_depth ?? DEEPEST_NESTING) ? value : drop("subagent_depth")),
  permissionMode: (mode, { config }, drop) => (MODES.indexOf(mode as string) <= MODES.indexOf(config.permissionMode ?? "auto") ? mode : drop("permissionMode")),
  // It may be stricter than the user, never laxer.
  sandbox: (value, { config }, drop) =>
    mapTree(sandboxOf(value as Config["sandbox"]), (item, name) =>
      tightensSandbox(name, item, sandboxOf(config.sandbox)) ? item : drop(typeof value === "object" ? `sandbox.${name}` : "sandbox"),
    ),
  // What takes back the work of a workspace is not the workspace's to switch off.
  snapshot: (value, _side, drop) => (value === true ? value : drop("snapshot")),
  // The user's own may be there for what it forbids.
  default_agent: (name, { config }, drop) => (config.default_agent !== undefined || hasRights(config.agent?.[name as string]) ? drop("default_agent") : name),
  instructions: (value, side, drop) => {
    const kept = (value as string[]).filter((entry) => isInWorkspace(entry, side));
    if (kept.length < (value as string[]).length) drop("instructions");
    return kept.length > 0 ? kept : undefined;
  },
};

/**
 * What an untrusted file may say, and the dotted keys of what it may not. Nothing that stays runs a program, opens an
 * address, reads outside the workspace, or allows more than the user's own configuration does.
 */
export function keepData(config: Config, side: TrustedSide): { config: Config; dropped: string[] } {
  const dropped: string[] = [];
  const drop: Drop = (key) => {
    dropped.push(key);
    return undefined;
  };
  const kept: Tree = {};
  for (const [key, value] of Object.entries(config)) {
    const rule = RULES[key];
    const result = rule ? rule(value, side, drop) : DATA_KEYS.has(key) || value === false ? value : drop(key);
    if (result !== undefined) kept[key] = result;
  }
  return { config: kept as Config, dropped };
}

/** All that a kept configuration says of what may be done, as one text: its order counts, as that of permission rules does. */
export function rightsIn({
  permission,
  permissionMode,
  sandbox,
  tools,
  limits,
  default_agent,
  enabled_providers,
  disabled_providers,
  agent = {},
}: Config): string {
  const profiles = Object.entries(agent).map(([name, { permission, tools, disable, steps, maxSteps }]) => [name, permission, tools, disable, steps, maxSteps]);
  const ruling = profiles.filter(([, ...rights]) => rights.some((right) => right !== undefined));
  return JSON.stringify([permission, permissionMode, sandbox, tools, limits, default_agent, enabled_providers, disabled_providers, ruling]);
}

/** Takes out the strings that ask for `{env:…}` or `{file:…}`: they are not expanded, and mean nothing as they stand. */
export function dropReferences(value: Tree, isReference: (text: string, key: string) => boolean): { value: Tree; dropped: string[] } {
  const dropped: string[] = [];
  const walk = (node: unknown, path: string[]): unknown => {
    if (typeof node === "string" && isReference(node, path.join("."))) {
      dropped.push(path.join("."));
      return undefined;
    }
    if (Array.isArray(node)) return node.map((item, index) => walk(item, [...path, String(index)])).filter((item) => item !== undefined);
    return isTree(node) ? mapTree(node, (item, key) => walk(item, [...path, key]), true) : node;
  };
  return { value: walk(value, []) as Tree, dropped };
}

/** What is left of an object; nothing where nothing of it is left. */
function mapTree(value: unknown, keep: (item: unknown, key: string) => unknown, keepEmpty = false): Tree | undefined {
  const entries = Object.entries(value as Tree)
    .map(([key, item]) => [key, keep(item, key)] as const)
    .filter(([, item]) => item !== undefined);
  return entries.length > 0 || keepEmpty ? Object.fromEntries(entries) : undefined;
}

function keepProvider(provider: Tree, side: TrustedSide, { own = {}, drop }: { own: Tree | undefined; drop: Drop }): Tree | undefined {
  return mapTree(provider, (value, key) => {
    if (PROVIDER_KEYS.has(key)) return value;
    if (PROVIDER_LISTS.has(key)) return own[key] === undefined ? value : drop(key);
    if (key === "default_model") return isProgram(value, side) ? drop(key) : value;
    if (key === "options") return mapTree(value, (item, option) => (OPTION_KEYS.has(option) ? item : drop(`options.${option}`)));
    if (key === "models") {
      const keep = (item: unknown, part: string) => MODEL_KEYS.has(part) || (part === "fallback" && !isProgram(item, side));
      return mapTree(value, (model, id) => mapTree(model, (item, part) => (keep(item, part) ? item : drop(`models.${id}.${part}`)), true));
    }
    return drop(key);
  });
}

/** A profile of which nothing is left is still a profile: it may be asked for by name. */
function keepAgent(agent: AgentProfile, side: TrustedSide, { own, drop }: { own: AgentProfile | undefined; drop: Drop }): Tree | undefined {
  return mapTree(
    agent,
    (value, key) => {
      if (AGENT_KEYS.has(key)) return value;
      if (key === "model" || key === "fallback") return isProgram(value, side) ? drop(key) : value;
      if (key === "disable") return own?.disable && value === false ? drop(key) : value;
      if (key === "permission") return keepPermission(value, side, (rule) => drop(rule === "" ? key : `${key}.${rule}`));
      if (key === "tools") return mapTree(value, (on, name) => (on === false ? on : drop(`tools.${name}`)));
      return drop(key);
    },
    true,
  );
}

/**
 * `deny` always stays. `ask` stays unless the user denies something: rules are tried in order and the last match counts,
 * so an `ask` could take the place of a `deny`. `allow` never stays.
 */
function keepPermission(permission: unknown, side: TrustedSide, drop: Drop): string | Tree | undefined {
  const tightens = (action: unknown) => action === "deny" || (action === "ask" && !denies(side.config));
  if (typeof permission === "string") return tightens(permission) ? permission : drop("");
  return mapTree(permission, (rules, tool) => {
    if (typeof rules === "string") return tightens(rules) ? rules : drop(tool);
    return mapTree(rules, (action, pattern) => (tightens(action) ? action : drop(`${tool}.${pattern}`)));
  });
}

const SANDBOX_STRICTNESS: unknown[] = [false, "auto", true];

function tightensSandbox(name: string, value: unknown, own: ReturnType<typeof sandboxOf>): boolean {
  if (name === "enabled") return SANDBOX_STRICTNESS.indexOf(value) >= SANDBOX_STRICTNESS.indexOf(own.enabled ?? "auto");
  return name === "network" && (value === false || own.network === true);
}

function denies(config: Config): boolean {
  const strict = config.permissionMode === "readonly" || config.permissionMode === "plan";
  const maps = [config.permission, ...Object.values(config.agent ?? {}).map((agent) => agent.permission)];
  return strict || maps.some((map) => map !== undefined && JSON.stringify(map).includes('"deny"'));
}

const hasRights = (agent: { permission?: unknown; tools?: unknown } | undefined): boolean => agent?.permission !== undefined || agent?.tools !== undefined;

const isProgram = (model: unknown, { config }: TrustedSide): boolean =>
  splitModelList(model as string | string[] | undefined).some((id) => PROGRAM.test(meaningOf(id, config)));

/** Aliases of the user that go round in a circle mean nothing; that is told when one of them is asked for. */
function meaningOf(id: string, config: Config): string {
  try {
    return resolveAlias(id, config);
  } catch {
    return id;
  }
}

/** A template that is there, without shell parts. */
const isText = ({ template, model }: CommandConfig, side: TrustedSide): boolean =>
  template !== undefined && !template.includes("!`") && !isProgram(model, side);

/** True for a path that is below the root as it is written and as it really is, links followed. */
function isInWorkspace(entry: string, { root, base }: TrustedSide): boolean {
  if (/^[a-z][a-z0-9+.-]*:/i.test(entry) || entry.startsWith("~")) return false;
  const fixed = resolve(base, entry.split(/[*?[{]/)[0]!);
  let existing = fixed;
  while (!existsSync(existing)) existing = dirname(existing);
  return isInside(resolve(base, entry), root) && isInside(realpathSync(existing), root);
}
