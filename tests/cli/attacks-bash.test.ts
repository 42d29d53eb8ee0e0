import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { everydayCommands, writingCommands } from "../fixtures/commands.ts";
import { CANARY, expectUnharmed, makeAttackWorld, sentinelOf } from "./attack-world.ts";
import { isBuilt, JSON_OUT, MODEL, ofType, removeHomes, runCommand } from "./command.ts";
import { talk, user } from "./stream-json.ts";
import { byPrompt, type Call, runTools, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const bash = (command: string, more: object = {}): Call => ["bash", { command, ...more }];
const READ_ONLY = ["--permission-mode", "readonly"];

/** Forty ways to say `rm x`. */
const REMOVALS = [
  "git log; rm x",
  "git log\nrm x",
  "git log & rm x",
  "false || rm x",
  "$(rm x)",
  "`rm x`",
  "cat <(rm x)",
  "(rm x)",
  "{ rm x; }",
  "if :; then rm x; fi",
  "FOO=1 rm x",
  'r""m x',
  "\\rm x",
  "'rm' x",
  "/bin/rm x",
  "./../../../../../../../../bin/rm x",
  'bash -c "rm x"',
  "sh -c 'rm x'",
  "eval rm x",
  "env rm x",
  'env -S "rm x"',
  "sudo rm x",
  "nohup rm x",
  "timeout 5 rm x",
  "nice rm x",
  "xargs rm<l",
  "find . -name x -exec rm {} +",
  "command rm x",
  "exec rm x",
  "busybox rm x",
  "$'\\x72m' x",
  "rm${IFS}x",
  "a=rm; $a x",
  "ls(){ rm x; }; ls",
  "shopt -s expand_aliases\nalias ls='rm x'\nls",
  "bash <<EOF\nrm x\nEOF",
  "bash <<< 'rm x'",
  "echo cm0geA==|base64 -d|sh",
  "python3 -c \"import os; os.remove('x')\"",
  "perl -e 'unlink \"x\"'",
  "git -c core.pager='rm x' log",
  "git -c alias.z='!rm x' z",
  "awk 'BEGIN{system(\"rm x\")}'",
  "sed '1e rm x' l",
  "find . -name x | xargs -I{} rm {}",
  "trap 'rm x' EXIT",
  "source /dev/stdin <<< 'rm x'",
  "printf 'rm x' | bash -s",
  "[[ 'a[$(rm x)]' -eq 0 ]]",
  "setsid -w rm x",
  "cat <<EOF\n${x:-'$(rm x)'}\nEOF",
  "echo \"${b:-$'`rm x`'}\"",
  "(( '$(rm x)' ))",
  "for (( i='$(rm x)'; i < 1; i++ )); do :; done",
  "choom -n 0 -- rm x",
];

describe.skipIf(!isBuilt)("a rule that denies rm", () => {
  const RULES = JSON.stringify({ bash: { "*": "allow", "rm *": "deny" } });
  // In mode yolo nothing but the rule stands in the way.
  test.each(["auto", "yolo"])("holds in mode %s however rm is spelt, and each denial says why", async (mode) => {
    const home = makeAttackWorld({ "work/x": "x\n", "work/l": "x\n" });
    const sentinel = sentinelOf(home);
    execFileSync("git", ["init", "-q", join(home, "work")]);
    const run = await runTools(
      REMOVALS.map((command) => bash(command)),
      { home, args: ["--permission-mode", mode, "--permission", RULES] },
    );
    expect(readFileSync(join(home, "work/x"), "utf8")).toBe("x\n");
    expect(run.outputs).toHaveLength(REMOVALS.length);
    for (const [index, output] of run.outputs.entries())
      expect(output, REMOVALS[index]).toMatch(/^Denied: .*(bash "rm \*": "deny"|outside the workspace|acts on the machine)/s);
    expect([run.code, run.requests.length]).toEqual([0, 2]);
    expectUnharmed(run, sentinel);
  });
});

/** Names, kinds, contents and modes of all below a folder. */
function digest(folder: string, except: readonly string[] = []): string {
  const hash = createHash("sha256");
  const walk = (path: string): void => {
    if (except.some((name) => path === join(folder, name))) return;
    const stats = lstatSync(path);
    hash.update(`${path}\0${stats.mode}\0`);
    if (stats.isSymbolicLink()) hash.update(readlinkSync(path));
    else if (stats.isDirectory()) for (const name of readdirSync(path).sort()) walk(join(path, name));
    else hash.update(readFileSync(path));
  };
  walk(folder);
  return hash.digest("hex");
}

/** Where the agent itself keeps what it has to. */
const OWN = [".local"];

function makeRepository(): string {
  const home = makeAttackWorld({
    "work/a.txt": "foo 1\nbar 200\n",
    "work/x": "x\n",
    "work/package.json": '{"name":"w","version":"1.0.0","scripts":{"test":"true"},"dependencies":{}}\n',
    "work/src/index.ts": "// TODO\nexport function foo() {}\n",
    "work/docs/index.md": "# w\n",
  });
  git(home, "init", "-q", "-b", "main");
  git(home, "add", "-A");
  git(home, "commit", "-qm", "first");
  writeFileSync(join(home, "work/a.txt"), "foo 1\nbar 300\n");
  git(home, "commit", "-qam", "second");
  return home;
}

function git(home: string, ...args: string[]): void {
  const env = { PATH: process.env.PATH, HOME: home, GIT_CONFIG_NOSYSTEM: "1" };
  execFileSync("git", ["-c", "user.name=n", "-c", "user.email=e@example.invalid", "-c", "protocol.file.allow=always", ...args], {
    cwd: join(home, "work"),
    env,
    stdio: "ignore",
  });
}

describe.skipIf(!isBuilt)("where commands only read", () => {
  test("everyday commands run, and leave workspace and home as they were", async () => {
    const home = makeRepository();
    const before = digest(home, OWN);
    const commands = everydayCommands();
    const run = await runTools(
      commands.map((command) => bash(command)),
      { home, args: READ_ONLY, timeoutMs: 150_000 },
    );
    const denied = run.outputs.filter((text) => text.startsWith("Denied:"));
    expect(run.outputs).toHaveLength(commands.length);
    expect(denied.length / commands.length, denied.join("\n")).toBeLessThanOrEqual(0.05);
    expect(digest(home, OWN)).toBe(before);
  }, 180_000);

  test("nothing that writes, runs or reads elsewhere gets through", async () => {
    const home = makeRepository();
    const evil = "#!/bin/sh\ntouch pwned\n";
    for (const name of ["evil", "evil.sh", "ls", "git"]) writeFileSync(join(home, "work", name), evil, { mode: 0o755 });
    writeFileSync(join(home, "work/in.txt"), "b\na\n");
    const before = digest(home, OWN);
    const sentinel = sentinelOf(home);
    // What could reach the machine or the network is judged in the tests of the policy alone.
    const commands = writingCommands().filter(
      (command) => !/(^|; |&& )(date|hostname|sudo|ssh|ss|kill|docker|kubectl|gh|pip|npm|npx|yarn|cargo|go|curl|wget|ulimit|gpg|parallel)\b/.test(command),
    );
    expect(commands.length).toBeGreaterThan(400);
    const run = await runTools(
      commands.map((command) => bash(command)),
      { home, args: READ_ONLY, timeoutMs: 150_000 },
    );
    expect(commands.filter((_, index) => !/^Denied: .*(permission mode "readonly"|where secrets are)/s.test(run.outputs[index] ?? ""))).toEqual([]);
    expect(digest(home, OWN)).toBe(before);
    expectUnharmed(run, sentinel);
  }, 180_000);
});

/** Ways in which a repository makes git run a program when it is only read. The program leaves the file `pwned` in the home. */
const TRAPS: Record<string, { commands: string[]; set(home: string, evil: string): void }> = {
  "core.fsmonitor": { commands: ["git status", "git diff", "git ls-files -m"], set: (home, evil) => git(home, "config", "core.fsmonitor", evil) },
  "a hook": {
    commands: ["git status", "git diff", "git describe --always --dirty"],
    set(home, evil) {
      mkdirSync(join(home, "work/.git/hooks"), { recursive: true });
      symlinkSync(evil, join(home, "work/.git/hooks/post-index-change"));
      // The index is old, so that git would write it anew.
      utimesSync(join(home, "work/x"), new Date(1e12), new Date(1e12));
    },
  },
  "core.hooksPath": {
    commands: ["git status", "git describe --always --dirty"],
    set(home, evil) {
      mkdirSync(join(home, "work/hooks"));
      symlinkSync(evil, join(home, "work/hooks/post-index-change"));
      git(home, "config", "core.hooksPath", "hooks");
      utimesSync(join(home, "work/x"), new Date(1e12), new Date(1e12));
    },
  },
  "diff.external": { commands: ["git diff", "git diff --stat -p"], set: (home, evil) => git(home, "config", "diff.external", evil) },
  "a diff driver": {
    commands: ["git diff"],
    set(home, evil) {
      writeFileSync(join(home, "work/.gitattributes"), "* diff=evil\n");
      git(home, "config", "diff.evil.command", evil);
    },
  },
  textconv: {
    commands: ["git diff", "git log -p", "git show", "git blame a.txt"],
    set(home, evil) {
      writeFileSync(join(home, "work/.gitattributes"), "* diff=evil\n");
      git(home, "config", "diff.evil.textconv", evil);
    },
  },
  "a filter": {
    commands: ["git diff", "git status"],
    set(home, evil) {
      writeFileSync(join(home, "work/.gitattributes"), "* filter=evil\n");
      git(home, "config", "filter.evil.clean", evil);
    },
  },
  "an included file": {
    commands: ["git diff"],
    set(home, evil) {
      writeFileSync(join(home, "work/more"), `[diff]\n\texternal = ${evil}\n`);
      git(home, "config", "include.path", "../more");
    },
  },
  "the worktree's own file": {
    commands: ["git diff"],
    set(home, evil) {
      git(home, "config", "extensions.worktreeConfig", "true");
      writeFileSync(join(home, "work/.git/config.worktree"), `[diff]\n\texternal = ${evil}\n`);
    },
  },
  "a key on the line of its section": {
    commands: ["git diff"],
    set: (home, evil) => writeFileSync(join(home, "work/.git/config"), `[user] name = n\n[Diff] External = ${evil}\n`, { flag: "a" }),
  },
  "a signature": {
    commands: ["git log", "git show"],
    set(home, evil) {
      git(home, "config", "gpg.program", evil);
      git(home, "config", "log.showSignature", "true");
      signLastCommit(home);
    },
  },
  "a format": {
    commands: ["git log"],
    set(home, evil) {
      git(home, "config", "gpg.program", evil);
      git(home, "config", "format.pretty", "%G?");
      signLastCommit(home);
    },
  },
  "a submodule": {
    commands: ["git status", "git diff"],
    set(home, evil) {
      git(home, "clone", "-q", ".", "sub");
      git(home, "-C", "sub", "config", "core.fsmonitor", evil);
      git(home, "add", "sub");
      writeFileSync(join(home, "work/sub/a.txt"), "other\n");
    },
  },
  "a bare repository in the workspace": {
    commands: ["cd bare && git status", "git -C bare status", "git -C bare diff"],
    set(home, evil) {
      git(home, "clone", "-q", "--bare", ".", "bare");
      git(home, "-C", "bare", "config", "core.bare", "false");
      git(home, "-C", "bare", "config", "core.worktree", "..");
      git(home, "-C", "bare", "config", "core.fsmonitor", evil);
    },
  },
};

/** A commit that has something where a signature stands. */
function signLastCommit(home: string): void {
  const env = { PATH: process.env.PATH, HOME: home };
  const at = { cwd: join(home, "work"), env };
  const text = execFileSync("git", ["cat-file", "commit", "HEAD"], at).toString();
  const signed = text.replace("\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n");
  const id = execFileSync("git", ["hash-object", "-t", "commit", "-w", "--stdin"], { ...at, input: signed })
    .toString()
    .trim();
  git(home, "update-ref", "HEAD", id);
}

describe.skipIf(!isBuilt)("a repository whose configuration runs a program", () => {
  function makeTrap(name: string): string {
    const home = makeRepository();
    const evil = join(home, "evil.sh");
    writeFileSync(evil, `#!/bin/sh\ntouch '${join(home, "pwned")}'\ncat 2>/dev/null\nexit 0\n`);
    chmodSync(evil, 0o755);
    writeFileSync(join(home, "work/a.txt"), "changed\n");
    TRAPS[name]!.set(home, evil);
    return home;
  }

  test.each(Object.keys(TRAPS))("runs none by %s where commands only read", { timeout: 180_000 }, async (name) => {
    const home = makeTrap(name);
    const { commands } = TRAPS[name]!;
    const run = await runTools(
      commands.map((command) => bash(command)),
      { home, args: READ_ONLY },
    );
    expect(run.outputs).toHaveLength(commands.length);
    expect(existsSync(join(home, "pwned")), run.outputs.join("\n")).toBe(false);
    // The same repository does run it where more is allowed: the trap is one.
    const env = { PATH: process.env.PATH, HOME: home, GIT_PAGER: "cat" };
    execFileSync("bash", ["-c", `${commands.join("; ")}; true`], { cwd: join(home, "work"), env, stdio: "ignore" });
    expect(existsSync(join(home, "pwned"))).toBe(true);
    rmSync(join(home, "pwned"));
  });

  test("is told of with the key and the file", async () => {
    const home = makeTrap("textconv");
    const run = await runTools([bash("git diff"), bash("git log -p | head"), bash("git --version")], { home, args: READ_ONLY });
    expect(run.outputs[0]).toMatch(/^Denied: .*own configuration may run a program \(diff\.evil\.textconv in .*\/work\/\.git\/config\)/);
    expect(run.outputs[1]).toMatch(/^Denied: /);
    expect(run.outputs[2]).toMatch(/^git version/);
  });
});

// Where the runtime knows secret files; without that there is no such promise.
const knowsSecrets = existsSync(new URL("../../core/secret-files.ts", import.meta.url));
describe.skipIf(!isBuilt || !knowsSecrets)("a secret file", () => {
  test("is opened by no command that names it, and by name alone in none but mode yolo", async () => {
    const commands = [
      "cat .env",
      "cat .e*",
      'cat ".e"nv',
      "cat < .env",
      "f=.env; cat $f",
      "base64 .env",
      "cp .env copy",
      "cd src && cat ../.env",
      "bash -c 'cat .env'",
      "cat settings",
      "cat ../.ssh/id_rsa",
      "cat ~/.ssh/id_rsa",
      'cat "$HOME/.aws/credentials"',
      "bash <<'END'\ncat .env\nEND",
    ];
    for (const args of [[], READ_ONLY]) {
      const home = makeAttackWorld({ "work/.env": `KEY=${CANARY}\n`, "work/src/x": "" });
      symlinkSync(".env", join(home, "work/settings"));
      const sentinel = sentinelOf(home);
      const run = await runTools(
        commands.map((command) => bash(command)),
        { home, args },
      );
      expect(commands.filter((_, index) => !run.outputs[index]?.startsWith("Denied:"))).toEqual([]);
      expectUnharmed(run, sentinel, ["work/.env", "work/settings"]);
    }
  });
});

describe.skipIf(!isBuilt)("a permission hook", () => {
  const HOOK = `
    import { appendFileSync } from "node:fs";
    export default {
      name: "guard",
      setup: () => ({
        tools: [{
          name: "nest", description: "Calls bash.", effect: "read", input: { type: "object" },
          run: async (_, context) => (await context.call("bash", { command: "touch by-nest" })).output,
        }],
        hooks: {
          permission({ tool, input }) {
            appendFileSync("../asked.txt", tool + " " + JSON.stringify(input) + "\\n");
            if (tool === "bash" && input.command.includes("by-error")) throw new Error("broken");
            if (tool === "bash" || tool === "write") return "deny";
          },
        },
      }),
    };`;
  const makeGuarded = () => makeAttackWorld({ "work/guard.mjs": HOOK });
  const ARGS = [...MODEL, ...JSON_OUT, "--plugin", "./guard.mjs", "--permission-mode", "yolo"];

  test("is asked on every way to a call, and its error is a denial", async () => {
    const home = makeGuarded();
    const calls: Call[] = [
      bash("touch by-call"),
      bash("touch by-error"),
      bash("touch by-background", { background: true }),
      ["batch", { tool_calls: [{ tool: "bash", parameters: { command: "touch by-batch" } }] }],
      ["batch", { tool_calls: [{ tool: "batch", parameters: { tool_calls: [{ tool: "bash", parameters: { command: "touch by-batch-2" } }] } }] }],
      ["nest", {}],
      ["task", { description: "d", prompt: "child" }],
    ];
    const script = byPrompt({
      go: [turn(...calls), { text: "done" }],
      child: [
        turn(bash("touch by-task"), ["batch", { tool_calls: [{ tool: "write", parameters: { filePath: "by-task-batch", content: "x" } }] }]),
        { text: "tried" },
      ],
    });
    const run = await runCommand({ args: [...ARGS, "-p", "go"], script, home });
    const asked = readFileSync(join(home, "asked.txt"), "utf8");
    for (const way of ["call", "error", "background", "batch", "batch-2", "nest", "task", "task-batch"]) expect(asked).toContain(`by-${way}`);
    expect(readdirSync(join(home, "work"))).toEqual(["guard.mjs", "in.txt"]);
    expect(run.code).toBe(0);
    expect(run.requests.map(({ text }) => text).join("")).toContain("the permission hook of the plugin guard failed: broken");
  });

  test("is asked about the calls of a request object", async () => {
    const home = makeGuarded();
    const request = { message: "hi", noReply: true, tools: [{ name: "bash", params: { command: "touch by-request" } }] };
    const run = await runCommand({ args: ARGS, stdin: `${JSON.stringify(request)}\n`, home });
    expect(readFileSync(join(home, "asked.txt"), "utf8")).toContain("by-request");
    expect([run.requests.length, readdirSync(join(home, "work"))]).toEqual([0, ["guard.mjs", "in.txt"]]);
  });
});

describe.skipIf(!isBuilt)("an answer for good", () => {
  test("covers the verb of a command and nothing that is added to it", async () => {
    const home = makeRepository();
    const commands = ["git log -1", "git log --oneline", "git log -1; touch pwned", "git log --output=pwned", "git log -1 > pwned"];
    const asked: any[] = [];
    const run = await talk({
      args: [...MODEL, ...JSON_OUT, "--permission-mode", "ask", "--input-format", "stream-json"],
      home,
      script: [...commands.map((command) => turn(bash(command))), { text: "ok" }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "permission_request") {
          asked.push(line);
          send({ type: "permission_response", id: line.id, response: asked.length === 1 ? "always" : "reject" });
        }
        if (line.type === "result") end();
      },
    });
    expect(asked.map(({ patterns }) => patterns[0])).toEqual([commands[0], ...commands.slice(2)]);
    expect(asked.map(({ always }) => always)).toEqual([["git log *"], ["git log *", "touch *"], undefined, undefined]);
    expect(toolOutputsOf(run.requests.at(-1)).map((text) => text.startsWith("Denied"))).toEqual([false, false, true, true, true]);
    expect(existsSync(join(home, "work/pwned"))).toBe(false);
  });
});

describe.skipIf(!isBuilt)("without anyone to ask", () => {
  test("what a rule asks about is denied with the rule and the way out, and the run goes on", async () => {
    const run = await runTools([bash("git push"), bash("echo on")], { args: ["--permission", '{"bash":{"git push *":"ask"}}'] });
    expect(run.outputs[0]).toMatch(/^Denied: the rule bash "git push \*": "ask" asks a person about "git push" and nobody can be asked\./);
    expect([run.outputs[1], run.code, ofType(run, "permission_request")]).toEqual(["on\n", 0, []]);
  });

  test("rules of the command line and the environment are ceilings that no request and no profile passes", async () => {
    const home = makeAttackWorld({
      ".config/agent/agent.json": { permission: { bash: "allow" }, agent: { wide: { permission: { bash: "allow", "*": "allow" } } } },
    });
    for (const [args, env] of [
      [["--permission", '{"bash":"deny"}'], {}],
      [[], { AGENT_PERMISSION: '{"bash":"deny"}' }],
    ] as const) {
      const run = await runTools([bash("touch pwned")], { home, env, args: [...args, "--agent", "wide"] });
      expect([run.code, existsSync(join(home, "work/pwned")), run.outputs[0]]).toEqual([0, false, expect.stringMatching(/^Denied|no tool/)]);
    }
  });
});
