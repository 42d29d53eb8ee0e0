import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import type { ConfinePolicy } from "../../core/confine.ts";
import { createExec } from "../../core/exec.ts";
import { HAS_SANDBOX, makeSandbox } from "../fixtures/sandboxed.ts";

const folders: string[] = [];
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A home with a workspace `work`; paths of the files are relative to the home. */
function makeWorld(files: Record<string, string> = {}) {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "sandbox-")));
  folders.push(home);
  mkdirSync(join(home, "work"));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), content);
  }
  return home;
}

interface Inside {
  cwd?: string;
  roots?: string[];
  env?: Record<string, string>;
  policy?: Partial<ConfinePolicy>;
}

/** What a command writes that runs in the sandbox of `work`. */
async function inside(home: string, command: string, { cwd = join(home, "work"), roots = [cwd], env = {}, policy }: Inside = {}) {
  const made = createExec({ env: { PATH: process.env.PATH, HOME: home, ...env } });
  open.push(made);
  const { confine, missing } = await makeSandbox(made.exec, { cwd, roots, home, env })(policy);
  if (confine === undefined) throw new Error(missing);
  const { head, exitCode } = await made.exec("bash", ["-c", command], { cwd, signal: new AbortController().signal, confine });
  return { text: head.trim(), exitCode };
}

const git = (cwd: string, ...args: string[]) =>
  execFileSync("git", ["-c", "user.name=A", "-c", "user.email=a@b.invalid", ...args], { cwd, env: { PATH: process.env.PATH, HOME: cwd } })
    .toString()
    .trim();
const COMMIT = "git -c user.name=A -c user.email=a@b.invalid commit -q --allow-empty -m made";

if (!HAS_SANDBOX) describe("the sandbox", () => test.skip("needs bubblewrap, which is not there or does not work", () => {}));

describe.skipIf(!HAS_SANDBOX)("what may be written", () => {
  test("is the workspace, other roots and what the configuration names", async () => {
    const home = makeWorld({ "other/x": "", "named/x": "", "cache/x": "", "rest/x": "" });
    const command = 'for d in . ../other ../named ../cache ../rest ..; do touch $d/new 2>/dev/null && echo "$d"; done';
    const policy = { config: { sandbox: { write: ["../named", "~/cache", "../missing"] } } };
    const { text } = await inside(home, command, { roots: [join(home, "work"), join(home, "other")], policy });
    expect(text.split("\n")).toEqual([".", "../other", "../named", "../cache"]);
    expect(existsSync(join(home, "missing"))).toBe(false);
  });

  test("is nothing of them in the modes that only read", async () => {
    for (const permissionMode of ["plan", "readonly"] as const) {
      const { text } = await inside(makeWorld(), "touch new || touch /tmp/new && echo temporary", { policy: { config: { permissionMode } } });
      expect(text).toMatch(/Read-only file system\ntemporary$/);
    }
  });

  test("holds for temporary files only as long as the command runs", async () => {
    const home = makeWorld();
    const name = `agent-sandbox-test-${process.pid}`;
    await inside(home, `touch /tmp/${name} /var/tmp/${name} && file=$(mktemp)`);
    expect([existsSync(`/tmp/${name}`), existsSync(`/var/tmp/${name}`)]).toEqual([false, false]);
    expect((await inside(home, `ls /tmp/${name}`)).exitCode).not.toBe(0);
  });

  test("is no setting of the system, though it be root that runs it", async () => {
    const { text } = await inside(
      makeWorld(),
      "find /proc/sys /sys -type f -writable 2>/dev/null | head -3; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /dev",
    );
    expect(text).toMatch(/^CapEff:\s+0+\nNoNewPrivs:\s+1\n/);
    expect(text).not.toMatch(/\b(sd[a-z]|vd[a-z]|mem|kmsg)\b/);
  });

  test("is no socket of a program of the system", async () => {
    expect((await inside(makeWorld(), "find /run /tmp /var/tmp -type s 2>/dev/null | wc -l")).text).toBe("0");
  });
});

describe.skipIf(!HAS_SANDBOX)("a repository", () => {
  test("takes commits from a folder in it, without its other files", async () => {
    const home = makeWorld({ "work/package/x": "" });
    git(join(home, "work"), "init", "-q");
    const { text } = await inside(home, `${COMMIT} && git log --format=%s; touch ../above`, { cwd: join(home, "work/package") });
    expect(text).toMatch(/^made\n.*Read-only/);
  });

  test("takes commits from a worktree of it, and no other than the one that knows the worktree", async () => {
    const home = makeWorld();
    git(join(home, "work"), "init", "-q");
    git(join(home, "work"), "commit", "-q", "--allow-empty", "-m", "first");
    git(join(home, "work"), "worktree", "add", "-q", "../tree");
    const tree = { cwd: join(home, "tree") };
    expect((await inside(home, `${COMMIT} && git log --format=%s; touch ../work/.git/hooks/x ../work/x`, tree)).text).toMatch(
      /^made\nfirst\n.*hooks\/x.*Read-only.*\n.*work\/x.*Read-only/,
    );
    mkdirSync(join(home, "evil"));
    writeFileSync(join(home, "evil/.git"), readFileSync(join(home, "tree/.git")));
    expect((await inside(home, "touch ../work/.git/planted", { cwd: join(home, "evil") })).text).toContain("Read-only");
  });

  test("that a home is, is not what somebody works at below it", async () => {
    const home = makeWorld();
    git(home, "init", "-q");
    expect((await inside(home, "touch ../.git/planted")).text).toContain("Read-only");
  });

  test("keeps the hooks and settings of its submodules", async () => {
    const home = makeWorld();
    git(join(home, "work"), "init", "-q");
    git(join(home, "work"), "init", "-q", "--bare", ".git/modules/part");
    const { text } = await inside(home, "cd .git/modules; echo x > part/hooks/new; echo x >> part/config; mv part other; touch part/HEAD.lock && echo on");
    expect(text).toMatch(/hooks\/new: Read-only.*\n.*config: Read-only.*\n.*(busy)\non$/i);
  });
});

describe.skipIf(!HAS_SANDBOX)("what programs keep", () => {
  test("stays from command to command in a place of the workspace's own, and the user's caches are left alone", async () => {
    const home = makeWorld({ ".cache/pip/x": "the user's", ".npm/x": "the user's", ".cargo/registry/x": "the user's", "second/x": "" });
    const write =
      "echo mine > $XDG_CACHE_HOME/kept; mkdir -p $npm_config_cache && echo mine > $npm_config_cache/kept; echo mine > ~/.cargo/registry/kept; ls ~/.cargo/registry";
    expect((await inside(home, write)).text).toBe("kept");
    const read = "cat $XDG_CACHE_HOME/kept $npm_config_cache/kept ~/.cargo/registry/kept 2>/dev/null | wc -l";
    expect((await inside(home, read)).text).toBe("3");
    expect((await inside(home, read, { cwd: join(home, "second") })).text).toBe("0");
    for (const path of [".cache/kept", ".npm/kept", ".cargo/registry/kept"]) expect(existsSync(join(home, path))).toBe(false);
  });

  test("of outputs that were too long can be read", async () => {
    const home = makeWorld({ ".local/share/agent/tool-output/ses_1/call.txt": "long", ".local/share/agent/tool-output/ses_2/call.txt": "other" });
    const at = (session: string) => join(home, ".local/share/agent/tool-output", session);
    const { text } = await inside(home, `cat ${at("ses_1")}/call.txt ${at("ses_2")}/call.txt; echo x > ${at("ses_1")}/new`, {
      policy: { readable: [at("ses_1")] },
    });
    expect(text).toMatch(/^longcat: .*ses_2.*No such file.*\n.*Read-only/);
  });
});

describe.skipIf(!HAS_SANDBOX)("secret files", () => {
  test("are hidden deep in the workspace, behind links, and as soon as they are made beside its other files", async () => {
    const home = makeWorld({ "work/a/b/.env.production": "TOKEN=1", "shared/env": "TOKEN=2", "work/node_modules/x/.env": "not ours" });
    execFileSync("ln", ["-s", "../shared/env", join(home, "work/.env")]);
    const command = "cat a/b/.env.production .env ../shared/env; echo late > .env.local; cat node_modules/x/.env";
    expect((await inside(home, command)).text).toBe(`cat: a/b/.env.production: Permission denied\nnot ours`);
    expect((await inside(home, "cat .env.local")).text).toContain("Permission denied");
  });

  test("stay hidden when others take their place, in the sandbox that the command before had", async () => {
    const home = makeWorld({ "work/.env": "TOKEN=1", "work/agent.json": "{}" });
    const cwd = join(home, "work");
    const made = createExec({ env: { PATH: process.env.PATH, HOME: home } });
    open.push(made);
    const confinement = makeSandbox(made.exec, { cwd, home });
    const run = async () => {
      const { confine } = await confinement();
      return (await made.exec("bash", ["-c", "cat .env; echo x >> agent.json"], { cwd, signal: new AbortController().signal, confine })).head;
    };
    const refused = /\.env: Permission denied\n.*agent\.json: Read-only/;
    expect(await run()).toMatch(refused);
    for (const name of [".env", "agent.json"]) {
      writeFileSync(join(home, name), "NEW=1");
      renameSync(join(home, name), join(cwd, name));
    }
    expect(await run()).toMatch(refused);
    expect(readFileSync(join(cwd, "agent.json"), "utf8")).toBe("NEW=1");
  });

  test("are those with a password: the settings of a project for npm are none", async () => {
    const home = makeWorld({ "work/.npmrc": "save-exact=true\n//registry.invalid/:_authToken=${TOKEN}\n", "work/sub/.npmrc": "_auth=abcdef" });
    expect((await inside(home, "cat .npmrc sub/.npmrc")).text).toMatch(/^save-exact=true\n.*\ncat: sub\/.npmrc: Permission denied/);
  });
});

describe.skipIf(!HAS_SANDBOX)("the network", () => {
  test("is out of reach in the modes that only read, whatever the configuration says", async () => {
    let connections = 0;
    const server = createServer((_, response) => {
      connections++;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    open.push({ close: async () => void server.close() });
    const call = `exec 3<>/dev/tcp/127.0.0.1/${(server.address() as AddressInfo).port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3`;
    expect((await inside(makeWorld(), call)).text).toContain("200 OK");
    for (const permissionMode of ["plan", "readonly"] as const)
      expect((await inside(makeWorld(), call, { policy: { config: { permissionMode, sandbox: { network: true } } } })).text).toContain("Connection refused");
    expect(connections).toBe(1);
  });
});

describe.skipIf(!HAS_SANDBOX)("a process that stays", () => {
  test("runs in the sandbox too, is asked to end and leaves nothing", async () => {
    const home = makeWorld();
    const made = createExec({ env: { PATH: process.env.PATH, HOME: home } });
    open.push(made);
    const { confine } = await makeSandbox(made.exec, { cwd: join(home, "work"), home })();
    let output = "";
    const sleep = `sleep 7${process.pid}`;
    const command = `trap 'echo asked; exit 5' TERM; (env -i setsid ${sleep} &); echo x > ../new; echo $PPID; while :; do sleep 0.05; done`;
    const live = await made.startProcess("bash", ["-c", `${command} 2>&1`], {
      cwd: join(home, "work"),
      confine,
      onOutput: (piece) => {
        output += piece;
      },
    });
    while (!/^\d+$/m.test(output)) await new Promise((resolve) => setTimeout(resolve, 10));
    expect((await live.end()).exitCode).toBe(5);
    expect(output).toMatch(/^\d{1,2}\n[\s\S]*asked\n$/);
    expect(existsSync(join(home, "new"))).toBe(false);
    expect(execFileSync("ps", ["-eo", "args="]).toString()).not.toMatch(new RegExp(`^${sleep}$`, "m"));
  });
});
