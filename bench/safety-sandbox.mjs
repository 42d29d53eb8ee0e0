// What the sandbox costs a command: the same one with and without it, in turn. A part of bench/safety.mjs; node bench/safety-sandbox.mjs runs it alone.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { scriptedProvider } from "agent-runtime/testing";

const GOAL_MS = 15;
const ROUNDS = 5;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Rows of [what, ours, yardstick, goal]; without a sandbox to measure the goal's place says why. */
export async function measureSandbox({ runs = 50 } = {}) {
  const home = mkdtempSync(join(tmpdir(), "agent-bench-sandbox-"));
  const [off, on] = [await openRuntime(home, false), await openRuntime(home, "auto")];
  try {
    return [
      await compare("a command in the sandbox", "true", { off, on, runs }),
      // A new file to hide changes the bounds, so the next command needs a sandbox made anew.
      await compare("a command in a sandbox of its own", "touch .env.$RANDOM$RANDOM", { off, on, runs: runs / 2 }),
    ];
  } finally {
    await Promise.all([off.close(), on.close()]);
    rmSync(home, { recursive: true, force: true });
  }
}

async function compare(what, command, { off, on, runs }) {
  const times = { without: [], with: [] };
  const reasons = [];
  for (let round = 0; round < ROUNDS; round++) {
    times.without.push(...(await callMany(off, command, runs / ROUNDS)).times);
    const sandboxed = await callMany(on, command, runs / ROUNDS);
    times.with.push(...sandboxed.times);
    reasons.push(...sandboxed.reasons);
  }
  const [without, sandboxed] = [median(times.without), median(times.with)];
  const goal = reasons[0] ?? `≤ ${GOAL_MS} ms more`;
  return [what, `${sandboxed.toFixed(0)} ms`, `without: ${without.toFixed(0)} ms`, goal];
}

function openRuntime(home, enabled) {
  const cwd = join(home, "work");
  mkdirSync(cwd, { recursive: true });
  const scripted = { name: "scripted", setup: () => ({ providers: [scriptedProvider([])] }) };
  return createRuntime({
    cwd,
    dataDir: join(home, String(enabled)),
    discover: false,
    plugins: [...builtins, scripted],
    env: { PATH: process.env.PATH, HOME: home },
    config: { model: "scripted/model", snapshot: false, sandbox: { enabled } },
  });
}

/** Commands by the way of every prompt, one after the other; no model is asked. The first, which starts what the others use, does not count. */
async function callMany(runtime, command, count) {
  const reasons = [];
  const times = [];
  const tools = Array.from({ length: count + 1 }, () => ({ name: "bash", params: { command } }));
  for await (const event of runtime.prompt({ message: "go", tools, noReply: true })) {
    if (event.type === "sandbox.unavailable") reasons.push(event.reason);
    if (event.type !== "tool.finish") continue;
    if (event.state.status === "error") throw new Error(event.state.error);
    times.push(event.state.endedAt - event.state.startedAt);
  }
  return { times: times.slice(1), reasons };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  for (const row of await measureSandbox({ runs: Number(process.argv[2] ?? 50) })) console.log(row.join("  "));
