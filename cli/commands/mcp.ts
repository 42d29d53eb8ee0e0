import { resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { type PluginCommandContext, runPluginCommand } from "../plugin-command.ts";
import type { ConfigContext } from "./config.ts";

type McpContext = Omit<ConfigContext, "load"> & PluginCommandContext;

/** `agent mcp list`, `approve NAME`, `add NAME -- COMMAND…`, `add NAME --url URL`, `remove NAME`. */
export const mcpCommand = {
  name: "mcp",
  description: `Show the MCP servers of the configuration and how they do, accept the tools of one as they are now, and add or
remove one in the user's own configuration, with --project in the workspace's. What stands behind -- is the command of
a server, as it is; {env:NAME} in a value of --env or --header keeps a key out of the file.`,
  usage: [
    "mcp list",
    "mcp approve NAME",
    "mcp add NAME [--env KEY=VALUE]... [--project] -- COMMAND [ARGUMENT]...",
    "mcp add NAME --url URL [--header 'NAME: VALUE']... [--project]",
    "mcp remove NAME [--project]",
  ],
  async run(words: string[], context: McpContext): Promise<number> {
    const [action = "list", ...rest] = words;
    if (action === "add") return change(readAdded(rest), context);
    if (action === "remove") return change(readRemoved(rest), context);
    return runPluginCommand("mcp", words, context);
  },
};

interface Change {
  name: string;
  /** Undefined: take it out. */
  server: object | undefined;
  isProject: boolean;
}

const invalid = (action: string, reason: string) => new AgentError("OPTION_INVALID", { option: `mcp ${action}`, reason });

function readAdded(words: string[]): Change {
  const end = words.indexOf("--");
  const own = end < 0 ? words : words.slice(0, end);
  const command = end < 0 ? [] : words.slice(end + 1);
  const { names, values, isProject } = readWords(own);
  const name = nameIn("add", names);
  const [url] = values["--url"];
  if ((url === undefined) === (command.length === 0)) throw invalid("add", "write what starts it behind --, or its address with --url.");
  const headers = Object.fromEntries(values["--header"].map((text) => splitAt(text, ":", "NAME: VALUE")));
  const environment = Object.fromEntries(values["--env"].map((text) => splitAt(text, "=", "KEY=VALUE")));
  const [remote, local] = [Object.keys(headers).length > 0 && { headers }, Object.keys(environment).length > 0 && { environment }];
  if ((url === undefined && remote) || (url !== undefined && local)) throw invalid("add", "--header goes with --url, and --env with a command.");
  return { name, isProject, server: url === undefined ? { type: "local", command, ...local } : { type: "remote", url, ...remote } };
}

function readRemoved(words: string[]): Change {
  const { names, values, isProject } = readWords(words);
  if (Object.values(values).some((list) => list.length > 0)) throw invalid("remove", "it takes a NAME and --project alone.");
  return { name: nameIn("remove", names), isProject, server: undefined };
}

function readWords(words: string[]) {
  const values = { "--url": [] as string[], "--header": [] as string[], "--env": [] as string[] };
  const names: string[] = [];
  let isProject = false;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const next = words[at + 1];
    if (word === "--project") isProject = true;
    else if (Object.hasOwn(values, word) && next !== undefined) {
      values[word as keyof typeof values].push(next);
      at++;
    } else if (word.startsWith("-")) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: word, suggestion: "Of agent mcp. " });
    else names.push(word);
  }
  return { names, values, isProject };
}

function nameIn(action: string, [name, ...others]: string[]): string {
  if (name === undefined || others.length > 0) throw invalid(action, "it takes one NAME.");
  if (!/^[\w.-]{1,64}$/.test(name)) throw invalid(action, `"${name}" is no name: use letters, digits, dots, _ and -.`);
  return name;
}

function splitAt(text: string, sign: string, form: string): [string, string] {
  const at = text.indexOf(sign);
  if (at < 1) throw invalid("add", `"${text.slice(0, 20)}" is not ${form}.`);
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
}

async function change({ name, server, isProject }: Change, { cwd, configDir, configFile, dataDir, write }: McpContext): Promise<number> {
  const { editConfig, projectConfigFile, userConfigFile } = await import("agent-runtime/host");
  const own = isProject ? projectConfigFile(cwd) : userConfigFile(configDir);
  const file = configFile === undefined ? own : resolve(cwd, configFile);
  const isChanged = await editConfig(file, { key: `mcp."${name}"`, value: server && JSON.stringify(server), dataDir });
  if (server === undefined) write(isChanged ? `${name} is no longer in ${file}\n` : `${name} is not in ${file}\n`);
  else write(`${name} is in ${file}. See whether it works: agent mcp list\n`);
  if (isProject && isChanged) write("A workspace's servers count when it is trusted: agent trust\n");
  return server === undefined && !isChanged ? 1 : 0;
}
