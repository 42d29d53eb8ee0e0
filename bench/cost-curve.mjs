// Tokens that a run sends over 10 to 500 turns, with and without a window, cached ones apart: npm run bench:cost-curve [-- turns…]
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const TURNS = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10, 50, 100, 200, 500];
/** Characters that each turn adds beside its frame: a call of so many, and a result as long. */
const CALL_CHARACTERS = 400;
/** What a cached token costs beside one that is not (Anthropic and OpenAI: a tenth). */
const CACHED_PRICE = 0.1;
const WINDOWS = { "send all": undefined, "20 messages": { messages: 20, tokens: 100_000 }, "20,000 tokens": { tokens: 20_000 } };

const tokensOf = (texts) => Math.ceil(texts.reduce((sum, text) => sum + text.length, 0) / 4);

/** What a provider's cache serves: the messages that the request before began with. */
function countCached(before, texts) {
  let same = 0;
  while (same < before.length && before[same] === texts[same]) same++;
  return tokensOf(texts.slice(0, same));
}

let total;
let before;
function countRequest(texts) {
  const sent = tokensOf(texts);
  const cached = countCached(before, texts);
  before = texts;
  total = { sent: total.sent + sent, cached: total.cached + cached, largest: Math.max(total.largest, sent) };
  return { sent, cached };
}

const chunk = (fields) => `data: ${JSON.stringify({ id: "gen-1", object: "chat.completion.chunk", created: 1, model: "mock", choices: [], ...fields })}\n\n`;
const delta = (content, reason = null) => chunk({ choices: [{ index: 0, delta: content, finish_reason: reason }] });

let turn;
let turns;
let history;
function answer(body) {
  turn++;
  const texts = [JSON.stringify(body.tools), ...body.messages.map((message) => JSON.stringify(message))];
  history.push(texts);
  const { sent, cached } = countRequest(texts);
  const todos = [{ content: `step ${turn} ${"x".repeat(CALL_CHARACTERS)}`, status: "pending", priority: "low" }];
  const call = { index: 0, id: `call_${turn}`, type: "function", function: { name: "todowrite", arguments: JSON.stringify({ todos }) } };
  const said = turn < turns ? delta({ tool_calls: [call] }) + delta({}, "tool_calls") : delta({ content: "Done." }) + delta({}, "stop");
  const usage = { prompt_tokens: sent, completion_tokens: 10, total_tokens: sent + 10, prompt_tokens_details: { cached_tokens: cached } };
  return `${said}${chunk({ usage })}data: [DONE]\n\n`;
}

const server = http.createServer(async (request, response) => {
  const parts = await request.toArray();
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end(answer(JSON.parse(Buffer.concat(parts).toString())));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const scratch = mkdtempSync(join(tmpdir(), "agent-curve-"));

async function run(count, window) {
  [turn, turns, total, before, history] = [0, count, { sent: 0, cached: 0, largest: 0 }, [], []];
  mkdirSync(join(scratch, ".config/agent"), { recursive: true });
  writeFileSync(join(scratch, ".config/agent/agent.json"), JSON.stringify({ window: { ...window, warnTokens: false } }));
  const env = {
    PATH: process.env.PATH,
    HOME: scratch,
    OPENROUTER_API_KEY: "sk-or-v1-bench-0000000000",
    OPENROUTER_BASE_URL: `http://127.0.0.1:${server.address().port}/v1`,
  };
  const args = [
    join(here, "../bin/agent.js"),
    "--model",
    "openrouter/bench/curve",
    "-q",
    "--max-steps",
    "10000",
    "--no-session",
    "-p",
    "Work through the list.",
  ];
  const child = spawn(process.execPath, args, { cwd: scratch, env, stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0 || turn !== count) throw new Error(`The run of ${count} turns ended with ${code} after ${turn}.`);
  return total;
}

/** The same conversation in a window of 20 messages that moves with each turn, as the simplest ones do. */
function slideEachTurn(requests) {
  [total, before] = [{ sent: 0, cached: 0, largest: 0 }, []];
  for (const texts of requests) countRequest(texts.length <= 22 ? texts : [...texts.slice(0, 3), ...texts.slice(-18)]);
  return total;
}

const paid = ({ sent, cached }) => sent - cached + CACHED_PRICE * cached;
const thousand = (tokens) => (tokens / 1000).toFixed(tokens < 100_000 ? 1 : 0).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const rows = [];
try {
  for (const count of TURNS) {
    const results = [];
    for (const [name, window] of Object.entries(WINDOWS)) {
      results.push([name, await run(count, window)]);
      if (window === undefined) results.push(["20, each turn", slideEachTurn(history)]);
    }
    for (const [name, result] of results)
      rows.push([
        count,
        name,
        thousand(result.sent),
        thousand(result.cached),
        `${Math.round((100 * result.cached) / result.sent)} %`,
        thousand(paid(result)),
        thousand(result.largest),
      ]);
  }
  console.log(`Thousands of tokens (characters / 4) over all requests; paid: a cached token counts ${CACHED_PRICE}.\n`);
  for (const row of [
    ["turns", "window", "sent", "of it cached", "", "paid", "largest request"],
    ["---:", "---", "---:", "---:", "---:", "---:", "---:"],
    ...rows,
  ])
    console.log(`| ${row.join(" | ")} |`);
} finally {
  server.close();
  server.closeAllConnections();
  rmSync(scratch, { recursive: true, force: true });
}
