// npm start: the agent does a small job with its real tools, in a copy of examples/tour, with a scripted model. No key, no network.
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { styleText } from "node:util";
import { createTwoFilesPatch } from "diff";

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const paint = (style, text) => (process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text);
const print = (text) => process.stdout.write(`${text}\n`);
const keep = process.argv.includes("--keep");
const file = "src/greeting.js";
const prompt = "There is a TODO left in this project. Find it, do it, and run the check.";

// An interrupt ends the agent; the scratch folder is removed after it.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});

const scratch = await mkdtemp(join(tmpdir(), "agent-tour-"));
const workspace = join(scratch, "greeting");
try {
  await cp(here("examples/tour"), workspace, { recursive: true });
  const before = await readFile(join(workspace, file), "utf8");
  print(`${paint("dim", "$ cd")} ${workspace}`);
  print(`${paint("dim", "$ echo")} ${paint("cyan", `"${prompt}"`)} ${paint("dim", "| agent --model demo/tour")}\n`);
  process.exitCode = await runAgent();
  printChange(before, await readFile(join(workspace, file), "utf8"));
  if (process.exitCode === 0) printNext();
} finally {
  if (keep) print(paint("dim", `\nThe workspace is kept: ${workspace}`));
  else await rm(scratch, { recursive: true, force: true });
}

/** Resolves to the exit code of the agent. Its session stays in the scratch folder. */
function runAgent() {
  const env = { ...process.env, AGENT_DATA_DIR: join(scratch, "data"), AGENT_CONFIG_DIR: join(scratch, "config") };
  const agent = spawn(process.execPath, [here("bin/agent.js"), "--model", "demo/tour"], { cwd: workspace, env, stdio: ["pipe", "inherit", "inherit"] });
  // An agent that ends without reading says why itself.
  agent.stdin.on("error", () => {});
  agent.stdin.end(`${prompt}\n`);
  return new Promise((resolve, reject) => agent.on("error", reject).on("close", (code) => resolve(code ?? 1)));
}

function printChange(before, after) {
  if (before === after) return print(`\n${paint("dim", `${file} is unchanged.`)}`);
  const lines = createTwoFilesPatch(`a/${file}`, `b/${file}`, before, after).trimEnd().split("\n").slice(1);
  print(`\n${paint("dim", "What changed:")}`);
  for (const line of lines) print(colorLine(line));
}

function colorLine(line) {
  if (/^(---|\+\+\+|@@)/.test(line)) return paint("dim", line);
  return line.startsWith("+") ? paint("green", line) : line.startsWith("-") ? paint("red", line) : line;
}

function printNext() {
  print(`\n${paint("dim", "Next, with a real model:")}`);
  print('  OPENROUTER_API_KEY=… agent -p "What does this project do?"');
  print('  agent --model ollama/llama3.2 -p "What does this project do?"');
}
