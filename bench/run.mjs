// Measures the command beside the yardstick, in turn, against a scripted server: npm run bench [-- runs]
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startServer } from "./start-server.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const runs = Number(process.argv[2] ?? 9);
const scratch = mkdtempSync(join(tmpdir(), "agent-bench-"));
const server = await startServer();

function measure(script, args) {
  const usage = join(scratch, "usage.json");
  const env = {
    PATH: process.env.PATH,
    HOME: scratch,
    LANG: "C.UTF-8",
    OPENROUTER_API_KEY: "sk-or-v1-bench-0000000000",
    OPENROUTER_BASE_URL: server.baseURL,
    BENCH_USAGE: usage,
  };
  const startedAt = performance.now();
  const child = spawn(process.execPath, ["--require", join(here, "usage.cjs"), script, ...args], { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stdout.resume();
  child.stderr.on("data", (text) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("close", (code) => {
      const wallMs = performance.now() - startedAt;
      if (code !== 0) return reject(new Error(`${script} ended with ${code}: ${stderr}`));
      resolve({ wallMs, ...JSON.parse(readFileSync(usage, "utf8")) });
    });
  });
}

const agent = (model, ...options) => measure(join(here, "../bin/agent.js"), ["--model", `openrouter/bench/${model}`, "-q", "-p", "hello", ...options]);
const floor = (model) => measure(join(here, "floor.mjs"), [`bench/${model}`, "hello"]);

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function compare(model, count) {
  const ours = [];
  const theirs = [];
  await agent(model);
  await floor(model);
  for (let i = 0; i < count; i++) {
    ours.push(await agent(model));
    theirs.push(await floor(model));
  }
  const of = (list, key) => median(list.map((run) => run[key]));
  return { of: (key) => ({ ours: of(ours, key), floor: of(theirs, key), ratio: median(ours.map((run, i) => run[key] / theirs[i][key])) }) };
}

const rows = [];
const row = (what, { ours, floor, ratio }, unit, goal) =>
  rows.push([what, `${ours.toFixed(0)} ${unit}`, floor === undefined ? "" : `${floor.toFixed(0)} ${unit}`, ratio === undefined ? "" : ratio.toFixed(2), goal]);

try {
  const hello = await compare("hello", runs);
  row("hello, wall", hello.of("wallMs"), "ms", "≤ 0.70 × floor");
  row("hello, CPU", hello.of("cpuMs"), "ms", "");
  row("hello, peak memory", hello.of("memoryMb"), "MB", "≤ 90 MB");
  const loop = await compare("steps-50", runs);
  row("50-step tool loop, wall", loop.of("wallMs"), "ms", "≤ 0.70 × floor");
  const tokens = await compare("tokens-20000", Math.max(3, Math.ceil(runs / 2)));
  row("20,000 one-token events, CPU", tokens.of("cpuMs"), "ms", "≤ 0.30 × floor");
  await server.readLog();
  await agent("hello");
  const [first] = await server.readLog();
  row("first request, default tools", { ours: first.bytes / 4 }, "tokens", "≤ 2,500 tokens (bytes/4)");
  const gaps = [];
  for (let run = 0; run < 5; run++) {
    await agent("todo-200", "--max-steps", "1000");
    const steps = await server.readLog();
    gaps.push(steps.slice(1).map(({ at }, i) => at - steps[i].answeredAt));
  }
  const gapAt = (from) => median(gaps.flatMap((run) => run.slice(from, from + 50)));
  rows.push([
    "step overhead, steps 1-50 and 151-200, median",
    `${gapAt(0).toFixed(1)} ms`,
    `${gapAt(150).toFixed(1)} ms`,
    (gapAt(150) / gapAt(0)).toFixed(2),
    "flat",
  ]);
  console.log(`Node ${process.version}, ${runs} runs in turn, medians; the ratio is the median of the pairs.\n`);
  for (const line of [["what", "agent", "floor", "ratio", "goal"], ...rows]) console.log(line.map((cell, i) => cell.padEnd([48, 14, 14, 8, 0][i])).join(""));
} finally {
  server.kill();
  rmSync(scratch, { recursive: true, force: true });
}
