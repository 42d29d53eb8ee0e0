import type { BigIntStats } from "node:fs";

/** Tells apart two contents of one path. */
type Version = string;

const versionOf = (stats: BigIntStats): Version => `${stats.mtimeNs} ${stats.size}`;

/** What a session knows of a file: it never read it, it read another version, or it read this one. */
export type Knowledge = "unread" | "changed" | "current";

export interface ReadRecord {
  remember(sessionId: string, path: string, stats: BigIntStats): void;
  knowledge(sessionId: string, path: string, stats: BigIntStats): Knowledge;
  /** Runs `work` when no other change of `path` is under way, so that parallel edits of one file do not undo each other. */
  changing<T>(path: string, work: () => Promise<T>): Promise<T>;
  /** The same for several paths, which must differ. */
  changingAll<T>(paths: string[], work: () => Promise<T>): Promise<T>;
  /** Resolves when no change is under way: one that is aborted still tidies up. */
  settled(): Promise<void>;
}

export function createReadRecord(): ReadRecord {
  const seen = new Map<string, Map<string, Version>>();
  const underWay = new Map<string, Promise<unknown>>();

  const changing: ReadRecord["changing"] = async (path, work) => {
    const turn = (underWay.get(path) ?? Promise.resolve()).then(work, work);
    underWay.set(path, turn);
    try {
      return await turn;
    } finally {
      if (underWay.get(path) === turn) underWay.delete(path);
    }
  };

  return {
    changing,
    // Everybody waits in the same order, so that no two wait for each other.
    changingAll: (paths, work) => paths.toSorted().reduceRight((inner, path) => () => changing(path, inner), work)(),
    settled: async () => {
      await Promise.allSettled(underWay.values());
    },
    remember(sessionId, path, stats) {
      const files = seen.get(sessionId) ?? new Map<string, Version>();
      seen.set(sessionId, files.set(path, versionOf(stats)));
    },
    knowledge(sessionId, path, stats) {
      const version = seen.get(sessionId)?.get(path);
      if (version === undefined) return "unread";
      return version === versionOf(stats) ? "current" : "changed";
    },
  };
}
