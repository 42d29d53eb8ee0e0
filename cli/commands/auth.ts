import { AgentError, type Runtime } from "agent-runtime";
import { faultOfKey, LONGEST_KEY, type ProviderKey, readStoredKeys, removeKey, storeKey } from "agent-runtime/host";
import { withoutControls } from "../plain-text.ts";
import type { Stdin } from "../stdin.ts";
import { suggestName } from "../suggestion.ts";

export interface AuthContext {
  dataDir: string;
  signal: AbortSignal;
  stdin: Stdin;
  /** A person is at stdin and sees what is asked. */
  canAsk: boolean;
  /** The providers of plugins and configuration; the caller closes it. */
  openRuntime(): Promise<Pick<Runtime, "keys" | "close">>;
  write(text: string): void;
}

/** What one call works with. */
interface Call extends AuthContext {
  keys(): Promise<ProviderKey[]>;
}

const ACTIONS = ["login", "list", "logout"];
const OPTIONS: Record<string, string[]> = { login: ["--key-stdin"], list: ["--json"] };
const CANCELLED = 130;

/** `agent auth login [PROVIDER] [--key-stdin] | list [--json] | logout [PROVIDER]`. Resolves to the exit code; throws AgentErrors. A key is never printed. */
export const authCommand = {
  name: "auth",
  description: "Store, list and remove the keys of providers. A key is asked for, or read from stdin; it is never an argument.",
  usage: ["auth login [PROVIDER] [--key-stdin]", "auth list [--json]", "auth logout [PROVIDER]"],
  async run([action = "list", ...words]: string[], context: AuthContext): Promise<number> {
    if (!ACTIONS.includes(action))
      throw new AgentError("OPTION_UNKNOWN", { what: "auth command", name: show(action), suggestion: "Use login, list or logout. " });
    const { name, options } = readWords(action, words);
    const runtime = await context.openRuntime();
    try {
      const call = { ...context, keys: () => runtime.keys() };
      if (action === "login") return await login(name, options.length > 0, call);
      if (action === "logout") return await logout(name, call);
      return await list(options.length > 0, call);
    } finally {
      await runtime.close();
    }
  },
};

/** What was typed may be a key in the wrong place: only what looks like a name is repeated. */
const show = (word: string): string => (/^(?!(?:.*\d){3})[\w.-]{1,20}$/.test(word) ? word : "…");

function readWords(action: string, words: string[]): { name: string | undefined; options: string[] } {
  const options = words.filter((word) => word.startsWith("-"));
  const unknown = options.find((option) => !OPTIONS[action]?.includes(option));
  if (unknown !== undefined)
    throw new AgentError("OPTION_UNKNOWN", { what: "option", name: show(unknown.split("=")[0] as string), suggestion: `Of agent auth ${action}. ` });
  const [name, ...more] = words.filter((word) => !word.startsWith("-"));
  if (more.length > 0 || (action === "list" && name !== undefined))
    throw new AgentError("OPTION_INVALID", {
      option: `auth ${action}`,
      reason: action === "list" ? "it takes no name." : "it takes the name of one provider and nothing else; a key is never an argument.",
    });
  return { name, options };
}

async function login(named: string | undefined, fromStdin: boolean, call: Call): Promise<number> {
  const keys = (await call.keys()).filter(({ need }) => need !== "unknown");
  if (!fromStdin && !call.canAsk)
    throw refuseToAsk("auth login", `there is no terminal to ask for the key. Pipe it in: agent auth login ${nameOr(named, keys)} --key-stdin`);
  if (fromStdin && call.stdin.kind === "terminal")
    throw refuseToAsk("--key-stdin", "stdin is a terminal. Pipe the key in, or leave the option out to be asked for it.");
  if (named === undefined && fromStdin) throw refuseToAsk("auth login", "it cannot ask for the provider. Name it: agent auth login NAME --key-stdin");
  const name = named ?? (await choose("Which provider is the key for?", keys.filter(takesKey), call));
  if (name === undefined) return cancel(call);
  const { page, need } = await findProvider(name, keys);
  if (need === "off")
    throw new AgentError("OPTION_INVALID", {
      option: name,
      reason: `provider.${name}.options.apiKey is false in the configuration, so no key of it would be used.`,
    });
  const key = fromStdin ? await readKey(call) : await askKey(name, page, call);
  if (key === undefined) return cancel(call);
  await storeKey(call.dataDir, name, key);
  const stored = await findProvider(name, await call.keys());
  call.write(`The key of ${name} is stored.${sayUse(stored)}\n`);
  return 0;
}

const refuseToAsk = (option: string, reason: string): AgentError => new AgentError("OPTION_INVALID", { option, reason });
const nameOr = (named: string | undefined, keys: ProviderKey[]): string => (keys.some(({ provider }) => provider === named) ? (named as string) : "NAME");

/** A local server takes a key only where the configuration says which variable would hold it. */
const takesKey = ({ need, variables }: ProviderKey): boolean => need === "needed" || (need === "optional" && variables.length > 0);

async function findProvider(name: string, keys: ProviderKey[]): Promise<ProviderKey> {
  const found = keys.find(({ provider }) => provider === name);
  if (found !== undefined) return found;
  const known = keys.map(({ provider }) => provider);
  const near = await suggestName(name, known);
  throw new AgentError("OPTION_UNKNOWN", { what: "provider", name: show(name), suggestion: `${near && `${near} `}Providers: ${known.join(", ")}. ` });
}

/** After a login: whether the stored key is the one that counts. */
function sayUse({ provider, source, last4, unused }: ProviderKey): string {
  if (source === "configuration") return ` It is not used: provider.${provider}.options.apiKey of the configuration comes first.`;
  const end = last4 === undefined ? "" : ` It ends in ${last4}.`;
  return unused.length === 0 ? end : `${end} ${unused.join(" and ")} is set, too, and not used any more.`;
}

async function logout(named: string | undefined, call: Call): Promise<number> {
  const stored = Object.keys(await readStoredKeys(call.dataDir));
  if (stored.length === 0) throw new AgentError("OPTION_INVALID", { option: "auth logout", reason: `no key is stored.${await sayRest(named, call)}` });
  if (named === undefined && !call.canAsk)
    throw refuseToAsk(
      "auth logout",
      `there is no terminal to choose a provider. Name it: agent auth logout ${stored.length === 1 ? withoutControls(stored[0] as string) : "NAME"}`,
    );
  const keys = await call.keys();
  const name =
    named ??
    (await choose(
      "Which key is to be removed?",
      stored.map((id) => keys.find(({ provider }) => provider === id) ?? { provider: id, name: id }),
      call,
    ));
  if (name === undefined) return cancel(call);
  if (!(await removeKey(call.dataDir, name))) {
    const suggestion = `${await suggestName(name, stored)} Stored: ${stored.map(withoutControls).join(", ")}.${await sayRest(name, call)} `.trimStart();
    throw new AgentError("OPTION_UNKNOWN", { what: "stored key", name: show(name), suggestion });
  }
  call.write(`The key of ${withoutControls(name)} is removed.${await sayRest(name, call)}\n`);
  return 0;
}

/** Where a key of the provider is that is not stored here. */
async function sayRest(name: string | undefined, call: Call): Promise<string> {
  const source = (await call.keys()).find(({ provider }) => provider === name)?.source;
  if (source === undefined) return "";
  return ` A key remains in ${source === "configuration" ? `provider.${name}.options.apiKey of the configuration` : withoutControls(source)}, and is used now.`;
}

async function list(asJson: boolean, call: Call): Promise<number> {
  const all = await call.keys();
  const keys = all.filter(({ source }) => source !== undefined);
  if (asJson) {
    const rows = keys.map(({ provider, source, last4, unused }) => ({ provider, source, last4: last4 ?? null, unused }));
    call.write(`${JSON.stringify(rows, null, 2)}\n`);
    return 0;
  }
  call.write(keys.length === 0 ? sayNoKey(all) : formatRows(keys.map(toRow)));
  return 0;
}

function toRow({ provider, source = "", last4, unused, need }: ProviderKey): string[] {
  const notes = [...(need === "unknown" ? ["no such provider is in force"] : []), ...(unused.length > 0 ? [`set, but not used: ${unused.join(", ")}`] : [])];
  return [provider, source, last4 === undefined ? "…" : `…${last4}`, notes.join("; ")];
}

function sayNoKey(all: ProviderKey[]): string {
  const pages = all.flatMap(({ provider, page }) => (page === undefined ? [] : [["", provider, page]]));
  return `No provider has a key. Get one, and store it with agent auth login NAME:\n${formatRows(pages)}`;
}

/** Columns of equal width. */
function formatRows(rows: string[][]): string {
  const widths = rows.reduce<number[]>((widest, row) => row.map((cell, column) => Math.max(widest[column] ?? 0, cell.length)), []);
  return rows.map((row) => `${withoutControls(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).trimEnd()}\n`).join("");
}

/** The key as it was piped in, without the line break that most programs add. */
async function readKey({ stdin, signal }: Call): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of stdin.read(signal)) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > LONGEST_KEY + 2) break;
  }
  signal.throwIfAborted();
  return Buffer.concat(pieces)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}

/** On stderr, because stdout may be piped. Undefined: the person gave up. */
async function askKey(name: string, page: string | undefined, { signal }: Call): Promise<string | undefined> {
  const { password, isCancel } = await import("@clack/prompts");
  const message = `Key of ${name}${page === undefined ? "" : ` (${page})`}`;
  const answer = await password({ message, signal, output: process.stderr, validate: (text) => faultOfKey(text?.trim() ?? "") });
  signal.throwIfAborted();
  return isCancel(answer) ? undefined : answer.trim();
}

async function choose(message: string, keys: Pick<ProviderKey, "provider" | "name">[], { signal }: Call): Promise<string | undefined> {
  const { select, isCancel } = await import("@clack/prompts");
  const options = keys.map(({ provider, name }) => ({
    value: provider,
    label: withoutControls(provider),
    ...(name !== provider && { hint: withoutControls(name) }),
  }));
  const answer = await select({ message, options, signal, output: process.stderr });
  signal.throwIfAborted();
  return isCancel(answer) ? undefined : answer;
}

function cancel({ write }: Call): number {
  write("Nothing was changed.\n");
  return CANCELLED;
}
