import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, makeConfiguredHome, ofType, removeHomes, runCommand, until } from "./command.ts";
import { type Other, resultsOf, talk, user } from "./stream-json.ts";

afterEach(removeHomes);

const at = (url: string, model: string) => ({ model, provider: { my: { options: { baseURL: url, apiKey: false } } } });

/** Three requests in one process; `edits` are written to the user's configuration before the second and the third. */
async function runThree(edits: (urls: string[]) => (object | string)[]) {
  const servers: TestServer[] = [];
  for (let n = 0; n < 2; n++) servers.push(await startServer((_, i): Reply => ({ text: `${n}.${i}` })));
  const urls = servers.map(({ url }) => url);
  const home = makeConfiguredHome(at(urls[0]!, "my/one"));
  const file = join(home, ".config/agent/agent.json");
  const answers = () => servers.reduce((sum, { requests }) => sum + requests.filter(({ closed }) => closed).length, 0);
  const run = await runCommand({
    home,
    args: JSON_OUT,
    stdin: "OPEN",
    onSpawn: async (child) => {
      let printed = "";
      child.stdout?.on("data", (text: string) => (printed += text));
      child.stdin?.write('{"message":"one"}\n');
      for (const [n, edit] of edits(urls).entries()) {
        await until(() => answers() === n + 1 && printed.split('"type":"result"').length === n + 2);
        writeFileSync(file, typeof edit === "string" ? edit : JSON.stringify(edit));
        child.stdin?.write(`{"message":"${["two", "three"][n]}"}\n`);
      }
      child.stdin?.end();
    },
  });
  const talks = servers.map(({ requests }) =>
    requests.map(({ body }) => body.messages.filter(({ role }: any) => role !== "system").map(({ content }: any) => content)),
  );
  for (const server of servers) await server.close();
  return { run, talks, file, models: ofType(run, "result").map(({ model }) => model) };
}

describe.skipIf(!isBuilt)("a configuration that is edited between two requests", () => {
  test("counts for the next one, in the same session", async () => {
    const { run, talks, models } = await runThree(([, second]) => [at(second!, "my/two"), at(second!, "my/three")]);
    expect([run.code, models]).toEqual([0, ["my/one", "my/two", "my/three"]]);
    expect(talks[0]).toEqual([["one"]]);
    expect(talks[1]).toEqual([
      ["one", "0.0", "two"],
      ["one", "0.0", "two", "1.0", "three"],
    ]);
    expect(new Set(run.events.map(({ sessionID }) => sessionID)).size).toBe(1);
  });

  test("counts for the next one also where agent config set has edited it", async () => {
    const server = await startServer((_, i): Reply => ({ text: `${i}` }));
    const home = makeConfiguredHome(at(server.url, "my/one"));
    const run = await runCommand({
      home,
      args: JSON_OUT,
      stdin: "OPEN",
      onSpawn: async (child) => {
        let printed = "";
        child.stdout?.on("data", (text: string) => (printed += text));
        child.stdin?.write('{"message":"one"}\n');
        await until(() => printed.includes('"type":"result"'));
        const set = await runCommand({ home, args: ["config", "set", "model", "my/two"] });
        expect(set.code).toBe(0);
        child.stdin?.end('{"message":"two"}\n');
      },
    });
    await server.close();
    expect([run.code, ofType(run, "result").map(({ model }) => model)]).toEqual([0, ["my/one", "my/two"]]);
  });

  test("stays as it was where the new one cannot be used, which is told once", async () => {
    const { run, models, file } = await runThree(([first]) => ['{ "model": 7 }', at(first!, "my/three")]);
    expect([run.code, models]).toEqual([0, ["my/one", "my/one", "my/three"]]);
    const errors = ofType(run, "error");
    expect(errors.map(({ error }) => error.code)).toEqual(["CONFIG_REJECTED"]);
    expect(errors[0].error.message).toContain(`${file}:1`);
    expect(errors[0].error.hint).toContain("the one before stays in force");
  });
});

describe.skipIf(!isBuilt)("a talk by frames", () => {
  /** Three user frames; `edits` are written to the user's configuration before each of them. */
  async function talkThree(edits: (urls: string[]) => (object | string)[], { args = [], first }: { args?: string[]; first?: object } = {}) {
    const servers = [await startServer((_, i): Reply => ({ text: `0.${i}` })), await startServer((_, i): Reply => ({ text: `1.${i}` }))];
    const urls = servers.map(({ url }) => url);
    const home = makeConfiguredHome(at(urls[0]!, "my/one"));
    const file = join(home, ".config/agent/agent.json");
    let sent = 0;
    const next = ({ send, end }: Other) => {
      const edit = edits(urls)[sent++];
      if (edit === undefined) return end();
      writeFileSync(file, typeof edit === "string" ? edit : JSON.stringify(edit));
      if (sent === 1 && first !== undefined) send(first);
      send(user(`${sent}`));
    };
    const run = await talk({
      home,
      args: ["--input-format", "stream-json", "--output-format", "stream-json", ...args],
      onStart: ({ send }) => send({ type: "control_request", request_id: "1", request: { subtype: "initialize" } }),
      onLine: (line, other) => (line.type === "result" || line.response?.request_id === "1") && next(other),
    });
    for (const server of servers) await server.close();
    const asked = servers.map(({ requests }) => requests.map(({ body }) => body.messages.filter(({ role }: any) => role !== "system").length));
    return { run, asked, models: run.events.filter(({ subtype }) => subtype === "init").map(({ model }) => model) };
  }

  test.each([[[]], [["--no-session"]]])("takes a changed configuration from its next user frame on, the first one included %s", async (args) => {
    const { run, asked, models } = await talkThree(([first, second]) => [at(first!, "my/new"), at(second!, "my/two"), at(second!, "my/three")], { args });
    expect([run.code, models]).toEqual([0, ["my/new", "my/two", "my/three"]]);
    expect(asked).toEqual([[1], [3, 5]]);
    expect(resultsOf(run).map(({ result }) => result)).toEqual(["0.0", "1.0", "1.1"]);
    expect(new Set(resultsOf(run).map(({ session_id }) => session_id)).size).toBe(1);
  });

  test("is told of one that cannot be used, and goes on with the one before", async () => {
    const { run, models } = await talkThree(([first]) => [at(first!, "my/one"), "{ broken", at(first!, "my/three")]);
    expect([run.code, models]).toEqual([0, ["my/one", "my/one", "my/three"]]);
    const told = run.events.filter(({ subtype }) => subtype === "informational");
    expect(told).toMatchObject([{ type: "system", level: "warning", error: { code: "CONFIG_REJECTED" } }]);
    expect(told[0].content).toContain("agent.json:1");
  });

  test("reads only from where its user says so, whatever mode was set before", async () => {
    const strict = { permissionMode: "readonly" };
    const { run } = await talkThree(([first]) => [at(first!, "my/one"), { ...at(first!, "my/one"), ...strict }], {
      first: { type: "control_request", request_id: "2", request: { subtype: "set_permission_mode", mode: "acceptEdits" } },
    });
    expect(run.events.filter(({ subtype }) => subtype === "init").map(({ permissionMode }) => permissionMode)).toEqual(["auto", "dontAsk"]);
  });
});
