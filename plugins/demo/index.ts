import { AgentError, definePlugin, type LanguageModel, type ModelInfo, provider, z } from "agent-runtime";
import { createEcho } from "./echo.ts";
import { createScript } from "./script.ts";
import { createTour } from "./tour.ts";

const MODELS: ModelInfo[] = ["tour", "echo", "script"].map((id) => ({
  id,
  name: `Demo: ${id}`,
  context: 1_000_000,
  price: { input: 0, output: 0 },
  tools: true,
}));

/** ms between two words of demo/tour, so that one sees it being written; `delayMs` of the provider's options. */
const DEFAULT_DELAY_MS = 15;

/** Models that need no key and no network. */
export default definePlugin({
  name: "demo",
  options: z.strictObject({}),
  setup: ({ cwd }) => ({
    providers: [
      provider({
        id: "demo",
        name: "Demo",
        keyless: true,
        create:
          ({ script, delayMs = DEFAULT_DELAY_MS }) =>
          (modelId) =>
            openModel(modelId, { cwd, script: String(script ?? ""), delayMs: Number(delayMs) }),
        models: async () => MODELS,
      }),
    ],
  }),
});

/** `tour`, `echo`, `script` with the file of the options, or `script:PATH`. */
async function openModel(modelId: string, { cwd, script, delayMs }: { cwd: string; script: string; delayMs: number }): Promise<LanguageModel> {
  if (modelId === "echo") return createEcho();
  if (modelId === "tour") return createTour(delayMs);
  if (modelId === "script") return createScript(modelId, script, cwd);
  if (modelId.startsWith("script:")) return createScript(modelId, modelId.slice("script:".length), cwd);
  throw new AgentError("MODEL_UNAVAILABLE", { provider: "demo", model: modelId, reason: "it has tour, echo and script." });
}
