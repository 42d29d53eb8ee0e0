import { existsSync } from "node:fs";
import type { Rest, Rests } from "./route.ts";
import { createMemoryStore, openStore, type Store } from "./store.ts";

interface Kept {
  rests: Rest;
}

export interface RestsOptions {
  /** Directory of their store; without one they are kept in memory. */
  dir?: string;
  /** What a provider says of a failure may repeat the key. */
  redact(text: string): string;
  now?(): number;
}

/** A row of failures is forgotten when its last rest lies so far back: what fails then is news. */
const FORGET_MS = 3_600_000;
/** No rest is longer, so one that ends later was noted while the clock was wrong. */
const LONGEST_MS = 86_400_000;
const MESSAGE_LIMIT = 1000;
/** How old what is known of other runs may be. */
const FRESH_MS = 1000;

/**
 * The routes that rest, shared by all runs of a data directory. Nothing is read before the first question and nothing is
 * written before the first failure; a store that cannot be read or written costs the memory of it and nothing else.
 */
export function createRests({ dir, redact, now = Date.now }: RestsOptions): Rests & { close(): Promise<void> } {
  let opened: Promise<Store<Kept>> | undefined;
  let readAt = now();
  const open = () => {
    if (opened === undefined) readAt = now();
    return (opened ??= openRests(dir));
  };
  const find = (store: Store<Kept>, route: string) => usable(store.get("rests", route), now());
  /** Other runs note failures meanwhile. A store that has become a newer version's is not read again. */
  const refresh = async (store: Store<Kept>) => {
    readAt = now();
    await store.refresh().catch(() => {});
  };
  return {
    async get(route) {
      const store = await open();
      if (Math.abs(now() - readAt) >= FRESH_MS) await refresh(store);
      return find(store, route);
    },
    async put(route, next) {
      const store = await open();
      await refresh(store);
      for (const [id, rest] of Object.entries(store.all("rests"))) if (usable(rest, now()) === undefined) store.remove("rests", id);
      const rest = next(find(store, route));
      store.put("rests", route, { ...rest, error: { ...rest.error, message: redact(rest.error.message.slice(0, MESSAGE_LIMIT)) } });
      await store.write();
    },
    async clear(route, startedAt) {
      // Where no run has ever failed there is nothing to end.
      const store = opened === undefined && (dir === undefined || !existsSync(dir)) ? undefined : await open();
      if (store?.get("rests", route) === undefined) return;
      await refresh(store);
      if ((store.get("rests", route)?.at ?? 0) > startedAt) return;
      store.remove("rests", route);
      await store.write();
    },
    close: async () => (await opened)?.close(),
  };
}

async function openRests(dir: string | undefined): Promise<Store<Kept>> {
  const inMemory = () => createMemoryStore<Kept>({ rests: {} });
  return dir === undefined ? inMemory() : openStore<Kept>({ dir, version: 1, defaults: { rests: {} } }).catch(inMemory);
}

/** What a file holds may be anything. */
function usable(rest: Partial<Rest> | undefined, now: number): Rest | undefined {
  const { until, at, failures, error } = rest ?? {};
  if (typeof until !== "number" || typeof at !== "number" || typeof failures !== "number") return undefined;
  if (typeof error?.code !== "string" || typeof error.message !== "string") return undefined;
  return until + FORGET_MS < now || until - now > LONGEST_MS ? undefined : (rest as Rest);
}
