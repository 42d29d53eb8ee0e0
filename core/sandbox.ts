import { realpathSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { findWorkspaceRoot } from "./config-files.ts";
import type { Confine, ConfineGround, Confinement, ConfinePolicy } from "./confine.ts";
import { isExecutable } from "./exec.ts";
import { isInside } from "./inside.ts";
import { createMounts, type MountPolicy } from "./sandbox-mounts.ts";
import { findSecretNames } from "./sandbox-secrets.ts";

export type SandboxPolicy = Omit<ConfinePolicy, "config"> & Pick<MountPolicy, "canWrite" | "write"> & { network: boolean };

const NOT_INSTALLED = "bubblewrap is not installed; install it, for example with: apt install bubblewrap";

/**
 * Bubblewrap is the sandbox: `bwrap` on PATH, where it is none of the workspace's own. It is tried once, with the first
 * process, and once more without network where that is asked for.
 */
export async function openSandbox(ground: ConfineGround): Promise<(policy: SandboxPolicy) => Promise<Confinement>> {
  if (process.platform !== "linux")
    return async () => ({ missing: `there is none for ${process.platform}; run the agent in a container or a virtual machine` });
  const found = findBubblewrap(ground);
  if (found.file === undefined) return async () => ({ missing: found.reason });
  const mounts = createMounts(ground);
  const scanned = findSecretNames(ground.roots);
  const tried = new Map<boolean, Promise<string | undefined>>();
  return async (policy) => {
    const named = (await scanned).filter((path) => policy.secretFiles.isSecret(path));
    const confine: Confine = ({ file, args, cwd, needed = [] }) => {
      const bounds = mounts({ ...policy, named, needed: [file, ...args, ...needed] });
      const own = [...describeBounds(policy.network), ...bounds.args, "--chdir", cwd, "--as-pid-1", "--"];
      return { file: found.file, args: [...own, "/bin/sh", "-c", FIRST_PROCESS, "sh", file, ...args], identity: bounds.identity };
    };
    const trial = tried.get(policy.network) ?? tryOut(ground, confine);
    tried.set(policy.network, trial);
    const missing = await trial;
    return missing === undefined ? { confine } : { missing };
  };
}

/**
 * At the head of the process space: when it ends the kernel ends all others before anybody is told. It passes on how the
 * program ended, keeps to itself what a shell says of signals, and gives half a second to what goes on behind it.
 */
const FIRST_PROCESS = `exec 9>&2 2>/dev/null
(exec "$@" 2>&9 9>&-)
status=$? round=0
while set -- /proc/[0-9]*; [ $# -gt 1 ] && [ $round -lt 10 ]; do
  round=$((round + 1))
  sleep 0.05
done
exit $status`;

/** Bubblewrap itself sees to it that nobody gains rights by a set-user-id program. */
const describeBounds = (network: boolean): string[] => [
  ...["--unshare-pid", "--unshare-ipc", "--unshare-uts", ...(network ? [] : ["--unshare-net"])],
  ...["--die-with-parent", "--new-session", "--cap-drop", "ALL"],
];

/** What runs the trial serves for the first command, too. Where it cannot, bubblewrap itself is asked why. */
async function tryOut({ exec, cwd }: ConfineGround, confine: Confine): Promise<string | undefined> {
  const program = { file: "/bin/sh", args: ["-c", "exit 0"], cwd };
  const run = (file: string, args: string[], bounds?: { confine: Confine }) =>
    exec(file, args, { cwd, signal: new AbortController().signal, timeoutMs: TRIAL_MS, ...bounds }).catch((error: unknown) => ({
      exitCode: null,
      head: String(error),
    }));
  if ((await run(program.file, program.args, { confine })).exitCode === 0) return undefined;
  const { file, args } = confine(program);
  const { exitCode, head } = await run(file, args);
  if (exitCode === 0) return undefined;
  const [said = ""] = head.trim().split("\n");
  return `bubblewrap cannot make one here (${said.slice(0, 200) || "it does not answer"}); ${WAY_OUT}`;
}

const TRIAL_MS = 5_000;
const WAY_OUT =
  "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), or run the agent in a container or a virtual machine of its own";

/** A repository must not bring its own: neither its files nor what a link in it leads to count. */
function findBubblewrap({ env, cwd, roots }: ConfineGround): { file: string } | { file?: undefined; reason: string } {
  const foreign = [...roots, findWorkspaceRoot(cwd)];
  const candidates = (env.PATH ?? "")
    .split(delimiter)
    .filter(isAbsolute)
    .map((folder) => join(folder, "bwrap"))
    .filter(isExecutable);
  const file = candidates.find((path) =>
    [path, realpathSync(path), realpathSync(join(path, ".."))].every((each) => !foreign.some((root) => isInside(each, root))),
  );
  if (file !== undefined) return { file };
  return {
    reason:
      candidates.length === 0 ? NOT_INSTALLED : `the only bwrap on PATH (${candidates[0]}) lies in the workspace, which cannot bring its own; ${NOT_INSTALLED}`,
  };
}
