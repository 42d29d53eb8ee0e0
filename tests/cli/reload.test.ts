import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, makeConfiguredHome, ofType, removeHomes, runCommand, until } from "./command.ts";

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

  test("stays as it was where the new one cannot be used, which is told once", async () => {
    const { run, models, file } = await runThree(([first]) => ['{ "model": 7 }', at(first!, "my/three")]);
    expect([run.code, models]).toEqual([0, ["my/one", "my/one", "my/three"]]);
    const errors = ofType(run, "error");
    expect(errors.map(({ error }) => error.code)).toEqual(["CONFIG_REJECTED"]);
    expect(errors[0].error.message).toContain(`${file}:1`);
    expect(errors[0].error.hint).toContain("the one before stays in force");
  });
});
