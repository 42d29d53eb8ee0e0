/** The public face of agent-runtime: everything a plugin, a provider, a tool or an embedding program needs. */
export { z } from "zod";
export { ChatError, withExactToolCalls, withMergedDeltas } from "./chat-completions.ts";
export { cleanText } from "./clean-text.ts";
export type { Config } from "./config.ts";
export { embeddingModel } from "./embedding-model.ts";
export { AgentError, type ErrorCode } from "./errors.ts";
export type { AgentEvent, RunResult } from "./events.ts";
export type { Decision, Hooks, PermissionRequest, PermissionVerdict } from "./hooks.ts";
export { type Fetch, type GuardedFetch, withLimits } from "./http.ts";
export type { Log } from "./log.ts";
export type { Message } from "./message.ts";
export { fetchModelList } from "./model-list.ts";
export {
  type Contribution,
  definePlugin,
  type LazyPlugin,
  type Plugin,
  type PluginCommand,
  type PluginContext,
} from "./plugin.ts";
export { type EmbeddingModel, type LanguageModel, type ModelInfo, type Provider, provider, type TextModelPiece, textModel } from "./provider.ts";
export { createRuntime, type PromptOptions, type PromptRequest, type Run, type RunLimits, type Runtime, type RuntimeOptions } from "./runtime.ts";
export { type Attachment, type JsonSchema, type Tool, type ToolContext, type ToolOutput, type ToolResult, tool } from "./tool.ts";
export { matchesWildcard } from "./wildcard.ts";
