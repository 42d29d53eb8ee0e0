import { isTree, parseConfig, type Tree } from "./config-files.ts";
import { AgentError, errorMessage } from "./errors.ts";

export const COMMAND_LINE = "command line";

/** Variables that set one key, and how their text becomes its value. Empty ones count as unset. */
const VARIABLES: Record<string, (text: string) => Tree> = {
  AGENT_MODEL: (text) => ({ model: text }),
  AGENT_FALLBACK: (text) => ({
    fallback: text
      .split(",")
      .map((id) => id.trim())
      .filter((id) => id !== ""),
  }),
  AGENT_OUTPUT_FORMAT: (text) => ({ outputFormat: text }),
  AGENT_PERMISSION_MODE: (text) => ({ permissionMode: text }),
  AGENT_PERMISSION: (text) => ({ permission: text.trimStart().startsWith("{") ? readJson("AGENT_PERMISSION", text) : text }),
};

/** What the `AGENT_*` variables say, one piece for each that is set. */
export function readVariables(env: Record<string, string | undefined>): { name: string; value: Tree }[] {
  return Object.entries(VARIABLES).flatMap(([name, read]) => {
    const text = env[name]?.trim();
    return text ? [{ name, value: read(text) }] : [];
  });
}

/** `AGENT_CONFIG_CONTENT`: a configuration in the variable itself. */
export async function readContent(env: Record<string, string | undefined>): Promise<Tree | undefined> {
  const text = env.AGENT_CONFIG_CONTENT;
  return text?.trim() ? (await parseConfig(text, "AGENT_CONFIG_CONTENT")).value : undefined;
}

export const isOn = (text: string | undefined): boolean => /^(1|true|yes|on)$/i.test(text?.trim() ?? "");

/** Values of variables whose names say that they are secret, and how what an address in a variable names is logged in to. */
export const secretsOf = (env: Record<string, string | undefined>): string[] =>
  Object.entries(env).flatMap(([name, value]) => {
    const text = value?.trim();
    if (!text) return [];
    if (/^(https?|all)_proxy$/i.test(name)) return proxySecrets(text);
    const login = /^[a-z][a-z0-9+.-]*:\/\/[^/]*@/i.test(text) ? proxySecrets(text).filter(looksRandom) : [];
    const isSaid = SECRET_WORD_LAST.test(name) ? !isHarmless(text) : SECRET_WORD.test(name) && looksRandom(text);
    return isSaid ? [...login, text] : login;
  });

const SECRET_WORD_LAST = /(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$/i;
const SECRET_WORD = /(^|_)(API)?(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASS|PASSPHRASE|CREDENTIALS?)(_|$)/i;

/** What local servers and databases are given for a key: "postgres", "not-needed", "lm-studio". */
const WORD = /^[A-Z]?[a-z_-]{1,11}$/;

/** A path, an address without a login, a switch, a number or a word such as "postgres": taken out, it would leave holes in everything. */
const isHarmless = (text: string): boolean =>
  /^(~|\.{1,2})?(\/[\w.@ -]+){2,}\/?$/.test(text) ||
  /^(~|\.{1,2})\//.test(text) ||
  /^(true|false|disabled|enabled|\d{1,11})$/i.test(text) ||
  WORD.test(text) ||
  isPlainAddress(text);

const isPlainAddress = (text: string): boolean => /^https?:\/\/[^@\s]*$/i.test(text) && queryKeys(text).length === 0;

/** Long, without white space, and of letters and digits both: no word, no name, no path. */
const looksRandom = (text: string): boolean => text.length >= 12 && /[A-Za-z]/.test(text) && /\d/.test(text) && !/\s/.test(text) && !isHarmless(text);

/** A proxy may repeat what it was told: the password as it stands and decoded, and the login as it is sent. */
function proxySecrets(address: string): string[] {
  const [, user, password] = /^(?:[a-z]+:\/\/)?([^/@:]*):?([^/]*)@/i.exec(address.trim()) ?? [];
  if (user === undefined || password === undefined) return [];
  const [login, decoded] = [decodeText(user), decodeText(password)];
  // A name without a password is a token.
  return [...(password === "" ? [user, login] : [password, decoded]), Buffer.from(`${login}:${decoded}`).toString("base64")];
}

function decodeText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Names of values that are never shown. */
export const SECRET_NAME = /(key|token|secret|password|passwd|signature|authorization|cookie)s?$/i;

/** Headers that say what is sent, or who sends it: their values are ordinary words. */
const PUBLIC_HEADER = /^(accept.*|content-.*|cache-control|user-agent|(http-)?referer|origin|x-title|.*-(title|version|beta))$/i;

/** Keys that stand in a configuration: texts whose names say that they are secret, headers, and parts of an address's query. */
export function keysIn(value: unknown, name = ""): string[] {
  if (typeof value === "string")
    return [...queryKeys(value), ...loginIn(value), ...(SECRET_NAME.test(name) ? [value, value.replace(/^(Bearer|Basic|Token) /i, "")] : [])];
  if (Array.isArray(value)) return value.flatMap((item, index) => [...keysIn(item, optionOf(value[index - 1])), ...optionKeys(item)]);
  if (!isTree(value)) return [];
  return [...(name === "env" ? secretsOf(textsIn(value)) : []), ...keysOf(value, name)];
}

const keysOf = (value: Tree, name: string): string[] =>
  Object.entries(value).flatMap(([key, item]) => keysIn(item, isSecretIn(name, key, item) ? "secret" : key));

const textsIn = (value: Tree): Record<string, string> =>
  Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"));

const loginIn = (text: string): string[] => (/^[a-z][a-z0-9+.-]*:\/\/[^/\s]*@/i.test(text) ? proxySecrets(text) : []);

/** Variables of a server that is started are there to tell it something that nobody else is told. */
function isSecretIn(group: string, key: string, value: unknown): boolean {
  return (group === "headers" && !PUBLIC_HEADER.test(key)) || (group === "environment" && typeof value === "string" && !PUBLIC_VALUE.test(value));
}

/** A word, a number, a path, or an address without a login: taken out of every output, they would take ordinary text along. */
const PUBLIC_VALUE = /^([a-z][a-z_-]{0,30}|[\d.,:-]+|(\/|~|\.{1,2}\/).*|https?:\/\/[^@?#]*)$/i;

const queryKeys = (text: string): string[] =>
  [...text.matchAll(/[?&]([^\s=&#]{1,100})=([^\s&#]+)/g)].flatMap(([, name, value]) => (SECRET_NAME.test(name!) ? [value!, decodeQuery(value!)] : []));

/** In the words of a command: `--token VALUE` and `--token=VALUE`. */
const optionOf = (word: unknown): string => (typeof word === "string" && /^--?[\w-]+$/.test(word) ? word : "");

function optionKeys(word: unknown): string[] {
  const [, name, value] = (typeof word === "string" && /^(--?[\w-]{1,100})=(.+)$/s.exec(word)) || [];
  return name !== undefined && SECRET_NAME.test(name) ? [value!] : [];
}

const decodeQuery = (text: string): string => new URLSearchParams(`_=${text}`).get("_") ?? text;

/** Shorter texts and words would take ordinary words out of every output. */
export const isSecret = (text: string): boolean => text.length >= 8 && !WORD.test(text) && !isReferenceOnly(text);

const isReferenceOnly = (text: string): boolean => /^\{(env|file):[^{}]*\}$/.test(text);

function readJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text, (key, value) => {
      if (key === "__proto__") throw new Error("the key __proto__ is refused.");
      return value;
    });
  } catch (error) {
    throw new AgentError("OPTION_INVALID", { option: name, reason: `it is not valid JSON: ${errorMessage(error)}` });
  }
}
