import { randomUUID } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "agent-runtime";
import { type ConfiguredServer, identityOf } from "./configured.ts";
import { isObject } from "./connection.ts";
import type { ListedTool } from "./read-tools.ts";

/** What has changed since a server's tools were accepted. Tools that are gone harm nobody. */
export interface Changes {
  added: string[];
  changed: string[];
}

/** The tools of a server as they were accepted: on first use, and by `agent mcp approve`. */
export interface Pins {
  /** Undefined where all is as it was; what is seen for the first time is accepted. Throws STORE_DAMAGED. */
  compare(server: ConfiguredServer, tools: ListedTool[]): Promise<Changes | undefined>;
  accept(server: ConfiguredServer, tools: ListedTool[]): Promise<void>;
}

/** `warn` is told where the disk keeps nothing: servers work all the same, and a change of their tools goes unseen. */
export function createPins(dataDir: () => Promise<string>, warn: (message: string) => void = () => {}): Pins {
  const fileOf = async (server: ConfiguredServer) => join(await dataDir(), `${server.prefix}-${identityOf(server).slice(0, 16)}.json`);
  const accept: Pins["accept"] = async (server, tools) => {
    const file = await fileOf(server);
    const before = (await readPins(file).catch(() => undefined)) ?? {};
    const hashes = { ...before, ...Object.fromEntries(tools.map(({ name, hash }) => [name, hash])) };
    // Random and new, so that nothing that was put there is written to.
    const aside = `${file}.${randomUUID()}`;
    await writeFile(aside, `${JSON.stringify({ server: server.name, tools: hashes }, null, 2)}\n`, { mode: 0o600, flag: "wx" });
    await rename(aside, file).catch(async (error: unknown) => {
      await rm(aside, { force: true });
      throw error;
    });
  };
  return {
    accept,
    async compare(server, tools) {
      const unkept = (error: Error) => warn(`What the MCP server "${server.name}" lists cannot be kept, so a change of it will not be seen: ${error.message}`);
      const file = await fileOf(server).catch(unkept);
      if (file === undefined) return undefined;
      const before = await readPins(file);
      if (before === undefined) {
        await accept(server, tools).catch(unkept);
        return undefined;
      }
      const known = (name: string) => (Object.hasOwn(before, name) ? before[name] : undefined);
      const added = tools.filter(({ name }) => known(name) === undefined).map(({ name }) => name);
      const changed = tools.filter(({ name, hash }) => known(name) !== undefined && known(name) !== hash).map(({ name }) => name);
      return added.length + changed.length === 0 ? undefined : { added, changed };
    },
  };
}

/** Undefined where the server is new. */
async function readPins(file: string): Promise<Record<string, string> | undefined> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const { tools } = JSON.parse(text);
    if (isObject(tools)) return tools as Record<string, string>;
  } catch {
    // Told below.
  }
  throw new AgentError("STORE_DAMAGED", { path: file, reason: "it is no list of tools that were accepted." });
}
