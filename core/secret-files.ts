import { readdirSync, realpathSync, type Stats, statSync } from "node:fs";
import { userInfo } from "node:os";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { PermissionConfig } from "./config-schema.ts";
import { isInside } from "./inside.ts";
import { matchesWildcard } from "./wildcard.ts";

/** Where people and programs keep what proves who they are. Absolute; not all of it need be there. */
export interface SecretPlaces {
  directories: string[];
  files: string[];
}

export interface SecretSetup {
  /** The home of the environment. That of the user database counts beside it. */
  home: string;
  /** Our own, with `auth.json`. */
  dataDir: string;
  /** Configuration files in which keys stand. */
  keyFiles?: readonly string[];
  env?: Record<string, string | undefined>;
}

const HOME_DIRECTORIES = [
  ...[".ssh", ".aws", ".gnupg", ".kube", ".azure", ".oci", ".password-store", ".sops"],
  ...[".config/gh", ".config/hub", ".config/gcloud", ".config/op", ".config/sops", ".config/rclone", ".config/doctl", ".local/share/keyrings"],
];
const HOME_FILES = [
  ...[".docker/config.json", ".config/git/credentials", ".config/containers/auth.json", ".cargo/credentials", ".cargo/credentials.toml"],
  ...[".gem/credentials", ".m2/settings.xml", ".terraform.d/credentials.tfrc.json", ".vault-token", ".my.cnf"],
  ...[
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".local/share/opencode/auth.json",
    ".config/github-copilot/apps.json",
    ".config/github-copilot/hosts.json",
  ],
];
/** What programs take such files from when it is set. */
const DIRECTORY_VARIABLES = ["GNUPGHOME", "GH_CONFIG_DIR", "CLOUDSDK_CONFIG", "AZURE_CONFIG_DIR", "PASSWORD_STORE_DIR"];
const FILE_VARIABLES = [
  ...["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "KUBECONFIG", "NETRC", "NPM_CONFIG_USERCONFIG", "npm_config_userconfig"],
  ...["GOOGLE_APPLICATION_CREDENTIALS", "PGPASSFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"],
];
const SYSTEM_DIRECTORIES = ["/run/secrets", "/var/run/secrets"];
const SYSTEM_FILES = ["/etc/shadow", "/etc/gshadow", "/etc/sudoers"];

/** Files that are secret wherever they lie. A key file with another name is known by what stands in it: see the redactor. */
const SECRET_NAME =
  /^(\.env(\..+)?|\.npmrc|\.pypirc|[._]netrc|\.git-credentials|\.pgpass|id_(rsa|dsa|ecdsa|ed25519|xmss)(_sk)?(\.(pem|key))?)(\.(bak|old|orig|save|sw[a-p])|~)?$/i;
const MODEL_NAME = /\.(example|sample|template|dist|defaults|schema)$/i;
/** For ripgrep: every file that has such a name is among those that one of these finds. */
const NAME_GLOBS = [".env*", ".npmrc*", ".pypirc*", "[._]netrc*", ".git-credentials*", ".pgpass*", "id_*"];
/** What a process holds, its keys included. */
const PROCESS_FILE = /^\/proc\/[^/]+\/(task\/[^/]+\/)?(environ|mem|auxv)$/;

/** Whether a file of this name, without its folder, is secret wherever it lies: `.env`, but not `.env.example`. */
export const isSecretName = (name: string): boolean => SECRET_NAME.test(name) && !(/^\.env\./i.test(name) && MODEL_NAME.test(name));

/** The places outside of workspaces, with what lies directly in `roots` and has a secret name. */
export function secretPlaces({ home, dataDir, keyFiles = [], env = {}, roots = [] }: SecretSetup & { roots?: readonly string[] }): SecretPlaces {
  const homes = [...new Set([home, homeOfUser() ?? home].filter((path) => path !== "" && path !== "/"))];
  const config = env.XDG_CONFIG_HOME ? [env.XDG_CONFIG_HOME] : [];
  const inConfig = (names: string[]) =>
    config.flatMap((directory) => names.filter((name) => name.startsWith(".config/")).map((name) => join(directory, name.slice(8))));
  const set = (names: string[]) => names.flatMap((name) => (env[name] ?? "").split(name === "KUBECONFIG" ? ":" : "\0")).filter((path) => isAbsolute(path));
  const below = (names: string[]) => [...homes.flatMap((each) => names.map((name) => join(each, name))), ...inConfig(names)];
  const named = [...homes, ...roots].flatMap((directory) => namesIn(directory).flatMap((name) => (isSecretName(name) ? [join(directory, name)] : [])));
  return {
    directories: withRealPaths([...below(HOME_DIRECTORIES), ...set(DIRECTORY_VARIABLES), ...SYSTEM_DIRECTORIES]),
    files: withRealPaths([...below(HOME_FILES), ...named, ...set(FILE_VARIABLES), ...keyFiles, join(dataDir, "auth.json"), ...SYSTEM_FILES]),
  };
}

/** Which files tools may not read, whatever path leads to them. */
export interface SecretFiles {
  /** Of a real, absolute path. With `stats` also where it is another name of a secret file (a hard link), as far as that is known. */
  isSecret(path: string, stats?: FileIdentity): boolean;
  /** The same, and what a rule of the permission map denies to `read`: neither is among the results of a search. */
  isHidden(path: string, stats?: FileIdentity): boolean;
  /** Whether it is not its name that makes it secret but its place: there nothing may be written either. */
  isSecretPlace(path: string): boolean;
  /** Globs for ripgrep that find every hidden file below a directory, and others; none: any file may be hidden. */
  globsIn(directory: string): string[];
  /** What a sandbox has to hide; what a person allows is not among it. */
  places(): SecretPlaces;
}

type FileIdentity = Pick<Stats, "nlink" | "dev" | "ino"> | { nlink: bigint; dev: bigint; ino: bigint };

export interface SecretRules extends SecretSetup {
  /** The workspace: rules are relative to it. */
  cwd: string;
  roots: readonly string[];
  /** Of a trusted configuration. `read` rules with a pattern that names something decide: the last that matches allows, or denies. */
  permission: PermissionConfig | undefined;
}

/** Looks at the disk only when it is first asked. */
export function createSecretFiles(rules: SecretRules): SecretFiles {
  const own = readRules(rules);
  let known: ReturnType<typeof lowerCase> | undefined;
  const places = () => (known ??= lowerCase(secretPlaces(rules)));
  const inodes = createInodes(() => secretPlaces(rules));
  const actionFor = (path: string) => {
    if (own.length === 0) return undefined;
    const texts = [path, shownIn(path, rules.cwd)];
    return own.findLast(({ pattern }) => texts.some((text) => matchesWildcard(text, pattern)))?.action;
  };
  const isInSecretDirectory = rememberLast((folder: string) => places().directories.some((directory) => isInside(folder, directory)));
  const isSecretPlace = (path: string): boolean => {
    const lower = path.toLowerCase();
    return PROCESS_FILE.test(path) || isInSecretDirectory(dirname(lower)) || places().files.has(lower) || places().directories.includes(lower);
  };
  const isLinked = (stats: FileIdentity | undefined) => stats !== undefined && Number(stats.nlink) > 1 && inodes.has(stats);
  const isSecret = (path: string, stats?: FileIdentity): boolean =>
    (isSecretName(basename(path)) || isSecretPlace(path) || isLinked(stats)) && actionFor(path) !== "allow";
  return {
    isSecret,
    isHidden: (path, stats) => actionFor(path) === "deny" || isSecret(path, stats),
    isSecretPlace: (path) => isSecretPlace(path) && !isSecretName(basename(path)) && actionFor(path) !== "allow",
    globsIn(directory) {
      if (own.some(({ action }) => action === "deny")) return [];
      const { directories, files } = secretPlaces(rules);
      const inside = (paths: string[]) =>
        paths.filter((path) => path !== directory && isInside(path, directory)).map((path) => `/${relative(directory, path)}`);
      return [...NAME_GLOBS, ...inside(directories).map((path) => `${path}/**`), ...inside(files)];
    },
    places() {
      const { directories, files } = secretPlaces(rules);
      return { directories: directories.filter((path) => actionFor(join(path, "_")) !== "allow"), files: files.filter((path) => actionFor(path) !== "allow") };
    },
  };
}

interface ReadRule {
  pattern: string;
  action: "allow" | "deny" | "ask";
}

/** Only what names something: `*` says nothing of secrets. */
function readRules({ permission, home }: SecretRules): ReadRule[] {
  const read = typeof permission === "object" ? permission.read : undefined;
  if (typeof read !== "object") return [];
  return Object.entries(read).flatMap(([pattern, action]) =>
    /^[*?./]*$/.test(pattern) ? [] : [{ pattern: pattern.replace(/^(~|\$HOME)(?=\/|$)/, home), action: action as ReadRule["action"] }],
  );
}

/** Directories are looked into two levels deep, and not again within a second. */
function createInodes(places: () => SecretPlaces): { has(stats: FileIdentity): boolean } {
  let found = new Set<string>();
  let readAt = Number.NEGATIVE_INFINITY;
  const key = ({ dev, ino }: FileIdentity) => `${dev}:${ino}`;
  const note = (path: string, depth: number): void => {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isFile()) found.add(key(stats));
    else if (stats?.isDirectory() && depth > 0) for (const name of namesIn(path).slice(0, MOST_NAMES)) tryNote(join(path, name), depth - 1);
  };
  const tryNote = (path: string, depth: number) => {
    try {
      note(path, depth);
    } catch {
      // What cannot be looked at cannot be linked by this user either.
    }
  };
  return {
    has(stats) {
      if (performance.now() - readAt > INODES_MS) {
        found = new Set();
        const { directories, files } = places();
        for (const path of files) tryNote(path, 0);
        for (const path of directories) tryNote(path, 2);
        readAt = performance.now();
      }
      return found.has(key(stats));
    },
  };
}

const MOST_NAMES = 1_000;
const INODES_MS = 1_000;

/** Compared in small letters everywhere: where the file system tells large from small, only a namesake more is refused. */
const lowerCase = ({ directories, files }: SecretPlaces): { directories: string[]; files: Set<string> } => ({
  directories: directories.map((path) => path.toLowerCase()),
  files: new Set(files.map((path) => path.toLowerCase())),
});

/** Files come folder by folder. */
function rememberLast(find: (folder: string) => boolean): (folder: string) => boolean {
  let last: { folder: string; found: boolean } | undefined;
  return (folder) => {
    if (last?.folder !== folder) last = { folder, found: find(folder) };
    return last.found;
  };
}

const withRealPaths = (paths: string[]): string[] => [...new Set(paths.flatMap((path) => [resolve(path), ...realPathOf(path)]).filter((path) => path !== sep))];

function realPathOf(path: string): string[] {
  try {
    return [realpathSync.native(path)];
  } catch {
    return [];
  }
}

function homeOfUser(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined; // A container may have no such user.
  }
}

/** Nothing where it cannot be listed. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

const shownIn = (path: string, cwd: string): string => (isInside(path, cwd) ? relative(cwd, path) || "." : path);
