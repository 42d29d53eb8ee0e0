import { abortError, wait } from "./abort.ts";
import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { newId } from "./id.ts";
import type { Log } from "./log.ts";
import { NO_TOKENS } from "./message.ts";
import type { ModelId } from "./model-id.ts";
import { resolveChain } from "./models.ts";
import type { Answering, ModelOpener } from "./open-model.ts";
import type { EmbedAnswer, EmbedRequest } from "./plugin.ts";
import type { EmbeddingModel } from "./provider.ts";
import type { ReadyProvider } from "./ready-provider.ts";
import { type Rests, readRetry, route } from "./route.ts";
import type { Turn } from "./turn.ts";

/** What embedding outside of a run takes; the same for every plugin of a configuration. */
export interface EmbedDependencies {
  config: Readonly<Config>;
  untrusted: readonly string[];
  rests: Rests;
  log: Log;
  /** Models of providers with these options over those of the configuration. */
  openerWith(options: undefined): ModelOpener;
}

/** Texts of one request where the model does not say how many it takes: every service that is known takes that many. */
const BATCH = 96;

/** What is embedded so far. */
interface Work {
  texts: string[];
  vectors: number[][];
  tokens: number | undefined;
  costUsd: number | undefined;
}

/**
 * Embeds texts, in batches one after the other. Each goes the way of an answer: the engine that retries, the table of errors, the
 * pace and the limits of its provider; only that what comes back are no words. Throws an AgentError; no other model ever
 * takes this one's place, for its vectors would mean something else.
 */
export async function embedForPlugin({ model, texts, signal }: EmbedRequest, dependencies: EmbedDependencies): Promise<EmbedAnswer> {
  const work: Work = { texts, vectors: [], tokens: 0, costUsd: 0 };
  const { openerWith, rests, config, log } = dependencies;
  const opener = openerWith(undefined);
  const opened = await opener.open(await resolveModel(model, opener, dependencies), (id, ready) => openEmbeddings(id, ready, work));
  const chain = route([opened], readRetry(config.retry), { wait, now: Date.now, random: Math.random, rests });
  const emit = (event: { type: string }) => log.debug(`embeddings: ${event.type}`, { ...event });
  while (work.vectors.length < texts.length) {
    const step = { messageId: newId("msg"), emit, newId, now: Date.now, caughtUp: () => undefined, signal };
    await chain.ask({ system: "", entries: [], tools: [], settings: { headers: {}, providerOptions: {} } }, step).catch((error: unknown) => {
      throw signal.aborted ? abortError(signal) : error;
    });
  }
  const { vectors, tokens, costUsd } = work;
  return { vectors, model: opened.model, ...(tokens !== undefined && { tokens }), ...(costUsd !== undefined && { costUsd }) };
}

async function resolveModel(model: string, opener: ModelOpener, { config, untrusted }: EmbedDependencies): Promise<ModelId> {
  const chain = await resolveChain({ model, fallback: [] }, { config, configSource: undefined, profile: undefined, untrusted, ...opener });
  const [id, other] = chain.ids;
  if (id === undefined || other !== undefined) throw new AgentError("MODEL_INVALID", { id: model, reason: "embeddings are of one model, without a fallback." });
  return id;
}

async function openEmbeddings(id: ModelId, ready: ReadyProvider, work: Work): Promise<Answering> {
  const made = await makeModel(id, ready);
  const most = Math.max(1, Math.min(BATCH, (await made.maxEmbeddingsPerCall) ?? BATCH));
  return async (_request, { signal }) => {
    const batch = work.texts.slice(work.vectors.length, work.vectors.length + most);
    const { embeddings, usage, providerMetadata } = await made.doEmbed({ values: batch, abortSignal: signal });
    checkVectors(embeddings, { model: `${id.provider}/${id.model}`, count: batch.length, before: work.vectors[0] });
    const costUsd = readCost(providerMetadata);
    work.vectors.push(...embeddings);
    work.tokens = sum(work.tokens, usage?.tokens);
    work.costUsd = sum(work.costUsd, costUsd);
    return toTurn(usage?.tokens, costUsd);
  };
}

/** What fails here is the plugin: nothing was sent. */
async function makeModel({ provider, model }: ModelId, ready: ReadyProvider): Promise<EmbeddingModel> {
  const broken = (reason: string, cause?: unknown) => new AgentError("PROVIDER_BROKEN", { provider, reason }, { cause });
  try {
    const factory = await ready.embeddings();
    if (factory === undefined) throw new AgentError("EMBEDDINGS_MISSING", { provider });
    const made = await factory(model);
    if (typeof made?.doEmbed === "function") return made;
  } catch (error) {
    throw error instanceof AgentError ? error : broken(errorMessage(error), error);
  }
  throw broken(`what it gives for ${model} is no model of embeddings.`);
}

/** One that is missing would give each text after it the vector of another. */
function checkVectors(vectors: unknown[], { model, count, before }: { model: string; count: number; before: number[] | undefined }): void {
  const refuse = (reason: string) => new AgentError("RESPONSE_INVALID", { model, reason });
  if (vectors.length !== count) throw refuse(`it gave ${vectors.length} vectors for ${count} texts.`);
  const length = (before ?? (vectors[0] as number[] | undefined))?.length ?? 0;
  const isWhole = (vector: unknown) => Array.isArray(vector) && vector.length > 0 && vector.every(Number.isFinite);
  if (!vectors.every(isWhole)) throw refuse("a vector is no list of numbers.");
  const other = vectors.find((vector) => (vector as number[]).length !== length) as number[] | undefined;
  if (other !== undefined) throw refuse(`one vector has ${length} dimensions, another ${other.length}.`);
}

function readCost(metadata: Record<string, any> | undefined): number | undefined {
  const cost: unknown = metadata?.["agent-runtime"]?.costUsd ?? metadata?.openrouter?.usage?.cost;
  return typeof cost === "number" && cost >= 0 ? cost : undefined;
}

/** One part that nobody knows makes the whole unknown. */
const sum = (total: number | undefined, part: number | undefined): number | undefined => (total === undefined || part === undefined ? undefined : total + part);

/** An answer without words: its numbers alone count. */
function toTurn(tokens: number | undefined, costUsd: number | undefined): Turn {
  return {
    message: { role: "assistant", content: [] },
    calls: [],
    text: "",
    reason: "stop",
    tokens: { ...NO_TOKENS, input: tokens ?? 0 },
    ...(costUsd !== undefined && { costUsd }),
    costSource: costUsd === undefined ? "unknown" : "provider",
  };
}
