import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isSecret } from "./config-environment.ts";
import { isTree } from "./config-files.ts";
import type { Config } from "./config-schema.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { Provider, ProviderOptions } from "./provider.ts";

/** Stored keys by provider id. */
export type StoredKeys = Record<string, { type: "api"; key: string }>;

/** Reads `<dataDir>/auth.json`: `{ "provider": { "type": "api", "key": "…" } }`. Entries of other types are left out. Throws STORE_DAMAGED. */
export async function readStoredKeys(dataDir: string): Promise<StoredKeys> {
  const path = join(dataDir, "auth.json");
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (!isTree(value)) throw new Error("it is not an object.");
    const entries = Object.entries(value).filter(([, entry]) => isTree(entry) && entry.type === "api" && typeof entry.key === "string");
    return Object.fromEntries(entries) as StoredKeys;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return {};
    throw new AgentError("STORE_DAMAGED", { path, reason: errorMessage(error) });
  }
}

export interface ResolvedProvider {
  options: ProviderOptions;
  /** "configuration", "auth.json" or the name of the variable; undefined: there is no key. */
  keySource?: string;
  /** Where other keys of the provider are set, which `keySource` comes before. */
  unusedKeys: string[];
  /** Values that must never be printed. */
  secrets: string[];
}

/**
 * The options of one provider: the configuration over the environment over its own defaults. The key: `options.apiKey`,
 * else the stored one, else the first variable that is set; `apiKey: false` is none at all.
 */
export function resolveProviderOptions(
  config: Pick<Config, "provider">,
  provider: Pick<Provider, "id" | "env" | "envOptions" | "defaults">,
  { env, auth }: { env: Record<string, string | undefined>; auth: StoredKeys },
): ResolvedProvider {
  const own = config.provider?.[provider.id];
  const { apiKey, ...configured } = own?.options ?? {};
  const fromEnvironment = Object.entries(provider.envOptions ?? {}).flatMap(([name, option]) => (env[name]?.trim() ? [[option, env[name].trim()]] : []));
  const base = own?.api === undefined ? {} : { baseURL: own.api };
  const { apiKey: defaultKey, ...defaults } = provider.defaults ?? {};
  const options = { ...defaults, ...Object.fromEntries(fromEnvironment), ...base, ...configured } as ProviderOptions;
  const [found, ...others] = findKeys(apiKey, auth[provider.id]?.key, own?.env ?? provider.env ?? [], env);
  const key = apiKey === false ? undefined : (found?.key ?? defaultKey);
  return {
    options: key === undefined ? options : { ...options, apiKey: key },
    ...(found !== undefined && { keySource: found.source }),
    unusedKeys: others.filter(({ key: other }) => other !== found?.key).map(({ source }) => source),
    secrets: found === undefined ? [] : [found.key].filter(isSecret),
  };
}

/** All that are set; the first counts. */
function findKeys(
  configured: string | false | undefined,
  stored: string | undefined,
  names: string[],
  env: Record<string, string | undefined>,
): { key: string; source: string }[] {
  if (configured === false) return [];
  const all: [string, string | undefined][] = [
    ["configuration", configured],
    ["auth.json", stored],
    ...names.map((name): [string, string | undefined] => [name, env[name]]),
  ];
  return all.flatMap(([source, key]) => (key?.trim() ? [{ key: key.trim(), source }] : []));
}
