import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { grantTrust, listTrust, revokeTrust } from "agent-runtime/host";
import type { ConfigContext } from "./config.ts";

/** `agent trust [dir]`, `agent trust list [--json]`, `agent trust remove [dir]`. */
export const trustCommand = {
  name: "trust",
  description: "Trust the configuration and plugins of a workspace, as they are now.",
  usage: ["trust [DIR]", "trust list [--json]", "trust remove [DIR]"],
  async run(words: string[], context: Pick<ConfigContext, "write" | "dataDir" | "cwd">): Promise<number> {
    const unknown = words.find((word) => word.startsWith("-") && !(word === "--json" && words[0] === "list"));
    if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: "Of agent trust. " });
    if (words[0] === "list") return writeList(context, words.includes("--json"));
    if (words[0] === "remove") return remove(context, resolve(context.cwd, words[1] ?? "."));
    return grant(context, resolve(context.cwd, words[0] ?? "."));
  },
};

type TrustContext = Pick<ConfigContext, "write" | "dataDir" | "cwd">;

async function grant({ write, dataDir }: TrustContext, directory: string): Promise<number> {
  if (!existsSync(directory)) throw new AgentError("OPTION_INVALID", { option: "trust", reason: `there is no directory ${directory}.` });
  const { path, files } = await grantTrust({ dataDir, cwd: directory });
  write(`Trusted: ${path}\n${files.map((file) => `  ${file}\n`).join("")}`);
  write(files.length === 0 ? "It has no configuration yet; a later one must be trusted anew.\n" : "A change to any of these files ends the trust.\n");
  return 0;
}

async function remove({ write, dataDir }: TrustContext, directory: string): Promise<number> {
  const wasTrusted = await revokeTrust({ dataDir, cwd: directory });
  write(wasTrusted ? `No longer trusted: ${directory}\n` : `${directory} was not trusted.\n`);
  return 0;
}

async function writeList({ write, dataDir }: TrustContext, asJson: boolean): Promise<number> {
  const entries = await listTrust(dataDir);
  if (asJson) write(`${JSON.stringify(entries, null, 2)}\n`);
  else write(entries.length === 0 ? "No workspace is trusted.\n" : entries.map(({ path, files, at }) => `${path}  (${files.length} files, ${at})\n`).join(""));
  return 0;
}
