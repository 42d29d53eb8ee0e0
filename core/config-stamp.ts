import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { configFolders, type LoadConfigOptions } from "./config.ts";
import { findWorkspaceRoot, listDirectories, listProjectFiles, listProjectFolders, listUserFiles, statPath } from "./config-files.ts";
import { listFolderFiles } from "./config-folders.ts";
import { isInside } from "./inside.ts";

/** Each changes when one of its files was edited, added or removed. */
export interface ConfigStamp {
  /** The user's files, the one that was named, and the stored keys. */
  user: string;
  /** Those of the user's files and the named one that lie where tools may write, links followed. */
  exposed: string;
  /** What the workspace itself brings. */
  workspace: string;
}

export interface StampOptions extends LoadConfigOptions {
  authFile: string;
  /** Where tools may write, beside the workspace. */
  roots?: string[];
}

/** Reads no file; some fifty looks at the file system (0.2 ms). What a `{file:}` names does not count. */
export function stampConfig(options: StampOptions): ConfigStamp {
  if (options.discover === false) return { user: "", exposed: "", workspace: "" };
  const [opencode, own] = configFolders(options);
  const user = [...listUserFiles(opencode, "opencode"), ...inFolder(opencode), ...listUserFiles(own, "agent"), ...inFolder(own)];
  const root = findWorkspaceRoot(options.cwd);
  const roots = [root, ...(options.roots ?? []).map((each) => resolve(options.cwd, each)).map((each) => (statPath(each) ? realpathSync(each) : each))];
  const named = options.configFile ?? options.env.AGENT_CONFIG;
  if (named) user.push(resolve(options.cwd, named));
  const directories = named ? [] : listDirectories(root, options.cwd);
  return {
    user: stamp([...user, options.authFile]),
    exposed: stamp(user.filter((file) => isWithin(roots, file))),
    workspace: stamp([...listProjectFiles(directories), ...listProjectFolders(directories).flatMap(inFolder)]),
  };
}

/** One that cannot be listed is refused, or left out, when the configuration is read. */
function inFolder(folder: string): string[] {
  try {
    return Object.values(listFolderFiles(folder)).flat();
  } catch {
    return [folder];
  }
}

/** As it is written or as it really is. */
const isWithin = (roots: string[], file: string): boolean =>
  roots.some((root) => isInside(resolve(file), root) || (statPath(file) !== undefined && isInside(realpathSync(file), root)));

/** The time of the last change of its entry (ctime) cannot be set back by who edits it. */
function stamp(files: string[]): string {
  return files
    .map((file) => {
      const stat = statPath(file);
      return stat === undefined ? file : `${file} ${stat.ino} ${stat.size} ${stat.ctimeMs}`;
    })
    .join("\n");
}
