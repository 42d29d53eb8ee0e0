import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isSecret } from "./config-environment.ts";
import { isTree, type Tree } from "./config-files.ts";
import type { Config } from "./config-schema.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { Provider, ProviderOptions } from "./provider.ts";
import { whileLocked, writeWhole } from "./whole-file.ts";

/** Stored keys by provider id. */
export type StoredKeys = Record<string, { type: "api"; key: string }>;

export const authPath = (dataDir: string): string => join(dataDir, "auth.json");

/** Reads `<dataDir>/auth.json`: `{ "provider": { "type": "api", "key": "…" } }`. Entries of other types are left out. Throws STORE_DAMAGED. */
export async function readStoredKeys(dataDir: string): Promise<StoredKeys> {
  return Object.fromEntries(Object.entries(await readEntries(dataDir)).filter(([, entry]) => isKey(entry) && typeof entry.key === "string")) as StoredKeys;
}

/** What proves who the user is, of all providers and of whatever type: also where another one is asked, it is never shown. None of a damaged file. */
export async function readStoredSecrets(dataDir: string): Promise<string[]> {
  const entries = Object.values(await readEntries(dataDir).catch(() => ({}))).filter(isTree);
  return entries.flatMap(({ key, access, refresh, token }) =>
    [key, access, refresh, token].filter((value): value is string => typeof value === "string" && isSecret(value)),
  );
}

/** Keeps the key for the provider, in the place of another. Throws OPTION_INVALID, STORE_DAMAGED and STORE_UNWRITABLE. */
export async function storeKey(dataDir: string, provider: string, key: string): Promise<void> {
  const fault = faultOfKey(key);
  if (fault !== undefined) throw new AgentError("OPTION_INVALID", { option: "The key", reason: fault });
  await changeEntries(dataDir, (entries) => {
    const before = entries[provider];
    if (before !== undefined && !isKey(before))
      throw new AgentError("OPTION_INVALID", { option: provider, reason: `${authPath(dataDir)} holds a login of it that is no key; it is kept as it is.` });
    return { ...entries, [provider]: { ...before, type: "api", key } };
  });
}

/** False where no key of the provider was stored. Throws STORE_DAMAGED and STORE_UNWRITABLE. */
export async function removeKey(dataDir: string, provider: string): Promise<boolean> {
  return changeEntries(dataDir, ({ [provider]: removed, ...others }) => (isKey(removed) ? others : undefined));
}

/** Why a text is no key; it is never repeated. */
export function faultOfKey(text: string): string | undefined {
  if (text.trim() === "") return "it is empty.";
  if (text.length > LONGEST_KEY) return "it is too long. Give the key and nothing else.";
  return /^[\x21-\x7e]+$/.test(text) ? undefined : "it holds white space or a character that no key has. Copy it again.";
}

/** Characters. */
export const LONGEST_KEY = 8_192;

const isKey = (entry: unknown): entry is Tree => isTree(entry) && entry.type === "api";

async function readEntries(dataDir: string): Promise<Tree> {
  const path = authPath(dataDir);
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (!isTree(value)) throw new Error("it is not an object.");
    return value;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return {};
    throw new AgentError("STORE_DAMAGED", { path, reason: faultOfFile(error) });
  }
}

/** A parser repeats what it stumbled over, which may be a key. */
const faultOfFile = (error: unknown): string => (error instanceof SyntaxError ? "it is not valid JSON." : errorMessage(error));

/** `change` gives undefined where nothing is to be written. */
const changeEntries = (dataDir: string, change: (entries: Tree) => Tree | undefined): Promise<boolean> =>
  whileLocked(dataDir, authPath(dataDir), async () => {
    const changed = change(await readEntries(dataDir));
    if (changed !== undefined) await writeWhole(authPath(dataDir), `${JSON.stringify(changed, null, 2)}\n`);
    return changed !== undefined;
  });

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

/** What may be told of a provider's key. */
export interface ProviderKey {
  provider: string;
  /** Of the service, for people. */
  name: string;
  /**
   * `optional`: it answers without one; `off`: the configuration says `apiKey: false`; `unknown`: a key is stored for a
   * provider that is not there.
   */
  need: "needed" | "optional" | "off" | "unknown";
  /** "configuration", "auth.json" or the name of the variable; undefined: there is no key. */
  source?: string;
  /** The end of the key; undefined for a short one. */
  last4?: string;
  /** Where other keys of the provider are set, which `source` comes before. */
  unused: string[];
  /** Variables that may hold it. */
  variables: string[];
  /** Where the service gives keys. */
  page?: string;
}

interface KeySources {
  env: Record<string, string | undefined>;
  auth: StoredKeys;
}

export function describeKey(config: Pick<Config, "provider">, provider: Provider, sources: KeySources): ProviderKey {
  const { keySource, unusedKeys, options } = resolveProviderOptions(config, provider, sources);
  const own = config.provider?.[provider.id];
  const isOff = own?.options?.apiKey === false;
  return {
    provider: provider.id,
    name: provider.name ?? provider.id,
    need: isOff ? "off" : provider.keyless ? "optional" : "needed",
    ...(keySource !== undefined && { source: keySource, ...endOf(options.apiKey) }),
    unused: unusedKeys,
    variables: own?.env ?? provider.env ?? [],
    ...(provider.pages?.keys !== undefined && { page: provider.pages.keys }),
  };
}

/** What is stored for providers that are not among the known ones. */
export function describeStrangers(known: string[], auth: StoredKeys): ProviderKey[] {
  const strangers = Object.entries(auth).filter(([id, { key }]) => !known.includes(id) && key.trim() !== "");
  return strangers.map(([id, { key }]) => ({ provider: id, name: id, need: "unknown", source: "auth.json", ...endOf(key), unused: [], variables: [] }));
}

/** Of a key that is shorter, four characters would tell too much. */
const SHORTEST_TOLD = 12;

const endOf = (key = ""): { last4?: string } => (key.trim().length < SHORTEST_TOLD ? {} : { last4: key.trim().slice(-4) });
