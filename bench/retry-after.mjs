// How exactly a Retry-After is kept, in each of its forms, beside the AI SDK's own retries; and how fast the chain goes on
// where the wait is too long: npm run bench:retry-after [-- runs]

import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { streamText } from "ai";

const runs = Number(process.argv[2] ?? 5);
const KEY = "sk-or-v1-bench-0000000000";
globalThis.AI_SDK_LOG_WARNINGS = false;

/** Header of a 429 that is sent now, and the ms that it asks to wait. A date has whole seconds. */
const FORMS = {
  "retry-after: 1": () => ({ headers: { "retry-after": "1" }, askedMs: 1000 }),
  "retry-after: 2": () => ({ headers: { "retry-after": "2" }, askedMs: 2000 }),
  "retry-after-ms: 300": () => ({ headers: { "retry-after-ms": "300" }, askedMs: 300 }),
  "retry-after-ms: 1500": () => ({ headers: { "retry-after-ms": "1500" }, askedMs: 1500 }),
  "retry-after: a date": () => {
    const now = Date.now();
    const date = Math.ceil(now / 1000) * 1000 + 1000;
    return { headers: { "retry-after": new Date(date).toUTCString() }, askedMs: date - now };
  },
  "retry-after: 7200": () => ({ headers: { "retry-after": "7200" }, askedMs: 7_200_000 }),
};

const chunk = (delta, finish = null) =>
  `data: ${JSON.stringify({ id: "g", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const ANSWER = `${chunk({ role: "assistant", content: "ok" })}${chunk({}, "stop")}data: [DONE]\n\n`;

/** Path of a run → the moment of the 429, what it asked for, and the moment of the next request. */
const seen = new Map();
const server = http.createServer((request, response) => {
  const at = performance.now();
  const [, id, form] = decodeURIComponent(request.url).split("/");
  request.resume().on("end", () => {
    const first = seen.get(id);
    if (first !== undefined) {
      first.gapMs ??= at - first.at;
      return response.writeHead(200, { "content-type": "text/event-stream" }).end(ANSWER);
    }
    const { headers, askedMs } = FORMS[form]();
    seen.set(id, { at: performance.now(), askedMs });
    response.writeHead(429, { "content-type": "application/json", ...headers }).end('{"error":{"code":429,"message":"slow down"}}');
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const scratch = mkdtempSync(join(tmpdir(), "agent-bench-"));
let count = 0;

async function agent(baseURL, model) {
  const provider = { openrouter: { options: { apiKey: KEY, baseURL } } };
  const runtime = await createRuntime({
    cwd: scratch,
    dataDir: join(scratch, `${count++}`),
    discover: false,
    persist: false,
    env: {},
    plugins: builtins,
    config: { model, provider },
  });
  const { exitCode } = await runtime.prompt("hi").result;
  await runtime.close();
  if (exitCode !== 0) throw new Error(`the run ended with ${exitCode}`);
}

async function floor(baseURL) {
  const { textStream } = streamText({ model: createOpenRouter({ apiKey: KEY, baseURL }).chat("a/b"), prompt: "hi" });
  for await (const _ of textStream);
}

async function measure(side, form, ...rest) {
  const id = `${count++}`;
  await side(`http://127.0.0.1:${server.address().port}/${id}/${encodeURIComponent(form)}`, ...rest);
  return seen.get(id);
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const late = (all) => all.map(({ gapMs, askedMs }) => gapMs - askedMs);
const show = (all) => `${[Math.min(...late(all)), median(late(all)), Math.max(...late(all))].map((ms) => ms.toFixed(1)).join(" / ")} ms`;
const percent = (all) => `${Math.max(...all.map(({ gapMs, askedMs }) => (100 * (gapMs - askedMs)) / askedMs)).toFixed(1)} %`;

try {
  const kept = Object.keys(FORMS).slice(0, -1);
  const results = Object.fromEntries(kept.map((form) => [form, { ours: [], theirs: [] }]));
  await measure(agent, kept[2], "openrouter/a/b");
  await measure(floor, kept[2]);
  for (let run = 0; run < runs; run++)
    for (const form of kept) {
      results[form].ours.push(await measure(agent, form, "openrouter/a/b"));
      results[form].theirs.push(await measure(floor, form));
    }
  const rows = kept.map((form) => {
    const { ours, theirs } = results[form];
    return [form, show(ours), percent(ours), show(theirs), percent(theirs)];
  });
  const tooLong = [];
  for (let run = 0; run < runs; run++) tooLong.push(await measure(agent, "retry-after: 7200", ["openrouter/a/b", "openrouter/c/d"]));
  console.log(`Node ${process.version}, ${runs} runs; how much later than asked the next request came. Goal: never early, at most 10 % late.\n`);
  for (const line of [["header of a 429", "agent: least / median / most", "at most", "floor: least / median / most", "at most"], ...rows])
    console.log(line.map((cell, i) => cell.padEnd([24, 32, 10, 32, 0][i])).join(""));
  console.log(
    `\nretry-after: 7200, with a second model: it is asked after ${median(tooLong.map(({ gapMs }) => gapMs)).toFixed(0)} ms (median). Goal: < 1000 ms.`,
  );
} finally {
  server.closeAllConnections();
  server.close();
  rmSync(scratch, { recursive: true, force: true });
}
