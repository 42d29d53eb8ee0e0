import { AgentError, errorMessage } from "./errors.ts";
import type { RequestSettings } from "./hooks.ts";
import { outputInstruction } from "./output-schema.ts";
import { hookContext, type PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import { toJsonSchema } from "./schema.ts";
import type { Tool } from "./tool.ts";

/** System prompt and tools stay the same for a whole prompt, so that the provider's cache holds; hooks may change the rest. */
export async function prepareRequest(run: PromptRun): Promise<() => Promise<ModelRequest>> {
  const { environment, session } = run;
  const { hooks } = environment;
  const system = await hooks.transform("system", await systemOf(run), hookContext(run));
  const tools = await Promise.all([...run.tools.values()].map(describeTool));
  return async () => {
    const context = hookContext(run);
    const entries = session.entries();
    const settings = await hooks.transform("request", settingsOf(run), context);
    if (!hooks.has("messages")) return { system, entries, tools, settings };
    return {
      system,
      entries,
      tools,
      settings,
      messages: await hooks.transform(
        "messages",
        entries.map((entry) => entry.message),
        context,
      ),
    };
  };
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
