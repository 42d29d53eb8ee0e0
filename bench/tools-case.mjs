// One run of one case of tools.mjs, in a process of its own: prints { ms, memoryMb, … } as JSON.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { scriptedProvider } from "agent-runtime/testing";

const [name, cwd, snapshot] = process.argv.slice(2);
const data = mkdtempSync(join(tmpdir(), "agent-bench-data-"));
const script = [{ calls: Array.from({ length: 200 }, (_, n) => ({ tool: "bash", input: { command: `sleep 0.2; echo ${n}` } })) }, { text: "done" }];
const scripted = { name: "scripted", setup: () => ({ providers: [scriptedProvider(script)] }) };
const runtime = await createRuntime({
  cwd,
  dataDir: data,
  discover: false,
  plugins: [...builtins, scripted],
  env: { PATH: process.env.PATH, HOME: data },
  config: { model: "scripted/model", snapshot: snapshot !== "off" },
});

const peakMb = () => process.resourceUsage().maxRSS / 1024;

/** Runs the calls one after the other through the way of every prompt; no model is asked. Their times in ms. */
async function call(...tools) {
  const times = [];
  for await (const event of runtime.prompt({ message: "go", tools, noReply: true })) {
    if (event.type !== "tool.finish") continue;
    const { state } = event;
    if (state.status === "error") throw new Error(state.error);
    times.push({ ms: state.endedAt - state.startedAt, output: state.output });
  }
  return times;
}

/** What one call takes, once everything that it needs is loaded. */
async function measure(warm, tool) {
  await call(warm);
  const before = peakMb();
  const startedAt = performance.now();
  const [{ output }] = await call(tool);
  return { ms: performance.now() - startedAt, memoryMb: peakMb() - before, characters: output.length };
}

const CASES = {
  read: () => measure({ name: "read", params: { filePath: "small.txt" } }, { name: "read", params: { filePath: "large.txt" } }),
  grep: () => measure({ name: "grep", params: { pattern: "needle", path: "0" } }, { name: "grep", params: { pattern: "needle" } }),
  flood: () => measure({ name: "bash", params: { command: "seq 100000" } }, { name: "bash", params: { command: "yes 'a line of the flood' | head -c 10G" } }),
  async edit() {
    const edits = Array.from({ length: 1_000 }, (_, n) => ({
      name: "edit",
      params: { filePath: "edited.txt", oldString: `[[line ${n} `, newString: `[[row ${n} ` },
    }));
    const startedAt = performance.now();
    const times = await call({ name: "read", params: { filePath: "edited.txt" } }, ...edits);
    const text = readFileSync(join(cwd, "edited.txt"), "utf8");
    if (times.length !== 1_001 || text.split("[[row ").length !== 1_001) throw new Error("an edit is missing");
    return { ms: (performance.now() - startedAt) / 1_000, memoryMb: peakMb() };
  },
  /** Commands that may change anything, one after the other: before and after each the workspace is looked through. */
  async first() {
    const [{ ms }] = await call({ name: "bash", params: { command: "echo 1 > out.txt" } });
    return { ms, memoryMb: peakMb() };
  },
  async further() {
    const times = await call(...Array.from({ length: 31 }, (_, n) => ({ name: "bash", params: { command: `echo ${n} > out.txt` } })));
    const further = times.slice(1).map(({ ms }) => ms);
    return { ms: further.sort((a, b) => a - b)[15], memoryMb: peakMb() };
  },
  async parallel() {
    const running = new Set();
    let [most, order] = [0, ""];
    const startedAt = performance.now();
    for await (const event of runtime.prompt({ message: "go" })) {
      if (event.type === "tool.start") running.add(event.callId);
      if (event.type === "tool.finish") running.delete(event.callId);
      most = Math.max(most, running.size);
      if (event.type === "session.finish" && event.result.status !== "success") throw event.result.error;
    }
    const ms = performance.now() - startedAt;
    const [{ id }] = await runtime.sessions.list();
    const { entries } = await runtime.sessions.read(id);
    for (const { message } of entries)
      if (message.role === "tool") order = message.content.map(({ output }) => output.value.replace(/<\/?tool-output[^>]*>/g, "").trim()).join();
    if (order !== Array.from({ length: 200 }, (_, n) => n).join()) throw new Error("the results are not in the order of the calls");
    return { ms, memoryMb: peakMb(), most };
  },
};

try {
  console.log(JSON.stringify(await CASES[name]()));
} finally {
  await runtime.close();
  rmSync(data, { recursive: true, force: true });
}
