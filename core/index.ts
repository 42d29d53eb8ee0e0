/** The public face of agent-runtime: everything a plugin, a provider, a tool or an embedding program needs. */
export { z } from "zod";
export { AgentError, type ErrorCode, toAgentError } from "./errors.ts";
export { type Config, configDirectory, dataDirectory, hostEnvironment, type LoadConfigOptions, type LoadedConfig, loadConfig } from "./config.ts";
export { ChatError, type ExactToolCallsOptions, type RawCall, withExactToolCalls, withMergedDeltas } from "./chat-completions.ts";
export { type Fetch, type GuardedFetch, type GuardedRequest, type HttpLimits, withLimits } from "./http.ts";
export type { AgentEvent, EventOf, EventType, RunResult, ToolState } from "./events.ts";
export type { Log } from "./log.ts";
export type { Decision, Hooks, PermissionRequest, PermissionVerdict } from "./hooks.ts";
export { type Entry, type Message, NO_TOKENS, type TokenCount } from "./message.ts";
export { type Contribution, definePlugin, type LazyPlugin, type Plugin, type PluginCommand, type PluginContext } from "./plugin.ts";
export { type LanguageModel, type ModelInfo, type Provider, provider, type TextModelAnswer, type TextModelPiece, textModel } from "./provider.ts";
export { type Attachment, type JsonSchema, type Tool, type ToolContext, type ToolOutput, type ToolResult, tool } from "./tool.ts";
export { createRuntime, type PromptOptions, type PromptRequest, type Run, type RunLimits, type Runtime, type RuntimeOptions } from "./runtime.ts";
export { grantTrust, listTrust, revokeTrust, type TrustEntry, type TrustState, trustState } from "./trust.ts";
export { createMemorySessions, createSessions, type Session, type SessionMeta, type Sessions } from "./session.ts";
export { createRedactor } from "./redact.ts";
