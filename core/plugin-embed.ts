import { AgentError } from "./errors.ts";
import type { EmbedAnswer, EmbedRequest } from "./plugin.ts";
import type { PluginAskDependencies } from "./plugin-ask.ts";

export type EmbedDependencies = PluginAskDependencies;

export async function embedForPlugin(_request: EmbedRequest, _dependencies: EmbedDependencies): Promise<EmbedAnswer> {
  throw new AgentError("NOT_AVAILABLE", { name: "Embedding" });
}
