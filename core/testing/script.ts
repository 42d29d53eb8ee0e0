import type { LanguageModelV3CallOptions, LanguageModelV3StreamPart } from "@ai-sdk/provider";
import { type LanguageModel, type Provider, provider } from "../provider.ts";

/** What the scripted model does in one step. */
export interface ScriptedTurn {
  text?: string;
  reasoning?: string;
  /** `input` is JSON text when it is a string, so that broken arguments can be scripted. */
  calls?: { tool: string; input: unknown; id?: string }[];
  finish?: "stop" | "length" | "content-filter" | "tool-calls" | "error" | "other";
  usage?: { input?: number; output?: number; cacheRead?: number };
  costUsd?: number;
  /** Thrown instead of an answer. */
  error?: unknown;
}

/** A final answer. */
export const say = (text: string): ScriptedTurn => ({ text });

/** A step that calls one tool. */
export const call = (tool: string, input: unknown = {}): ScriptedTurn => ({ calls: [{ tool, input }] });

/** A step that calls several tools at once. */
export const calls = (...list: [tool: string, input: unknown][]): ScriptedTurn => ({ calls: list.map(([tool, input]) => ({ tool, input })) });

/** A step in which the provider fails: with an AgentError, or with an HTTP status as an AI SDK package reports it. */
export const fail = (error: number | Error): ScriptedTurn => ({
  error: typeof error === "number" ? Object.assign(new Error(`scripted ${error}`), { statusCode: error, responseHeaders: {}, responseBody: "" }) : error,
});

/**
 * A provider "scripted" whose models answer with the turns of the script, one a request; the last one repeats.
 * `requests` gets the call options of each request.
 */
export function scriptedProvider(
  script: ScriptedTurn[] | ((options: LanguageModelV3CallOptions, index: number) => ScriptedTurn),
  requests: LanguageModelV3CallOptions[] = [],
): Provider {
  const next = (options: LanguageModelV3CallOptions): ScriptedTurn => {
    const index = requests.push(options) - 1;
    return typeof script === "function" ? script(options, index) : (script[Math.min(index, script.length - 1)] ?? say("The script is empty."));
  };
  return provider({ id: "scripted", keyless: true, create: () => (modelId) => scriptedModel(modelId, next) });
}

function scriptedModel(modelId: string, next: (options: LanguageModelV3CallOptions) => ScriptedTurn): LanguageModel {
  return {
    specificationVersion: "v3",
    provider: "scripted",
    modelId,
    supportedUrls: {},
    async doGenerate() {
      throw new Error("The runtime only streams.");
    },
    async doStream(options) {
      const turn = next(options);
      if (turn.error !== undefined) throw turn.error;
      const parts = partsOf(turn, modelId);
      return {
        stream: new ReadableStream<LanguageModelV3StreamPart>({
          start(controller) {
            for (const part of parts) controller.enqueue(part);
            controller.close();
          },
        }),
      };
    },
  };
}

let callCount = 0;

function partsOf({ text, reasoning, calls: asked = [], finish, usage = {}, costUsd = 0 }: ScriptedTurn, modelId: string): LanguageModelV3StreamPart[] {
  const { input = 100, output = 10, cacheRead = 0 } = usage;
  const reason = finish ?? (asked.length > 0 ? "tool-calls" : "stop");
  return [
    { type: "stream-start", warnings: [] },
    { type: "response-metadata", modelId },
    ...(reasoning === undefined ? [] : block("reasoning", reasoning)),
    ...(text === undefined ? [] : block("text", text)),
    ...asked.flatMap(({ tool, input: given, id = `call_${++callCount}` }): LanguageModelV3StreamPart[] => {
      const raw = typeof given === "string" ? given : JSON.stringify(given);
      return [
        { type: "tool-input-start", id, toolName: tool },
        { type: "tool-input-delta", id, delta: raw },
        { type: "tool-input-end", id },
        { type: "tool-call", toolCallId: id, toolName: tool, input: raw },
      ];
    }),
    {
      type: "finish",
      finishReason: { unified: reason, raw: reason },
      usage: {
        inputTokens: { total: input, noCache: input - cacheRead, cacheRead, cacheWrite: 0 },
        outputTokens: { total: output, text: output, reasoning: 0 },
      },
      providerMetadata: { "agent-runtime": { costUsd } },
    },
  ];
}

const block = (kind: "text" | "reasoning", text: string): LanguageModelV3StreamPart[] => [
  { type: `${kind}-start`, id: kind },
  { type: `${kind}-delta`, id: kind, delta: text },
  { type: `${kind}-end`, id: kind },
];
