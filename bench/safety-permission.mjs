import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtins } from "agent-runtime/plugins";

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const at = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(values.length * share)];
const shown = (ms) => `${ms.toFixed(3)} ms`;

/** What it takes to judge one bash command, once everything is loaded; beside the start of a program that does nothing. */
export async function measurePermissionCheck() {
  const cwd = mkdtempSync(join(tmpdir(), "agent-bench-permission-"));
  mkdirSync(join(cwd, "src"));
  for (const file of ["a.txt", "package.json", "src/index.ts"]) writeFileSync(join(cwd, file), "{}\n");
  execFileSync("git", ["init", "-q", cwd]);
  try {
    const { load } = builtins.find(({ name }) => name === "permissions");
    const loaded = await load();
    const { hooks } = await (loaded.default ?? loaded).setup({ config: {} });
    const lists = {
      "auto, everyday commands": ["everyday-commands.txt", { permissionMode: "auto" }],
      "readonly, everyday commands": ["everyday-commands.txt", { permissionMode: "readonly" }],
      "readonly, commands that write": ["writing-commands.txt", { permissionMode: "readonly" }],
      "auto with ten rules, everyday commands": ["everyday-commands.txt", { permissionMode: "auto", permission: { bash: tenRules } }],
    };
    const yardstick = startOfAProgram();
    const rows = [];
    for (const [what, [file, config]] of Object.entries(lists)) {
      const times = await timeChecks(hooks.permission, readCommands(file), { cwd, config });
      rows.push([
        `permission check: ${what}`,
        shown(median(times)),
        `start of "true": ${shown(yardstick)}`,
        `≤ 1 ms (95 of 100 within ${shown(at(times, 0.95))})`,
      ]);
    }
    return rows;
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

const tenRules = Object.fromEntries([["*", "allow"], ...Array.from({ length: 9 }, (_, n) => [`forbidden-${n} *`, "deny"])]);

const readCommands = (file) =>
  readFileSync(new URL(`../tests/fixtures/${file}`, import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("# "));

async function timeChecks(permission, commands, { cwd, config }) {
  const context = { cwd, config, sessionId: "ses_1", model: "demo/echo", signal: new AbortController().signal };
  const times = [];
  for (let round = 0; round < 6; round++)
    for (const command of commands) {
      const request = { tool: "bash", permission: "bash", effect: "run", input: { command }, patterns: [command], callId: "call_1" };
      const startedAt = performance.now();
      await permission(request, context);
      // The first round loads and compiles.
      if (round > 0) times.push(performance.now() - startedAt);
    }
  return times;
}

function startOfAProgram() {
  const times = Array.from({ length: 20 }, () => {
    const startedAt = performance.now();
    execFileSync("true");
    return performance.now() - startedAt;
  });
  return median(times);
}
