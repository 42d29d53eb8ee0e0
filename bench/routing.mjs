// What a chain costs, beside the same request without one: npm run bench:routing [-- prompts]
// In one process with a scripted server in another: the chain's share, without the start of a process; then the command itself.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { startServer } from "./start-server.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const prompts = Number(process.argv[2] ?? 200);
const scratch = mkdtempSync(join(tmpdir(), "agent-bench-routing-"));
const server = await startServer();
const { baseURL, readLog } = server;

const now = () => performance.timeOrigin + performance.now();
const runtime = await createRuntime({
  cwd: scratch,
  dataDir: join(scratch, "data"),
  discover: false,
  persist: false,
  plugins: builtins,
  env: { PATH: process.env.PATH },
  config: { provider: { openrouter: { options: { baseURL, apiKey: "sk-or-v1-bench-0000000000" } } }, retry: { maxRetries: 0, timeoutSeconds: 600 } },
});

/** ms from the start of the prompt to its end and to the first word, and when that came. */
async function ask(model) {
  const startedAt = now();
  let firstAt;
  for await (const event of runtime.prompt({ message: "hello", model }, { deltas: true })) {
    if (event.type === "text.delta") firstAt ??= now();
    if (event.type === "error") throw event.error;
  }
  return { firstAt, firstMs: firstAt - startedAt, wholeMs: now() - startedAt };
}

/** The command once: ms of its wall time. */
function command(model) {
  const env = { PATH: process.env.PATH, HOME: scratch, OPENROUTER_API_KEY: "sk-or-v1-bench-0000000000", OPENROUTER_BASE_URL: baseURL };
  const startedAt = now();
  const child = spawn(process.execPath, [join(here, "../bin/agent.js"), "-m", model, "--max-retries", "0", "-q", "-p", "hello"], {
    cwd: scratch,
    env,
    stdio: "ignore",
  });
  return new Promise((resolve, reject) =>
    child.once("close", (code) => (code === 0 ? resolve(now() - startedAt) : reject(new Error(`the command ended with ${code}`)))),
  );
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const one = "openrouter/bench/hello";
const other = "openrouter/bench/hello-0";
const rows = [];
const row = (what, chain, yardstick, goal) => {
  const difference = yardstick === undefined ? "" : `${median(chain.map((ms, i) => ms - yardstick[i])).toFixed(2)} ms`;
  rows.push([what, `${median(chain).toFixed(2)} ms`, yardstick === undefined ? "" : `${median(yardstick).toFixed(2)} ms`, difference, goal]);
};

/** The same number of both, in turn. */
async function inTurn(count, chain, yardstick) {
  const [ours, theirs] = [[], []];
  for (let i = 0; i < count; i++) {
    ours.push(await chain(i));
    theirs.push(await yardstick(i));
  }
  return [ours, theirs];
}

try {
  for (let i = 0; i < 50; i++) await ask(`${one},${other}`);
  const whole = async (model) => (await ask(model)).wholeMs;
  row(
    "a request, chain of two",
    ...(await inTurn(
      prompts,
      () => whole(`${one},${other}`),
      () => whole(one),
    )),
    "≤ 1 ms more",
  );
  await ask(`openrouter/bench/wait-rest,${one}`);
  row(
    "a request, the first of the chain rests",
    ...(await inTurn(
      prompts,
      () => whole(`openrouter/bench/wait-rest,${one}`),
      () => whole(one),
    )),
    "≤ 1 ms more",
  );
  const [switched, plain] = [[], []];
  for (let i = 0; i < prompts; i++) {
    await readLog();
    const { firstAt } = await ask(`openrouter/bench/fail-${i},${one}`);
    const [failed] = await readLog();
    switched.push(firstAt - failed.answeredAt);
    plain.push((await ask(one)).firstMs);
  }
  row("first word: after the 503 of the first, after the start", switched, plain, "no pause");
  const waiting = [];
  for (let i = 0; i < 20; i++) waiting.push((await ask(`openrouter/bench/wait-${i},${one}`)).firstMs);
  row("first word, the first model asks to wait for a day", waiting, undefined, "< 1000 ms");
  const starts = Math.max(5, Math.ceil(prompts / 15));
  for (const model of [one, `${one},${other}`, one, `${one},${other}`]) await command(model);
  row(
    "the command, chain of two",
    ...(await inTurn(
      starts,
      () => command(`${one},${other}`),
      () => command(one),
    )),
    "",
  );
  await command(`openrouter/bench/wait-rest,${one}`);
  row(
    "the command, the first of the chain rests",
    ...(await inTurn(
      starts,
      () => command(`openrouter/bench/wait-rest,${one}`),
      () => command(one),
    )),
    "",
  );
  console.log(`Node ${process.version}, ${prompts} prompts in turn, medians; the difference is the median of the pairs.\n`);
  const widths = [58, 14, 14, 14, 0];
  for (const line of [["what", "chain", "alone", "difference", "goal"], ...rows]) console.log(line.map((cell, i) => cell.padEnd(widths[i])).join(""));
} finally {
  await runtime.close();
  server.kill();
  rmSync(scratch, { recursive: true, force: true });
}
