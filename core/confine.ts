import type { Config } from "./config-schema.ts";
import { AgentError } from "./errors.ts";
import type { Exec } from "./exec.ts";
import type { SecretFiles } from "./secret-files.ts";

/** A program and where it runs, both absolute. */
export interface ConfinedProgram {
  file: string;
  args: string[];
  cwd: string;
  /** Further programs and paths that it will need. */
  needed?: string[];
}

/** How a process is kept in bounds: another program that runs it. Where `identity` has changed, so have the bounds. */
export type Confine = (program: ConfinedProgram) => { file: string; args: string[]; identity: string };

/** Neither: the policy wants no sandbox. */
export type Confinement = { confine: Confine; missing?: undefined } | { confine?: undefined; missing?: string };

/** Who is confined, and by what configuration. */
export interface ConfinePolicy {
  config: Pick<Config, "sandbox" | "permissionMode">;
  secretFiles: Pick<SecretFiles, "places" | "isSecret">;
  /** Directories of ours that it may read all the same: texts that were too long for the context. */
  readable: string[];
}

/** What the bounds are made of. */
export interface ConfineGround {
  env: Record<string, string | undefined>;
  cwd: string;
  roots: readonly string[];
  home: string;
  dataDir: string;
  configDir: string;
  /** Runs what a sandbox is tried with. */
  exec: Exec;
}

export type Confining = (policy: ConfinePolicy) => Promise<Confinement>;

/** What a configuration says of it, its short form written out. */
export function sandboxOf(sandbox: Config["sandbox"] = {}): Exclude<Config["sandbox"], string | boolean | undefined> {
  if (typeof sandbox === "object") return sandbox;
  return { enabled: sandbox === "auto" ? sandbox : sandbox === true || sandbox === "on" };
}

/**
 * The sandbox of the operating system, looked for and tried with the first process. `missing` says why there is none where
 * the policy wants one.
 */
export function createConfining(ground: ConfineGround): Confining {
  const opened = once(async () => (await import("./sandbox.ts")).openSandbox(ground));
  return async ({ config: { sandbox, permissionMode = "auto" }, ...needs }) => {
    const { enabled = "auto", network = true, write = [] } = sandboxOf(sandbox);
    if (enabled === false) return { missing: "the configuration switches it off (sandbox.enabled: false)" };
    // Who chooses this mode wants no bounds.
    if (enabled === "auto" && permissionMode === "yolo") return {};
    const canWrite = permissionMode !== "plan" && permissionMode !== "readonly";
    return (await opened())({ canWrite, network: network && canWrite, write, ...needs });
  };
}

/** Throws where a process may not run without a sandbox. */
export function checkConfinement({ missing }: Confinement, { sandbox }: Pick<Config, "sandbox">): void {
  if (missing !== undefined && sandboxOf(sandbox).enabled === true) throw new AgentError("SANDBOX_MISSING", { reason: missing });
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
