import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { builtins } from "../../plugins/index.ts";
import { type BootOptions, boot, call, say } from "../../core/testing/index.ts";
import type { Config } from "../../core/config.ts";

const SERVER = fileURLToPath(new URL("../fixtures/mcp-server.mjs", import.meta.url));
const folders: string[] = [];
const makeFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), "agent-mcp-"));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

type McpServer = NonNullable<Config["mcp"]>[string];
const local = (...args: string[]): McpServer => ({ type: "local", command: [process.execPath, SERVER, ...args] });

const bootWith = (mcp: Config["mcp"], options: BootOptions = {}) =>
  boot({ plugins: builtins, script: [say("ok")], ...options, config: { permissionMode: "yolo", ...options.config, mcp } as never });

const toolsIn = (request: any): string[] => request.tools.map(({ name }: any) => name);
const own = (names: string[]) => names.filter((name) => name.includes("__"));
const faultsOf = (events: any[]): string[] => events.filter(({ type }) => type === "plugin.error").map(({ message }) => message);

describe("a server", () => {
  test("brings its tools under its own name, and answers calls", async () => {
    await using agent = await bootWith({ srv: local() }, { script: [call("srv__echo", { text: "hello" }), say("ok")] });
    const { toolOutputs, events } = await agent.prompt("go");
    expect(own(toolsIn(agent.requests[0]))).toContain("srv__echo");
    expect(toolOutputs).toEqual(["hello"]);
    expect(faultsOf(events)).toEqual([]);
    expect(agent.runtime.toolSources()).toEqual([{ name: "srv", status: "connected" }]);
  });
});
