import { linkSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PermissionConfig } from "../../core/config-schema.ts";
import { createPaths } from "../../core/paths.ts";
import { createSecretFiles, isSecretName, secretPlaces } from "../../core/secret-files.ts";

let home: string;

beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "agent-secrets-")));
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

function put(path: string, text = "x\n"): string {
  const place = join(home, path);
  mkdirSync(dirname(place), { recursive: true });
  writeFileSync(place, text);
  return place;
}

const make = (permission?: PermissionConfig, cwd = home) =>
  createSecretFiles({ home, dataDir: join(home, ".local/share/agent"), keyFiles: [join(home, "work/agent.json")], cwd, roots: [cwd], permission });

describe("a file is secret", () => {
  const names = [".env", ".ENV", ".env.local", ".env.production.local", ".npmrc", ".pypirc", ".netrc", "_netrc", ".git-credentials", ".pgpass"];
  const keys = ["id_rsa", "id_ed25519", "id_ecdsa_sk", "id_rsa.bak"];
  const copies = [".env~", ".env.local~", ".env.swp", ".npmrc.bak", ".netrc~", ".git-credentials.old"];
  test.each([...names, ...keys, ...copies])("by the name %s, wherever it lies", (name) => {
    expect(isSecretName(name)).toBe(true);
    expect(make().isSecret(join(home, "work/deep", name))).toBe(true);
  });

  const open = [
    ".env.example",
    ".env.sample",
    ".env.TEMPLATE",
    ".env.dist",
    ".env.defaults",
    ".env.schema",
    "..env",
    ".envs~",
    "id_rsa.pub",
    "env",
    "environment.ts",
    ".envrc",
    "server.pem",
    "i18n.key",
    "npmrc.md",
  ];
  test.each(open)("and not by the name %s", (name) => expect(make().isSecret(join(home, "work", name))).toBe(false));

  const places = [".ssh", ".ssh/config", ".aws/credentials", ".gnupg/pubring.kbx", ".config/gh/hosts.yml", ".docker/config.json", ".kube/config"];
  const more = [
    ".config/gcloud/x/y.db",
    ".azure/accessTokens.json",
    ".SSH/known_hosts",
    ".local/share/agent/auth.json",
    "work/agent.json",
    ".cargo/credentials.toml",
  ];
  test.each([...places, ...more])("by its place ~/%s", (path) => expect(make().isSecret(join(home, path))).toBe(true));

  test.each([".sshd", ".docker/daemon.json", ".config/ghost/a", "work/.ssh/x", "work/.aws"])("and not by the place ~/%s", (path) =>
    expect(make().isSecret(join(home, path))).toBe(false));

  test("where it is what a process holds", () => {
    for (const path of ["/proc/1/environ", "/proc/self/task/2/environ", "/proc/7/mem"]) expect(make().isSecret(path)).toBe(true);
    expect(make().isSecret("/proc/meminfo")).toBe(false);
  });

  test("by another name of it on the disk", () => {
    const key = put(".aws/credentials");
    mkdirSync(join(home, "work"));
    linkSync(key, join(home, "work/notes.txt"));
    linkSync(put("work/a.txt"), join(home, "work/b.txt"));
    const secrets = make();
    expect(secrets.isSecret(join(home, "work/notes.txt"), statSync(key))).toBe(true);
    expect(secrets.isSecret(join(home, "work/b.txt"), statSync(join(home, "work/b.txt")))).toBe(false);
  });
});

describe("a rule of the permission map", () => {
  test("allows what it names, and takes it out of what a sandbox hides", () => {
    put("work/.env");
    const work = join(home, "work");
    const secrets = make({ read: { "*.env": "allow", "~/.aws/*": "allow" } }, work);
    expect(secrets.isSecret(join(work, ".env"))).toBe(false);
    expect(secrets.isSecret(join(home, ".aws/credentials"))).toBe(false);
    expect(secrets.isSecret(join(work, ".env.local"))).toBe(true);
    const { directories } = secrets.places();
    expect(directories).toContain(join(home, ".ssh"));
    expect(directories).not.toContain(join(home, ".aws"));
  });

  const vague: (PermissionConfig | undefined)[] = [
    "allow",
    { read: "allow" },
    { read: { "*": "allow" } },
    { read: { "**": "allow" } },
    { "*": "allow" },
    { edit: { ".env": "allow" } },
  ];
  test.each(vague)("does not by %j", (permission) => expect(make(permission).isSecret(join(home, ".env"))).toBe(true));

  test("that comes last counts", () => {
    expect(make({ read: { "*.env": "allow", "work/*": "deny" } }).isSecret(join(home, "work/.env"))).toBe(true);
    expect(make({ read: { "*.env": "ask" } }).isSecret(join(home, ".env"))).toBe(true);
  });

  test("hides what it denies from searches, and makes no secret of it", () => {
    const secrets = make({ read: { "drafts/*": "deny" } });
    expect(secrets.isHidden(join(home, "drafts/a.md"))).toBe(true);
    expect(secrets.isSecret(join(home, "drafts/a.md"))).toBe(false);
    expect(secrets.globsIn(home)).toEqual([]);
  });
});

describe("the places", () => {
  test("are those of the home, of variables, of links, and the secret names in the roots", () => {
    put("elsewhere/keys/id");
    symlinkSync(join(home, "elsewhere/keys"), join(home, ".ssh"));
    put("work/.env");
    put("work/.env.example");
    const env = { KUBECONFIG: `${home}/k1:${home}/k2`, XDG_CONFIG_HOME: join(home, "xdg") };
    const { directories, files } = secretPlaces({ home, dataDir: join(home, "data"), env, roots: [join(home, "work")] });
    expect(directories).toEqual(expect.arrayContaining([join(home, ".ssh"), join(home, "elsewhere/keys"), join(home, ".config/gh"), join(home, "xdg/gh")]));
    expect(files).toEqual(expect.arrayContaining([join(home, "work/.env"), join(home, "data/auth.json"), join(home, "k1"), join(home, "k2")]));
    expect(files).not.toContain(join(home, "work/.env.example"));
  });
});

describe("the one path resolver", () => {
  const open = (cwd = home) => createPaths({ cwd, secrets: make(undefined, cwd) });

  test("refuses secret files under every name", async () => {
    put(".env", "KEY=1");
    put(".aws/credentials");
    symlinkSync(join(home, ".env"), join(home, "plain.txt"));
    linkSync(join(home, ".aws/credentials"), join(home, "hard.txt"));
    put("shared");
    symlinkSync(join(home, "shared"), join(home, ".env.local"));
    const paths = await open();
    for (const path of [".env", "plain.txt", "x/../.env", ".ssh", ".ssh/id_rsa", ".env.local", join(home, ".aws/credentials")])
      await expect(paths.resolve(path, "read"), path).rejects.toMatchObject({ code: "SECRET_FILE" });
    for (const path of ["plain.txt", "hard.txt"]) await expect(paths.open(path, "read"), path).rejects.toMatchObject({ code: "SECRET_FILE" });
    await expect(paths.openDirectory(".aws")).rejects.toMatchObject({ code: "SECRET_FILE" });
  });

  test("lets a new .env be made, and neither an old one nor anything in a secret place be changed", async () => {
    put("old/.env");
    const paths = await open();
    expect(await paths.resolve(".env", "write")).toBe(join(home, ".env"));
    for (const path of ["old/.env", ".ssh/authorized_keys", ".aws/new"])
      await expect(paths.resolve(path, "write"), path).rejects.toMatchObject({ code: "SECRET_FILE" });
  });
});
