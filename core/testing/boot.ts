import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { LanguageModelV3CallOptions } from "@ai-sdk/provider";
import { hostEnvironment } from "../config.ts";
import type { AgentEvent, RunResult } from "../events.ts";
import { definePlugin, type LazyPlugin, type Plugin } from "../plugin.ts";
import { createRuntime, type PromptOptions, type PromptRequest, type Runtime, type RuntimeOptions } from "../runtime.ts";
import { type ScriptedTurn, scriptedProvider } from "./script.ts";

export interface BootOptions extends Omit<RuntimeOptions, "plugins"> {
  plugins?: (Plugin | LazyPlugin | string | [string, Record<string, unknown>])[];
  /** What the model does, one turn a request. */
  script?: ScriptedTurn[] | ((options: LanguageModelV3CallOptions, index: number) => ScriptedTurn);
  /** Files of the workspace: relative path → content. */
  files?: Record<string, string>;
}

/** What one prompt did. */
export interface PromptReport {
  result: RunResult;
  /** The final answer. */
  text: string;
  events: AgentEvent[];
  /** What the model was told of each tool call, in the order in which the calls ended. */
  toolOutputs: string[];
}

export interface BootedAgent {
  runtime: Runtime;
  /** The workspace, a scratch directory that `close` removes. */
  cwd: string;
  /** What the model was sent, one entry a request. */
  requests: LanguageModelV3CallOptions[];
  prompt(request: string | PromptRequest, options?: PromptOptions): Promise<PromptReport>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Boots a whole runtime in a scratch workspace, with the given plugins and a model that follows a script. No network, no
 * configuration files, no environment. The way in is the one that the command takes.
 *
 *     const agent = await boot({ plugins: [hello], script: [call("hello", { name: "Ada" }), say("Greeted.")] });
 *     const { toolOutputs } = await agent.prompt("go");
 */
export async function boot({ plugins = [], script = [], files = {}, ...options }: BootOptions = {}): Promise<BootedAgent> {
  const root = await mkdtemp(join(tmpdir(), "agent-boot-"));
  const cwd = options.cwd ?? join(root, "work");
  for (const [path, content] of Object.entries(files)) await writeInto(join(cwd, path), content);
  await mkdir(cwd, { recursive: true });
  const requests: LanguageModelV3CallOptions[] = [];
  const scripted = definePlugin({ name: "scripted", setup: () => ({ providers: [scriptedProvider(script, requests)] }) });
  const start = () =>
    createRuntime({
      dataDir: join(root, "data"),
      discover: false,
      env: { PATH: hostEnvironment().PATH },
      ...options,
      cwd,
      config: { model: "scripted/model", ...options.config },
      plugins: [scripted, ...plugins],
    });
  const runtime = await start().catch(async (error: unknown) => {
    await rm(root, { recursive: true, force: true });
    throw error;
  });
  const close = async () => {
    await runtime.close();
    await rm(root, { recursive: true, force: true });
  };
  return {
    runtime,
    cwd: runtime.cwd,
    requests,
    prompt: (request, promptOptions) => report(runtime, request, promptOptions),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function writeInto(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

async function report(runtime: Runtime, request: string | PromptRequest, options: PromptOptions = {}): Promise<PromptReport> {
  const run = runtime.prompt(request, { deltas: true, ...options });
  const events: AgentEvent[] = [];
  for await (const event of run) events.push(event);
  const result = await run.result;
  const toolOutputs = events.flatMap((event) =>
    event.type === "tool.finish" ? [event.state.status === "completed" ? event.state.output : event.state.error] : [],
  );
  return { result, text: result.text, events, toolOutputs };
}
