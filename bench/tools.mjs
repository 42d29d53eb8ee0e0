// What tools take, beside what a program by hand would: npm run bench:tools [-- runs]. Needs 2.5 GB of disk for a moment.
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rgPath } from "@vscode/ripgrep";

const here = dirname(fileURLToPath(import.meta.url));
const runs = Number(process.argv[2] ?? 5);
const scratch = mkdtempSync(join(tmpdir(), "agent-bench-tools-"));

/** Runs a program to its end: ms, and what it printed. */
function run(file, args, { cwd = scratch, keep = false } = {}) {
  const startedAt = performance.now();
  const child = spawn(file, args, { cwd, stdio: ["ignore", keep ? "pipe" : "ignore", "inherit"] });
  let output = "";
  child.stdout?.on("data", (text) => (output += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code > 1 ? reject(new Error(`${file} ended with ${code}`)) : resolve({ ms: performance.now() - startedAt, output })));
  });
}

const ours = async (...args) => JSON.parse((await run(process.execPath, [join(here, "tools-case.mjs"), ...args], { keep: true })).output);

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const rows = [];

/** Measures a case and its yardstick in turn. */
async function compare(what, { name, cwd, prepare = () => {}, yardstick, goal }) {
  const [mine, theirs] = [[], []];
  for (let i = 0; i < runs; i++) {
    prepare();
    mine.push(await ours(name, cwd));
    prepare();
    theirs.push(await yardstick());
  }
  const of = (list, key) => median(list.map((each) => each[key]));
  const most = mine[0].most === undefined ? "" : `, at most ${Math.max(...mine.map((each) => each.most))} at once`;
  rows.push([what, `${of(mine, "ms").toFixed(1)} ms${most}`, `${of(mine, "memoryMb").toFixed(0)} MB`, `${of(theirs, "ms").toFixed(1)} ms`, goal]);
}

function makeLargeFile(path) {
  const block = Buffer.from(`${"a line of the large file, as long as most lines of a program are".padEnd(79)}\n`.repeat(13_107));
  const file = openSync(path, "w");
  for (let written = 0; written < 2 * 1024 ** 3; written += block.length) writeSync(file, block);
  closeSync(file);
}

function makeTree(root, folders) {
  const filler = "const value = compute(first, second);\n".repeat(20);
  for (let folder = 0; folder < folders; folder++) {
    mkdirSync(join(root, String(folder)), { recursive: true });
    for (let file = 0; file < 100; file++)
      writeFileSync(join(root, String(folder), `${file}.ts`), file === 0 && folder % 10 === 0 ? `${filler}needle\n` : filler);
  }
}

const numbered = Array.from({ length: 8_000 }, (_, n) => `[[line ${n} of a file of one megabyte ]]`.padEnd(130, "."))
  .join("\n")
  .concat("\n");

try {
  const [large, tree, edited, empty] = ["large", "tree", "edited", "empty"].map((name) => join(scratch, name));
  for (const folder of [large, tree, edited, empty]) mkdirSync(folder);
  writeFileSync(join(large, "small.txt"), "a line\n");
  makeLargeFile(join(large, "large.txt"));
  await compare("read of a 2 GB file (head)", {
    name: "read",
    cwd: large,
    yardstick: () => run("head", ["-n", "2000", "large.txt"], { cwd: large }),
    goal: "≤ 100 ms, ≤ 16 MB",
  });
  rmSync(large, { recursive: true });
  makeTree(tree, 500);
  await compare("grep over 50,000 files (rg)", { name: "grep", cwd: tree, yardstick: () => run(rgPath, ["needle", "."], { cwd: tree }), goal: "≤ 1.2 × rg" });
  const file = join(edited, "edited.txt");
  await compare("an edit of a 1 MB file, of 1,000 (read, replace, write)", {
    name: "edit",
    cwd: edited,
    prepare: () => writeFileSync(file, numbered),
    async yardstick() {
      const startedAt = performance.now();
      for (let n = 0; n < 1_000; n++) writeFileSync(file, readFileSync(file, "utf8").replace(`[[line ${n} `, `[[row ${n} `));
      return { ms: (performance.now() - startedAt) / 1_000 };
    },
    goal: "",
  });
  const workspace = join(scratch, "workspace");
  makeTree(workspace, 20);
  for (const [name, what] of [
    ["first", "the first command in 2,000 files (snapshot: false)"],
    ["further", "a further command there, at once (snapshot: false)"],
  ])
    await compare(what, { name, cwd: workspace, yardstick: () => ours(name, workspace, "off"), goal: "" });
  const flood = "yes 'a line of the flood' | head -c 64M > /dev/null";
  await compare("a 10 GB flood (64 MB of it to /dev/null)", { name: "flood", cwd: empty, yardstick: () => run("bash", ["-c", flood]), goal: "≤ 64 MB" });
  const sleeps = "seq 200 | xargs -P 16 -I {} bash -c 'sleep 0.2; echo {}'";
  await compare("200 parallel calls of 0.2 s (xargs -P 16)", {
    name: "parallel",
    cwd: empty,
    yardstick: () => run("bash", ["-c", sleeps]),
    goal: "16 at once, in order",
  });
  console.log(`Node ${process.version}, ${runs} runs in turn, medians; memory is what the peak of the process grew by, or the peak.\n`);
  const widths = [58, 32, 12, 14, 0];
  for (const line of [["what (yardstick)", "agent", "memory", "yardstick", "goal"], ...rows])
    console.log(line.map((cell, i) => cell.padEnd(widths[i])).join(""));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
