/** After a failure nobody asks for that long. */
export const PAUSE_MS = 60_000;

export interface TroubleNeeds {
  report(message: string): void;
  /** ms since 1970 */
  now(): number;
  /** What is told; the reason follows. */
  what: string;
}

/** What only helps and fails is told once until it works again, and left alone for a while. */
export function createTrouble({ report, now, what }: TroubleNeeds) {
  let pausedUntil = 0;
  let isTold = false;
  return {
    isPaused: () => now() < pausedUntil,
    /** Undefined where the work fails; throws only when the signal aborts. The work may have a limit of time of its own. */
    async guard<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
      try {
        const done = await work();
        isTold = false;
        return done;
      } catch (error) {
        signal.throwIfAborted();
        pausedUntil = now() + PAUSE_MS;
        if (!isTold) report(`${what}: ${reasonOf(error)}`);
        isTold = true;
        return undefined;
      }
    },
  };
}

/** Of what nobody has interrupted: then its time was up. */
export function reasonOf(error: unknown): string {
  if ((error as { code?: unknown }).code === "INTERRUPTED" || (error as Error).name === "TimeoutError") return "no answer came in time.";
  return error instanceof Error ? error.message : String(error);
}
