import { resolve } from "node:path";
import { configFolders, type LoadConfigOptions } from "./config.ts";
import { findWorkspaceRoot, listDirectories, listProjectFiles, listProjectFolders, listUserFiles, statPath } from "./config-files.ts";
import { listFolderFiles } from "./config-folders.ts";
import { isBelow } from "./untrusted.ts";

/** Each changes when one of its files was edited, added or removed. */
export interface ConfigStamp {
  /** The user's files, and the stored keys. */
  user: string;
  /** What lies in the workspace, where tools may write. */
  workspace: string;
}

/** Reads no file; some fifty looks at the file system (0.2 ms). What a `{file:}` names does not count. */
export function stampConfig(options: LoadConfigOptions, authFile: string): ConfigStamp {
  if (options.discover === false) return { user: "", workspace: "" };
  const [opencode, own] = configFolders(options);
  const user = [...listUserFiles(opencode, "opencode"), ...inFolder(opencode), ...listUserFiles(own, "agent"), ...inFolder(own)];
  const root = findWorkspaceRoot(options.cwd);
  const named = namedFile(options);
  if (named !== undefined)
    return isBelow(root, named) ? { user: stamp([...user, authFile]), workspace: stamp([named]) } : { user: stamp([...user, authFile, named]), workspace: "" };
  const directories = listDirectories(root, options.cwd);
  return {
    user: stamp([...user, authFile]),
    workspace: stamp([...listProjectFiles(directories), ...listProjectFolders(directories).flatMap(inFolder)]),
  };
}

export function namedFile({ configFile, env, cwd }: LoadConfigOptions): string | undefined {
  const named = configFile ?? env.AGENT_CONFIG;
  return named ? resolve(cwd, named) : undefined;
}

const inFolder = (folder: string): string[] => Object.values(listFolderFiles(folder)).flat();

/** The time of the last change of its entry (ctime) cannot be set back by who edits it. */
function stamp(files: string[]): string {
  return files
    .map((file) => {
      const stat = statPath(file);
      return stat === undefined ? file : `${file} ${stat.ino} ${stat.size} ${stat.ctimeMs}`;
    })
    .join("\n");
}
