import { ChatError } from "./chat-completions.ts";
import { AgentError } from "./errors.ts";
import type { Fetch } from "./http.ts";
import type { EmbeddingModel } from "./provider.ts";

/** Where texts are embedded, and by whom. */
export interface EmbeddingEndpoint {
  /** Id of the provider, for errors. */
  provider: string;
  /** Without a slash at its end: the request goes to `{baseURL}/embeddings`. */
  baseURL: string;
  headers: Record<string, string>;
  /** Further fields of the body. */
  body?: Record<string, unknown>;
  fetch: Fetch;
}

interface Answer {
  data?: unknown;
  error?: unknown;
  usage?: { prompt_tokens?: unknown; total_tokens?: unknown; cost?: unknown } | null;
}

/**
 * A model of an endpoint on the OpenAI wire: `POST {baseURL}/embeddings`. Vectors are put in the order of the texts by their
 * `index`, which the packages of the AI SDK do not read. Throws an error with `statusCode`, `responseBody` and `responseHeaders`
 * for a refusal, RESPONSE_INVALID for what is no list of vectors, and what `fetch` throws.
 */
export function embeddingModel(modelId: string, { provider, baseURL, headers, body, fetch }: EmbeddingEndpoint): EmbeddingModel {
  return {
    specificationVersion: "v3",
    provider,
    modelId,
    maxEmbeddingsPerCall: undefined,
    supportsParallelCalls: true,
    async doEmbed({ values, abortSignal, headers: own }) {
      const response = await fetch(`${baseURL}/embeddings`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers, ...withoutUnset(own) },
        body: JSON.stringify({ model: modelId, input: values, ...body }),
        ...(abortSignal && { signal: abortSignal }),
      });
      const answer = await readAnswer(response, provider);
      const { tokens, costUsd } = readUsage(answer.usage);
      return {
        embeddings: inOrder(answer.data, provider),
        warnings: [],
        ...(tokens !== undefined && { usage: { tokens } }),
        ...(costUsd !== undefined && { providerMetadata: { "agent-runtime": { costUsd } } }),
      };
    },
  };
}

const withoutUnset = (headers: Record<string, string | undefined> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)) as Record<string, string>;

async function readAnswer(response: Response, provider: string): Promise<Answer> {
  const text = await response.text();
  const responseHeaders = Object.fromEntries(response.headers.entries());
  if (!response.ok)
    throw Object.assign(new Error(`POST /embeddings: ${response.status} ${response.statusText}`), {
      statusCode: response.status,
      responseBody: text,
      responseHeaders,
    });
  const answer = parse(text);
  if (typeof answer !== "object" || answer === null) throw new AgentError("RESPONSE_INVALID", { model: provider, reason: "what it gave is no JSON object." });
  if ((answer as Answer).error) throw new ChatError((answer as Answer).error, responseHeaders);
  return answer;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Where every item has an `index` they stand by it, else as they came. An index that comes twice leaves a hole, and so a refusal. */
function inOrder(data: unknown, provider: string): number[][] {
  const refuse = (reason: string) => new AgentError("RESPONSE_INVALID", { model: provider, reason });
  if (!Array.isArray(data)) throw refuse("it holds no list of vectors.");
  const items = data as ({ index?: unknown; embedding?: unknown } | null)[];
  const hasIndex = items.every((item) => Number.isInteger(item?.index));
  const vectors = hasIndex ? items.map((_, place) => items.find((item) => item?.index === place)?.embedding) : items.map((item) => item?.embedding);
  if (!vectors.every(isVector)) throw refuse("a vector is missing, or is no list of numbers.");
  return vectors;
}

const isVector = (value: unknown): value is number[] => Array.isArray(value) && value.length > 0 && value.every(Number.isFinite);

function readUsage(usage: Answer["usage"]): { tokens?: number; costUsd?: number } {
  const read = (value: unknown) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined);
  const [tokens, costUsd] = [read(usage?.prompt_tokens) ?? read(usage?.total_tokens), read(usage?.cost)];
  return { ...(tokens !== undefined && { tokens }), ...(costUsd !== undefined && { costUsd }) };
}
