import { createCacheWatch } from "./cache-watch.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { type RequestSettings, resultOf, type Stage } from "./hooks.ts";
import { cacheKeyOf } from "./id.ts";
import { outputInstruction } from "./output-schema.ts";
import { hookContext, type PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import type { RunWindow } from "./run-window.ts";
import { toJsonSchema } from "./schema.ts";
import type { Tool } from "./tool.ts";

/** System prompt and tools stay the same for a whole prompt, so that the provider's cache holds; hooks may change the rest. */
export async function prepareRequest(run: PromptRun, window: RunWindow): Promise<() => Promise<ModelRequest>> {
  const { environment, session } = run;
  const { hooks } = environment;
  const system = await hooks.trace("system", await systemOf(run), hookContext(run));
  const tools = await Promise.all([...run.tools.values()].map(describeTool));
  const watch = createCacheWatch({ state: session.state, emit: run.emit, model: () => run.last.model ?? "" });
  watch.see("tools", await describeStages(run.toolStages, tools));
  watch.see("system", system);
  const fixed = { system: resultOf(system), tools, cacheKey: cacheKeyOf(session.id) };
  const fixedCharacters = fixed.system.length + JSON.stringify(tools).length;
  return async () => {
    const context = hookContext(run);
    const entries = window.view(session.entries(), fixedCharacters);
    const settings = await hooks.trace("request", settingsOf(run), context);
    watch.see(
      "request",
      settings.map(({ by, value }) => ({ by, value: value.providerOptions })),
    );
    const request = { ...fixed, entries, settings: resultOf(settings) };
    if (!hooks.has("messages")) {
      watch.seeMessages(undefined, entries);
      return request;
    }
    const given = entries.map((entry) => entry.message);
    const messages = await hooks.trace("messages", given, context);
    watch.seeMessages(messages, entries);
    return { ...request, messages: resultOf(messages) };
  };
}

/** What a provider reads of the tools, as each plugin left it; `last` is the description of the last. */
async function describeStages(stages: PromptRun["toolStages"], last: ModelRequest["tools"]): Promise<Stage<unknown>[]> {
  const tools = resultOf(stages);
  return Promise.all(stages.map(async ({ by, value }) => ({ by, value: value === tools ? last : await Promise.all(value.map(describeTool)) })));
}

async function describeTool({ name, description, input }: Tool): Promise<ModelRequest["tools"][number]> {
  const schema = await toJsonSchema(input).catch((error: unknown) => {
    throw new AgentError("TOOL_FAILED", { tool: name, reason: `its input cannot be given as JSON Schema: ${errorMessage(error)}` }, { cause: error });
  });
  return { type: "function", name, description, inputSchema: schema as any };
}

async function systemOf({ request, config, profile, environment }: PromptRun): Promise<string> {
  const text = await environment.systemPrompt(request.system ?? config.systemPrompt ?? profile?.prompt);
  const schema = request.outputSchema === undefined ? undefined : outputInstruction(request.outputSchema);
  return [text, config.appendSystem, request.appendSystem, schema].filter((part) => part !== undefined && part !== "").join("\n\n");
}

export function settingsOf({ request, config }: PromptRun): RequestSettings {
  const temperature = request.temperature ?? config.temperature;
  const topP = request.topP ?? config.topP;
  const stop = request.stop ?? (typeof config.stop === "string" ? [config.stop] : config.stop);
  const seed = request.seed ?? config.seed;
  const maxOutputTokens = request.maxOutputTokens ?? config.maxOutputTokens;
  return {
    headers: {},
    providerOptions: {},
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(stop !== undefined && { stop }),
    ...(seed !== undefined && { seed }),
    ...(maxOutputTokens !== undefined && { maxOutputTokens }),
  };
}
