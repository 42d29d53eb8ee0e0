import { joinSignals, orAborted } from "./abort.ts";
import { AgentError } from "./errors.ts";
import type { Fetch } from "./http.ts";
import type { ModelInfo, Provider, ProviderOptions, ProviderServices } from "./provider.ts";
import type { Redactor } from "./redact.ts";

/** What a provider lists; undefined where it gives no list. Never rejects, and ends at once when the signal aborts. */
export type KnownModels = (signal: AbortSignal) => Promise<ModelInfo[] | undefined>;

export interface KnownModelsOptions {
  options: ProviderOptions;
  services: ProviderServices;
  redact: Redactor["redact"];
  /** ms for the whole, bytes of the body after decompression, and entries that are looked at. */
  limits?: ListLimits;
}

interface ListLimits {
  timeoutMs: number;
  maxBytes: number;
  maxModels: number;
}

/** A list only makes a hint better: it must not make anybody wait for its error. */
const LIMITS: ListLimits = { timeoutMs: 3000, maxBytes: 8 * 1024 * 1024, maxModels: 2000 };

/** Asks a provider for its list when it is first needed, and once: also a list that failed is not asked for again, unless by an abort. */
export function createKnownModels(provider: Provider, { limits = LIMITS, ...rest }: KnownModelsOptions): KnownModels {
  let asked: Promise<ModelInfo[] | undefined> | undefined;
  return (signal) => {
    asked ??= readModels(provider, { limits, ...rest }, signal).catch(() => {
      if (signal.aborted) asked = undefined;
      return undefined;
    });
    return orAborted(asked, signal).catch(() => undefined);
  };
}

/** It will stand in the text of an error, on somebody's terminal. */
const isPrintable = (id: string, redact: Redactor["redact"]): boolean => typeof id === "string" && /^[^\s\p{C}]{1,200}$/u.test(id) && redact(id) === id;

async function readModels(provider: Provider, known: Required<KnownModelsOptions>, run: AbortSignal): Promise<ModelInfo[] | undefined> {
  const { options, services, redact, limits } = known;
  const { timeoutMs: ms, maxBytes, maxModels } = limits;
  const error = () => new AgentError("PROVIDER_TIMEOUT", { model: provider.id, stage: "whole", reason: `no list of models within ${ms / 1000} s.` });
  const { signal, release } = joinSignals([run], { ms, error });
  const fetch: Fetch = (input, init) => services.fetch(input, { ...init, signal, maxBytes } as RequestInit);
  try {
    const models = await orAborted(Promise.resolve(provider.models?.(options, { ...services, fetch })), signal);
    const shown = models?.filter(({ id }) => isPrintable(id, redact)).slice(0, maxModels);
    // A list of nothing says nothing.
    return shown?.length === 0 ? undefined : shown;
  } finally {
    release();
  }
}
