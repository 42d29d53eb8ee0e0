import { expect, test } from "vitest";
import { readSources, type SyntaxNode } from "./source.ts";

/** Names that a file exports, types included. */
function exportedNames(path: string): string[] {
  const file = readSources("core").find((source) => source.path === path);
  if (file === undefined) throw new Error(`${path} is missing`);
  return (file.tree.body as SyntaxNode[])
    .flatMap((node) => (node.type === "ExportNamedDeclaration" ? (node.specifiers as { exported: { name: string } }[]) : []))
    .map(({ exported }) => exported.name)
    .sort();
}

test("the public face is small, and a change of it is a decision", () => {
  const names = exportedNames("core/index.ts");
  expect(names.length).toBeLessThanOrEqual(49);
  expect(names).toMatchInlineSnapshot(`
    [
      "AgentError",
      "AgentEvent",
      "Attachment",
      "ChatError",
      "Config",
      "Contribution",
      "Decision",
      "EmbeddingModel",
      "ErrorCode",
      "Fetch",
      "GuardedFetch",
      "Hooks",
      "JsonSchema",
      "LanguageModel",
      "LazyPlugin",
      "Log",
      "Message",
      "ModelInfo",
      "PermissionRequest",
      "PermissionVerdict",
      "Plugin",
      "PluginCommand",
      "PluginContext",
      "PromptOptions",
      "PromptRequest",
      "Provider",
      "Run",
      "RunLimits",
      "RunResult",
      "Runtime",
      "RuntimeOptions",
      "TextModelPiece",
      "Tool",
      "ToolContext",
      "ToolOutput",
      "ToolResult",
      "cleanText",
      "createRuntime",
      "definePlugin",
      "embeddingModel",
      "fetchModelList",
      "matchesWildcard",
      "provider",
      "textModel",
      "tool",
      "withExactToolCalls",
      "withLimits",
      "withMergedDeltas",
      "z",
    ]
  `);
});

test("what hosts need besides is kept apart", () => {
  expect(exportedNames("core/host.ts")).toMatchInlineSnapshot(`
    [
      "Entry",
      "EventOf",
      "EventType",
      "LONGEST_KEY",
      "LoadConfigOptions",
      "LoadedConfig",
      "NO_TOKENS",
      "ProviderKey",
      "SECRET_NAME",
      "Session",
      "SessionMeta",
      "Sessions",
      "TokenCount",
      "ToolState",
      "TrustEntry",
      "TrustState",
      "UndoReport",
      "UserContent",
      "addTokens",
      "attachedText",
      "cacheHitRate",
      "clearResponseCache",
      "configDirectory",
      "createMemorySessions",
      "createRedactor",
      "createSessions",
      "currentDirectory",
      "dataDirectory",
      "editConfig",
      "faultOfKey",
      "findDataFault",
      "grantTrust",
      "hostEnvironment",
      "isStartedByRun",
      "listTrust",
      "loadConfig",
      "measureResponseCache",
      "projectConfigFile",
      "readStoredKeys",
      "removeKey",
      "responseCacheDirectory",
      "revokeAllTrust",
      "revokeTrust",
      "saysNothing",
      "secretsOf",
      "splitKey",
      "stepOf",
      "storeKey",
      "surveyWorkspace",
      "toAgentError",
      "trustOf",
      "trustState",
      "undoChanges",
      "userConfigFile",
      "withoutControls",
      "withoutFence",
    ]
  `);
});
