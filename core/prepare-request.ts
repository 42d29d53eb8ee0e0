import { createCacheWatch } from "./cache-watch.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { FENCE_NOTE } from "./fence.ts";
import { type RequestSettings, resultOf, type Stage } from "./hooks.ts";
import { cacheKeyOf } from "./id.ts";
import { outputInstruction } from "./output-schema.ts";
import { hookContext, type PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import type { RunWindow } from "./run-window.ts";
import { toJsonSchema } from "./schema.ts";
import type { Tool } from "./tool.ts";

/** System prompt and tools stay the same for a whole prompt, so that the provider's cache holds, but for tools that are offered at times or come late; hooks may change the rest. */
export async function prepareRequest(run: PromptRun, window: RunWindow): Promise<() => Promise<ModelRequest>> {
  const { environment, session } = run;
  const { hooks } = environment;
  const system = await hooks.trace("system", await systemOf(run), hookContext(run));
  const offerTools = createOffer(run);
  const watch = createCacheWatch({ state: session.state, emit: run.emit, model: () => run.last.model ?? "" });
  const fixed = { system: resultOf(system), cacheKey: cacheKeyOf(session.id) };
  let offered = await offerTools();
  const seeTools = async () => watch.see("tools", await describeStages(offered, run.toolStages));
  await seeTools();
  watch.see("system", system);
  return async () => {
    const context = hookContext(run);
    const before = offered;
    offered = await offerTools();
    if (offered !== before) await seeTools();
    const { tools } = offered;
    const entries = window.view(session.entries(), fixed.system.length + offered.characters);
    const settings = await hooks.trace("request", settingsOf(run), context);
    watch.see(
      "request",
      settings.map(({ by, value }) => ({ by, value: value.providerOptions })),
    );
    const request = { ...fixed, tools, entries, settings: resultOf(settings) };
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

/** What the model is told of the tools. */
interface Offered {
  isOffered(tool: Tool): boolean;
  tools: ModelRequest["tools"];
  characters: number;
}

/** Tools are described once; the result is another one only where other tools are offered. */
function createOffer(run: PromptRun): () => Promise<Offered> {
  const namesOf = (list: { name: string }[]) => list.map(({ name }) => name).join();
  let offered: Offered | undefined;
  return async () => {
    await run.renewTools();
    const isOffered = offerNow(run);
    const wanted = [...run.tools.values()].filter(isOffered);
    if (offered !== undefined && namesOf(wanted) === namesOf(offered.tools)) return offered;
    const described = await Promise.all(wanted.map(describeTool));
    offered = { isOffered, tools: described, characters: JSON.stringify(described).length };
    return offered;
  };
}

/** Which tools the model is told of as things stand. Throws TOOL_FAILED where a tool cannot say. */
export function offerNow({ last, session, tools }: PromptRun): (tool: Tool) => boolean {
  const request = { model: last.model ?? "", sessionId: session.id, tools: [...tools.keys()] };
  return (tool) => isOfferedIn(request, tool);
}

/** Throws TOOL_FAILED where the tool cannot say. */
export function isOfferedIn(request: Parameters<NonNullable<Tool["offer"]>>[0], { name, offer }: Tool): boolean {
  try {
    return offer === undefined || offer(request);
  } catch (error) {
    throw new AgentError("TOOL_FAILED", { tool: name, reason: `its offer failed: ${errorMessage(error)}` }, { cause: error });
  }
}

/** What a provider reads of the tools, as each plugin left it. */
async function describeStages({ isOffered, tools }: Offered, stages: PromptRun["toolStages"]): Promise<Stage<unknown>[]> {
  const last = resultOf(stages);
  return Promise.all(
    stages.map(async ({ by, value }) => ({ by, value: value === last ? tools : await Promise.all(value.filter(isOffered).map(describeTool)) })),
  );
}

async function describeTool({ name, description, input }: Tool): Promise<ModelRequest["tools"][number]> {
  const schema = await toJsonSchema(input).catch((error: unknown) => {
    throw new AgentError("TOOL_FAILED", { tool: name, reason: `its input cannot be given as JSON Schema: ${errorMessage(error)}` }, { cause: error });
  });
  return { type: "function", name, description, inputSchema: schema as any };
}

async function systemOf({ request, config, profile, environment, tools }: PromptRun): Promise<string> {
  const text = await environment.systemPrompt(request.system ?? config.systemPrompt ?? profile?.prompt);
  const schema = request.outputSchema === undefined ? undefined : outputInstruction(request.outputSchema);
  // Also where the user's own text stands for ours: without it the fences say nothing.
  const note = tools.size > 0 ? FENCE_NOTE : undefined;
  return [text, note, config.appendSystem, request.appendSystem, schema].filter((part) => part !== undefined && part !== "").join("\n\n");
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
