/** A queue between the run that makes events and the one reader that takes them. */
export interface Channel<T> extends AsyncIterable<T> {
  send(value: T): void;
  /** A promise while the reader is far behind, undefined when there is nothing to wait for. */
  caughtUp(): Promise<void> | undefined;
  close(): void;
}

/** Values that may wait for the reader before the sender should pause. */
const COMFORTABLE_BACKLOG = 1_000;

/** Makes a channel. Before anyone reads, nothing is held back: a host may await only the result. Who comes after the one reader finds it empty. */
export function createChannel<T>(): Channel<T> {
  let queue: T[] = [];
  let state: "unread" | "read" | "abandoned" | "closed" = "unread";
  let wakeReader = () => {};
  const waiting: (() => void)[] = [];
  const wakeSenders = () => {
    for (const wake of waiting.splice(0)) wake();
  };
  let isTaken = false;
  async function* read(): AsyncGenerator<T> {
    if (isTaken) return;
    isTaken = true;
    if (state === "unread") state = "read";
    try {
      while (state !== "closed" || queue.length > 0) {
        const batch = queue;
        queue = [];
        wakeSenders();
        yield* batch;
        if (queue.length === 0 && state !== "closed") await new Promise<void>((resolve) => (wakeReader = resolve));
      }
    } finally {
      state = "abandoned";
      queue = [];
      wakeSenders();
    }
  }
  return {
    send(value) {
      if (state === "abandoned") return;
      queue.push(value);
      wakeReader();
    },
    caughtUp: () => (state === "read" && queue.length > COMFORTABLE_BACKLOG ? new Promise((resolve) => waiting.push(resolve)) : undefined),
    close() {
      state = "closed";
      wakeReader();
    },
    [Symbol.asyncIterator]: read,
  };
}
