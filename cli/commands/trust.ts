import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { grantTrust, type LoadedConfig, listTrust, revokeAllTrust, revokeTrust, surveyWorkspace, trustOf } from "agent-runtime/host";
import { oneLine } from "../plain-text.ts";

export interface TrustContext {
  write(text: string): void;
  dataDir: string;
  cwd: string;
  signal: AbortSignal;
  /** A person is at stdin and sees what is asked. */
  canAsk: boolean;
  load(options: { cwd: string; ignoreTrust: true }): Promise<Pick<LoadedConfig, "untrusted" | "ignored">>;
}

const OPTIONS: Record<string, string[]> = { list: ["--json"], remove: ["--all", "--json"], grant: ["--yes", "-y", "--json"] };
const CANCELLED = 130;

/** `agent trust [DIR] [--yes] [--json]`, `agent trust list [--json]`, `agent trust remove [DIR|--all] [--json]`. */
export const trustCommand = {
  name: "trust",
  description: `Trust the configuration and plugins of a workspace, as they are now. On a terminal it shows first what they may do, and
asks; --yes leaves that out. A changed file ends the trust.`,
  usage: ["trust [DIR] [--yes] [--json]", "trust list [--json]", "trust remove [DIR|--all] [--json]"],
  async run(words: string[], context: TrustContext): Promise<number> {
    const action = words[0] === "list" || words[0] === "remove" ? words[0] : "grant";
    const rest = action === "grant" ? words : words.slice(1);
    const options = rest.filter((word) => word.startsWith("-"));
    const unknown = options.find((word) => !OPTIONS[action]!.includes(word));
    if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: "Of agent trust. " });
    const names = rest.filter((word) => !word.startsWith("-"));
    if (names.length > (action === "list" || options.includes("--all") ? 0 : 1))
      throw new AgentError("OPTION_INVALID", { option: "trust", reason: action === "list" ? "list takes no name." : "it takes one directory." });
    const call = { ...context, asJson: options.includes("--json") };
    const directory = resolve(context.cwd, names[0] ?? ".");
    if (action === "list") return writeList(call);
    if (options.includes("--all")) return removeAll(call);
    return action === "remove"
      ? remove(call, directory)
      : grant({ ...call, asks: context.canAsk && !options.some((option) => option.startsWith("-")) }, directory);
  },
};

interface Call extends TrustContext {
  asJson: boolean;
}

async function grant(call: Call & { asks: boolean }, directory: string): Promise<number> {
  const { write, dataDir, asJson } = call;
  if (!existsSync(directory)) throw new AgentError("OPTION_INVALID", { option: "trust", reason: `there is no directory ${directory}.` });
  const { digest } = await surveyWorkspace(directory);
  const powers = await describePowers(call, directory);
  if (call.asks && !(await agrees({ ...call, digest, powers }, directory))) {
    write("Nothing was changed.\n");
    return CANCELLED;
  }
  // What was shown is what is trusted: a file that has changed meanwhile is refused.
  const { path, files, at } = await grantTrust({ dataDir, cwd: directory, digest });
  if (asJson) {
    write(`${JSON.stringify({ path, digest, files, at, powers })}\n`);
    return 0;
  }
  write(`Trusted: ${oneLine(path, LONGEST)}\n${listLines(files)}`);
  if (!call.asks) write(listPowers(powers));
  write(files.length === 0 ? "It has no configuration yet; a later one must be trusted anew.\n" : "A change to any of these files ends the trust.\n");
  return 0;
}

/** A name of a file is at most this long. */
const LONGEST = 4096;
const listLines = (lines: string[]): string => lines.map((line) => `  ${oneLine(line, LONGEST)}\n`).join("");

/** What does not count before, with the values as they stand there: what runs, what is asked, what is allowed. Nothing of it is run or expanded for that. */
async function describePowers({ load }: Call, cwd: string): Promise<string[]> {
  const { untrusted, ignored } = await load({ cwd, ignoreTrust: true });
  return (untrusted?.keys ?? []).map((key) => describePower(key, ignored.get(key)));
}

const describePower = (key: string, value: unknown): string =>
  value === undefined || SECRETS.test(key)
    ? key
    : `${key}: ${oneLine(
        JSON.stringify(value, (name, part) => (SECRETS.test(name) ? "…" : part)),
        300,
      )}`;

/** What may hold a key is named and not shown. */
const SECRETS = /(^|\.)(apiKey|headers|environment|oauth)$/;

const listPowers = (powers: string[]): string => (powers.length === 0 ? "" : `It may now say:\n${listLines(powers)}`);

/** On stderr, because stdout may be piped. */
async function agrees({ signal, powers, dataDir }: Call & { digest: string; powers: string[] }, directory: string): Promise<boolean> {
  const { confirm, isCancel } = await import("@clack/prompts");
  const { path, files } = await surveyWorkspace(directory);
  const before = (await listTrust(dataDir)).some((entry) => entry.path === path) ? " (it was trusted before, and has changed)" : "";
  const what = powers.length === 0 ? "  nothing that is left out now\n" : listLines(powers);
  process.stderr.write(
    `${oneLine(path, LONGEST)}${before}\nFiles:\n${listLines(files)}They may then say:\n${what}Plugins run in the agent itself and can do all that you can.\n`,
  );
  const answer = await confirm({ message: "Trust them as they are now?", initialValue: false, signal, output: process.stderr });
  signal.throwIfAborted();
  return !isCancel(answer) && answer;
}

async function remove({ write, dataDir, asJson }: Call, directory: string): Promise<number> {
  const wasTrusted = await revokeTrust({ dataDir, cwd: directory });
  if (asJson) write(`${JSON.stringify({ removed: wasTrusted ? 1 : 0 })}\n`);
  else write(`${wasTrusted ? "No longer trusted: " : ""}${oneLine(directory, LONGEST)}${wasTrusted ? "" : " was not trusted."}\n`);
  return 0;
}

async function removeAll({ write, dataDir, asJson }: Call): Promise<number> {
  const removed = await revokeAllTrust(dataDir);
  write(asJson ? `${JSON.stringify({ removed })}\n` : `No longer trusted: ${removed} ${removed === 1 ? "workspace" : "workspaces"}\n`);
  return 0;
}

const STATES = { trusted: "", changed: "; changed since: not trusted any more", gone: "; there is no such directory" };

async function writeList({ write, dataDir, asJson }: Call): Promise<number> {
  const entries = await Promise.all((await listTrust(dataDir)).map(async (entry) => ({ ...entry, state: await trustOf(entry) })));
  if (asJson) write(`${JSON.stringify(entries, null, 2)}\n`);
  else if (entries.length === 0) write("No workspace is trusted.\n");
  else for (const { path, files, at, state } of entries) write(`${oneLine(path, LONGEST)}  (${files.length} files, ${oneLine(at)}${STATES[state]})\n`);
  return 0;
}
