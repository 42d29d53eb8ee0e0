import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AgentError, type ToolContext, type ToolResult } from "agent-runtime";
import { createExec } from "../../../core/exec.ts";
import { silentLog } from "../../../core/log.ts";
import { createPaths } from "../../../core/paths.ts";
import { createRedactor } from "../../../core/redact.ts";
import { check } from "../../../core/schema.ts";
import filesPlugin from "../../../plugins/files/index.ts";

export interface World {
  /** The workspace. */
  cwd: string;
  /** A folder beside it, which no tool may touch. */
  outside: string;
  context: ToolContext;
  /** Calls a tool as the loop does: the input is checked, the result has the long form. */
  call(name: string, input: Record<string, unknown>, over?: Partial<ToolContext>): Promise<ToolResult>;
  /** The text that the model gets for a call that must fail. */
  fail(name: string, input: Record<string, unknown>, over?: Partial<ToolContext>): Promise<string>;
  /** Writes a file below the workspace and returns its path. */
  put(path: string, content: string | Uint8Array): Promise<string>;
  close(): Promise<void>;
}

/** A workspace in a temporary folder with the real resolver and the real runner. */
export async function createWorld(): Promise<World> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "files-")));
  const cwd = join(root, "work");
  const outside = join(root, "outside");
  await mkdir(cwd);
  await mkdir(outside);
  const runner = createExec({ env: { PATH: process.env.PATH, HOME: root } });
  const refuse = () => {
    throw new Error("File tools have no use for this.");
  };
  const context: ToolContext = {
    cwd,
    sessionId: "ses_1",
    callId: "call_1",
    signal: new AbortController().signal,
    fetch: refuse,
    exec: runner.exec,
    paths: await createPaths({ cwd, spillDir: join(root, "spill") }),
    state: { get: () => undefined, set: refuse },
    log: silentLog,
    depth: 0,
    model: "test/model",
    progress: () => {},
    call: refuse,
    ask: refuse,
    accepts: () => undefined,
    permit: async () => {},
    snapshot: async () => {},
    redact: createRedactor().redact,
    runTask: refuse,
    spill: refuse,
    spillPath: refuse,
  };
  const { tools = [] } = await filesPlugin.setup({} as never);

  const call: World["call"] = async (name, input, over) => {
    const tool = tools.find((candidate) => candidate.name === name)!;
    const checked = await check(tool.input, input);
    if (checked.reason !== undefined) throw new AgentError("TOOL_INPUT_INVALID", { tool: name, reason: checked.reason });
    const output = await tool.run(checked.value, { ...context, ...over });
    return typeof output === "string" ? { output } : output;
  };
  return {
    cwd,
    outside,
    context,
    call,
    fail: (name, input, over) =>
      call(name, input, over).then(
        (result) => Promise.reject(new Error(`It succeeded: ${result.output}`)),
        (error: unknown) => (error instanceof AgentError ? error.text : Promise.reject(error)),
      ),
    async put(path, content) {
      const file = join(cwd, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
      return file;
    },
    async close() {
      await runner.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}
