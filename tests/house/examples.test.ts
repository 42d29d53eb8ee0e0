import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { root } from "./source.ts";

const scratch = mkdtempSync(join(tmpdir(), "agent-examples-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs a command of the documentation as it stands there, from the root of the repository, without keys and with directories of its own. */
function run(command: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = {
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
    HOME: scratch,
    AGENT_DATA_DIR: join(scratch, "data"),
    AGENT_CONFIG_DIR: join(scratch, "config"),
  };
  return new Promise((resolve) => {
    execFile("bash", ["-c", command], { cwd: root, env, timeout: 80_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
  });
}

/** File → command, from the table of examples/README.md. */
const commands = new Map(
  [...readFileSync(join(root, "examples/README.md"), "utf8").matchAll(/^\| \[([^\]]+)\].*\| `(.+)` +\|$/gm)].map(([, file, command]) => [
    file as string,
    (command as string).replaceAll("\\|", "|"),
  ]),
);

const runExample = (file: string) => run((commands.get(file) as string).replace(/^npm start$/, "node scripts/start.mjs"));

test("every example has a command", () => {
  expect([...commands.keys()]).toEqual(["hello-tool.ts", "reverse-provider.ts", "guard-hooks.ts", "embed.ts", "tour/"]);
});

test("hello-tool.ts brings a tool that greets", async () => {
  const { code, stdout } = await runExample("hello-tool.ts");
  expect(stdout).toContain('"output":"Hello, Ada!"');
  expect(code).toBe(0);
});

test("hello-tool.ts is called by a model, too", async () => {
  const turns = join(scratch, "turns.json");
  const command = `echo '[{"tools":[{"name":"hello","args":{"name":"Ada"}}]},{"text":"Greeted."}]' > ${turns} && node bin/agent.js --plugin ./examples/hello-tool.ts --model demo/script:${turns} -p "Greet Ada."`;
  expect(await run(command)).toMatchObject({ code: 0, stdout: "Greeted.\n", stderr: expect.stringContaining("→ hello") });
});

test("hello-tool.ts fits on a postcard", () => {
  expect(readFileSync(join(root, "examples/hello-tool.ts"), "utf8").trimEnd().split("\n").length).toBeLessThanOrEqual(12);
});

test("reverse-provider.ts brings a model that answers backwards", async () => {
  expect(await runExample("reverse-provider.ts")).toMatchObject({ code: 0, stdout: "desserts\n" });
});

test("guard-hooks.ts denies what is forbidden and notes what was run", async () => {
  const { code, stdout } = await runExample("guard-hooks.ts");
  expect(stdout).toContain('Denied: \\"deploy\\" is not for agents here.');
  expect(code).toBe(0);
  expect(readFileSync(join(scratch, "data/plugins/guard/calls.log"), "utf8")).toBe("bash error\n");
});

test("embed.ts prints an answer from inside a program", async () => {
  expect(await runExample("embed.ts")).toMatchObject({ code: 0, stdout: "Hello from a program.\n" });
});

test("the tour mends its project with real tools", async () => {
  const { code, stdout } = await runExample("tour/");
  expect(stdout).toContain("Done. src/greeting.js greets by name now");
  expect(code).toBe(0);
});
