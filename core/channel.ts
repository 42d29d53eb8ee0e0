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
  return new Queue<T>();
}

/** `send` and `caughtUp` are properties, since senders hand them on alone. */
class Queue<T> implements Channel<T> {
  #values: T[] = [];
  #state: "unread" | "read" | "abandoned" | "closed" = "unread";
  #isTaken = false;
  #wakeReader = () => {};
  #waiting: (() => void)[] = [];

  readonly send = (value: T): void => {
    if (this.#state === "abandoned") return;
    this.#values.push(value);
    this.#wakeReader();
  };

  readonly caughtUp = (): Promise<void> | undefined =>
    this.#state === "read" && this.#values.length > COMFORTABLE_BACKLOG ? new Promise((resolve) => this.#waiting.push(resolve)) : undefined;

  close(): void {
    this.#state = "closed";
    this.#wakeReader();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    if (this.#isTaken) return;
    this.#isTaken = true;
    if (this.#state === "unread") this.#state = "read";
    try {
      yield* this.#readToEnd();
    } finally {
      this.#state = "abandoned";
      this.#takeAll();
    }
  }

  async *#readToEnd(): AsyncGenerator<T> {
    while (this.#state !== "closed" || this.#values.length > 0) {
      yield* this.#takeAll();
      if (this.#values.length === 0 && this.#state !== "closed") await new Promise<void>((resolve) => (this.#wakeReader = resolve));
    }
  }

  /** Empties the queue, which lets its senders go on. */
  #takeAll(): T[] {
    const batch = this.#values;
    this.#values = [];
    for (const wake of this.#waiting.splice(0)) wake();
    return batch;
  }
}
