import { AsyncLocalStorage } from "node:async_hooks";
import { withoutFenceIds } from "./fence.ts";
import type { Fetch } from "./http.ts";
import type { Log } from "./log.ts";
import type { ModelId } from "./model-id.ts";
import { type Asked, canonize, copyBody, createRecorder, createReplay, hashOf, isSafe, toAnswer, toResponse } from "./recording.ts";
import type { Redactor } from "./redact.ts";
import type { ResponseCache } from "./response-cache.ts";
import type { Turn } from "./turn.ts";

/** What stands between the providers and the network while model traffic is recorded, replayed or cached. */
export interface Traffic {
  /** Providers that need no key, because nothing is sent; undefined where something is. */
  replayed?: { providers(): Promise<string[]> };
  /** The client that a provider is given instead of `fetch`. */
  wrap(fetch: Fetch, provider: string): Fetch;
  /** Runs one request to a model from its sending to its last piece: what is fetched meanwhile belongs to it. */
  ask(id: ModelId, run: () => Promise<Turn>): Promise<Turn>;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

export interface TrafficOptions {
  /** Absolute paths. */
  record?: string | undefined;
  replay?: string | undefined;
  cache?: ResponseCache | undefined;
  /** As `RecordingPlace` has them. */
  varying: Record<string, string>;
  redactor: Redactor;
  log: Log;
}

/** One request to a model while it is under way. */
interface Asking {
  model: string;
  /** Keys of the answers that came from the cache. */
  hits: string[];
  /** Exchanges that went out; whether each is worth keeping is known when the turn is whole. */
  kept: (() => Promise<void>)[];
  isLive: boolean;
}

type Exchange = (asked: Asked, send: () => Promise<Response>, signal: AbortSignal | null | undefined) => Promise<Response>;

/** Replays, or else records what comes from the cache or the network. */
export function createTraffic({ record, replay, cache, ...rest }: TrafficOptions): Traffic {
  const asking = new AsyncLocalStorage<Asking>();
  const recorder = record === undefined ? undefined : createRecorder({ dir: record, ...rest });
  const replayed = replay === undefined ? undefined : createReplay({ dir: replay, ...rest });
  const writing = new Set<Promise<void>>();
  const exchange: Exchange = async (asked, send, signal) => {
    signal?.throwIfAborted();
    if (replayed !== undefined) return replayed.answer(asked);
    const sendOrFind = cache === undefined ? send : () => findOrSend(asked, send, { cache, asking: asking.getStore(), redactor: rest.redactor });
    return recorder === undefined ? sendOrFind() : recorder.record(asked, sendOrFind, signal);
  };
  return {
    ...(replayed && { replayed }),
    wrap(fetch, provider) {
      const wrapped = async (input: Parameters<Fetch>[0], init?: RequestInit) => {
        const asked = { provider, model: asking.getStore()?.model ?? "", body: readBody(init?.body) };
        return exchange(asked, () => fetch(input, init), init?.signal);
      };
      return wrapped as Fetch;
    },
    async ask(id, run) {
      const store: Asking = { model: id.model, hits: [], kept: [], isLive: false };
      const turn = await asking.run(store, run).catch(async (error: unknown) => {
        // An answer that cannot be used would not become better the next time.
        for (const key of store.hits) await cache?.remove(key);
        throw error;
      });
      if (turn.reason === "stop" || turn.reason === "tool-calls") {
        for (const keep of store.kept) {
          const done = keep().finally(() => writing.delete(done));
          writing.add(done);
        }
      }
      return store.hits.length > 0 && !store.isLive ? { ...turn, costUsd: 0, cached: true } : turn;
    },
    async close() {
      await Promise.all([...writing, recorder?.close()]);
    },
  };
}

function readBody(body: unknown): unknown {
  if (body === undefined || body === null) return null;
  const text = body instanceof Uint8Array ? Buffer.from(body).toString("utf8") : String(body);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** How long after a whole answer its body may take to end. */
const DRAIN_MS = 2000;

interface Finding {
  cache: ResponseCache;
  asking: Asking | undefined;
  redactor: Redactor;
}

/** Only what a model was asked is found or kept: a list of models or a token is not. */
async function findOrSend(asked: Asked, send: () => Promise<Response>, { cache, asking, redactor }: Finding): Promise<Response> {
  if (asking === undefined || asked.body === null) return send();
  const key = hashOf({ ...asked, body: canonize(asked.body, withoutFenceIds) });
  const found = await cache.find(key);
  if (found !== undefined) {
    asking.hits.push(key);
    return toResponse(found);
  }
  asking.isLive = true;
  const response = await send();
  if (response.status !== 200) return response;
  let resolve = (_: Uint8Array[] | undefined) => {};
  const body = new Promise<Uint8Array[] | undefined>((done) => (resolve = done));
  asking.kept.push(async () => {
    setTimeout(resolve, DRAIN_MS, undefined).unref();
    const pieces = await body;
    if (pieces !== undefined && isSafe(pieces, redactor)) await cache.store(key, toAnswer(response, pieces));
  });
  return copyBody(response, (end) => resolve(end.kind === "whole" || end.kind === "left" ? end.pieces : undefined));
}
