// A scripted OpenAI-compatible server in a process of its own, so that it takes no time from what is measured.
// The model id says what it does: "hello" answers, "steps-N" calls bash N times, "todo-N" calls todowrite N times, "tokens-N" streams N one-token events,
// "fail-N" is overloaded (503), "wait-N" asks to come back in a day (429).
import http from "node:http";

const chunk = (delta, finish = null, usage) =>
  `data: ${JSON.stringify({ id: "gen-1", object: "chat.completion.chunk", created: 1, model: "mock", choices: usage ? [] : [{ index: 0, delta, finish_reason: finish }], ...(usage && { usage }) })}\n\n`;
const end = (reason) =>
  `${chunk({}, reason)}${chunk({}, null, { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110, cost: 0.0001 })}data: [DONE]\n\n`;
const callOf = (name, args, id) =>
  chunk({ tool_calls: [{ index: 0, id: `call_${id}`, type: "function", function: { name, arguments: JSON.stringify(args) } }] });

function answer({ model, messages }) {
  const [kind, count] = model.split("/").at(-1).split("-");
  const done = messages.filter(({ role }) => role === "tool").length;
  if (kind === "tokens") return Array.from({ length: Number(count) }, (_, i) => chunk({ content: `tok${i % 10} ` })).join("") + end("stop");
  if (done < Number(count ?? 0))
    return (
      (kind === "steps"
        ? callOf("bash", { command: `echo step-${done}`, description: "x" }, done)
        : callOf("todowrite", { todos: [{ content: `step ${done}`, status: "pending", priority: "low" }] }, done)) + end("tool_calls")
    );
  return chunk({ role: "assistant", content: "Hello there." }) + end("stop");
}

const FAILURES = { fail: [503, {}], wait: [429, { "retry-after": "86400" }] };
/** On the clock that the processes of a machine share. */
const now = () => performance.timeOrigin + performance.now();
let log = [];
const server = http.createServer((request, response) => {
  if (request.url === "/log") {
    response.end(JSON.stringify(log));
    log = [];
    return;
  }
  const at = now();
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const text = Buffer.concat(parts).toString();
    const body = JSON.parse(text);
    const [status, headers] = FAILURES[body.model.split("/").at(-1).split("-")[0]] ?? [];
    if (status !== undefined) {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify({ error: { code: status, message: "busy" } }), () => log.push({ at, bytes: text.length, answeredAt: now() }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(answer(body), () => log.push({ at, bytes: text.length, answeredAt: now() }));
  });
});
server.listen(0, "127.0.0.1", () => process.send(server.address().port));
