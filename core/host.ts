/** What a host such as the command line needs beside the public face: configuration, trust and sessions without a run. */

export { attachedText, findDataFault } from "./attach.ts";
export { faultOfKey, LONGEST_KEY, type ProviderKey, readStoredKeys, removeKey, storeKey } from "./auth.ts";
export { withoutControls } from "./clean-text.ts";
export { configDirectory, dataDirectory, hostEnvironment, type LoadConfigOptions, type LoadedConfig, loadConfig } from "./config.ts";
export { editConfig, projectConfigFile, splitKey, userConfigFile } from "./config-edit.ts";
export { SECRET_NAME, secretsOf } from "./config-environment.ts";
export { toAgentError } from "./errors.ts";
export type { EventOf, EventType, ToolState } from "./events.ts";
export { withoutFence } from "./fence.ts";
export { addTokens, cacheHitRate, type Entry, NO_TOKENS, saysNothing, type TokenCount, type UserContent } from "./message.ts";
export { currentDirectory } from "./paths.ts";
export { isStartedByRun } from "./processes.ts";
export { createRedactor } from "./redact.ts";
export { clearResponseCache, measureResponseCache, responseCacheDirectory } from "./response-cache.ts";
export { createMemorySessions, createSessions, type Session, type SessionMeta, type Sessions } from "./session.ts";
export { grantTrust, listTrust, revokeAllTrust, revokeTrust, surveyWorkspace, type TrustEntry, type TrustState, trustOf, trustState } from "./trust.ts";
export { stepOf, type UndoReport, undoChanges } from "./undo.ts";
