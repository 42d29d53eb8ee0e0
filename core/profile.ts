import type { AgentProfile, Config, PermissionConfig } from "./config.ts";
import { AgentError } from "./errors.ts";

export type Profile = AgentProfile & Pick<Config, "permissionMode">;

/** Profiles that need no configuration: `build` changes nothing, `plan` may only look. A configured one of that name adds to it. */
const BUILT_IN: Record<string, Profile> = { build: {}, plan: { description: "Looks and plans; changes nothing.", permissionMode: "plan" } };

/** The profile of a prompt: the one that is named, or else `default_agent`. Throws AGENT_NOT_FOUND. */
export function findProfile(name: string | undefined, config: Readonly<Config>): Profile | undefined {
  const wanted = name ?? config.default_agent;
  if (wanted === undefined) return undefined;
  const names = [...new Set([...Object.keys(BUILT_IN), ...Object.keys(config.agent ?? {})])].filter((known) => !config.agent?.[known]?.disable);
  if (!names.includes(wanted)) throw new AgentError("AGENT_NOT_FOUND", { name: wanted, known: names.sort().join(", ") });
  return { ...BUILT_IN[wanted], ...config.agent?.[wanted] };
}

/** The configuration with a profile's rules and sampling laid over it. */
export function profileConfig(config: Readonly<Config>, profile: Profile | undefined): Readonly<Config> {
  if (profile === undefined) return config;
  return {
    ...config,
    ...(profile.permissionMode !== undefined && config.permissionMode !== "readonly" && { permissionMode: profile.permissionMode }),
    ...(profile.permission !== undefined && { permission: joinPermissions(config.permission, profile.permission) }),
    ...(profile.temperature !== undefined && config.temperature === undefined && { temperature: profile.temperature }),
    ...(profile.top_p !== undefined && config.topP === undefined && { topP: profile.top_p }),
  };
}

/** The second set of rules after the first, so that its rules match last and count. */
function joinPermissions(first: PermissionConfig | undefined, second: PermissionConfig): PermissionConfig {
  const toMap = (rules: PermissionConfig | undefined) => (typeof rules === "string" ? { "*": rules } : (rules ?? {}));
  const joined = { ...toMap(first) };
  for (const [key, rule] of Object.entries(toMap(second))) {
    const before = joined[key];
    delete joined[key];
    joined[key] = typeof before === "object" && typeof rule === "object" ? { ...before, ...rule } : rule;
  }
  return joined;
}
