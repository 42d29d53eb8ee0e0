/** For authors of plugins: a runtime to boot, a model that follows a script, and checks that the built-in plugins pass, too. */
export { type BootedAgent, type BootOptions, boot, type PromptReport } from "./boot.ts";
export { type Check, pluginChecks, providerChecks, toolChecks } from "./checks.ts";
export { call, calls, fail, type ScriptedTurn, say, scriptedProvider } from "./script.ts";
