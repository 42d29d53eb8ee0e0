// What the sandbox costs a command: the same one with and without it, in turn. A part of bench/safety.mjs; node bench/safety-sandbox.mjs runs it alone.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { scriptedProvider } from "agent-runtime/testing";

const GOAL_MS = 15;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Gives `{ what, without, with, costMs, goalMs, isReached, note }`, times in ms; `note` where there is no sandbox to measure. */
export async function measureSandbox({ runs = 50 } = {}) {
  const home = mkdtempSync(join(tmpdir(), "agent-bench-sandbox-"));
  const [off, on] = [await openRuntime(home, false), await openRuntime(home, "auto")];
  try {
    const times = { without: [], with: [] };
    const reasons = await callOnce(on).then(({ reasons }) => reasons);
    await callOnce(off);
    for (let round = 0; round < runs; round++) {
      times.without.push((await callOnce(off)).ms);
      times.with.push((await callOnce(on)).ms);
    }
    const [without, sandboxed] = [median(times.without), median(times.with)];
    const costMs = sandboxed - without;
    return { what: "a command in the sandbox", without, with: sandboxed, costMs, goalMs: GOAL_MS, isReached: costMs <= GOAL_MS, note: reasons[0] };
  } finally {
    await Promise.all([off.close(), on.close()]);
    rmSync(home, { recursive: true, force: true });
  }
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

/** One command by the way of every prompt; no model is asked. */
async function callOnce(runtime) {
  const reasons = [];
  let ms = 0;
  for await (const event of runtime.prompt({ message: "go", tools: [{ name: "bash", params: { command: "true" } }], noReply: true })) {
    if (event.type === "sandbox.unavailable") reasons.push(event.reason);
    if (event.type !== "tool.finish") continue;
    if (event.state.status === "error") throw new Error(event.state.error);
    ms = event.state.endedAt - event.state.startedAt;
  }
  return { ms, reasons };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(await measureSandbox({ runs: Number(process.argv[2] ?? 50) }));
