/** Carries messages to a server. What comes from it goes to the `Inbox` that it was opened with. */
export interface Transport {
  /** Resolves when the server has it; where the answer comes on the same way, when that is over. Rejects when it cannot be sent. */
  send(message: object, signal?: AbortSignal): Promise<void>;
  /** Told once what version of the protocol is spoken. */
  agree?(version: string): void;
  close(): Promise<unknown>;
}

export interface Inbox {
  take(message: unknown): void;
  /** An answer that is not read; `id` is that of its request, where it could be seen. */
  refuse(id: number | undefined, reason: string): void;
  /** There will be nothing more. */
  end(reason: string): void;
}

/** The server, or the way to it, is no more. */
export class Gone extends Error {}

export interface RequestLimits {
  signal: AbortSignal;
  /** ms without an answer or progress, and ms in all. */
  idleMs: number;
  totalMs: number;
  onProgress?(message: unknown): void;
}

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  progress(message: unknown): void;
}

/** Answers to what a server asks of us; more than this many that nobody takes are not given. */
const MOST_UNTAKEN = 32;
const MESSAGE_LENGTH = 1_000;

/** JSON-RPC 2.0 with one server, whatever it sends. Its words are data: nothing of them is run, and what has no request is dropped. */
export class Connection implements Inbox {
  readonly #pending = new Map<number, Pending>();
  readonly #roots: unknown[];
  readonly #onChange: () => void;
  #transport: Transport | undefined;
  #count = 0;
  #untaken = 0;
  #ending: string | undefined;

  /** `roots`: the folders that a server is told of when it asks. `onChange`: it says that it has other tools now. */
  constructor({ roots, onChange }: { roots: unknown[]; onChange(): void }) {
    this.#roots = roots;
    this.#onChange = onChange;
  }

  get isOver(): boolean {
    return this.#ending !== undefined;
  }

  attach(transport: Transport): void {
    this.#transport = transport;
  }

  /** Rejects with Gone, with the reason of the signal, or with an Error that says what went wrong. */
  request(method: string, params: object, limits: RequestLimits): Promise<unknown> {
    const id = ++this.#count;
    const { signal } = limits;
    return new Promise((resolve, reject) => {
      if (this.#ending !== undefined || this.#transport === undefined) return reject(new Gone(this.#ending ?? "it was never there."));
      if (signal.aborted) return reject(signal.reason);
      const sending = new AbortController();
      const cancel = (error: Error) => {
        this.notify("notifications/cancelled", { requestId: id, reason: "no longer wanted" });
        this.#pending.get(id)?.reject(error);
        sending.abort(error);
      };
      const clock = startClock(limits, cancel);
      const abort = () => cancel(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clock.stop();
          signal.removeEventListener("abort", abort);
          this.#pending.delete(id);
          then(value);
        };
      const progress = (message: unknown) => {
        clock.restart();
        limits.onProgress?.(message);
      };
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject), progress });
      const message = { jsonrpc: "2.0", id, method, params: limits.onProgress ? { ...params, _meta: { progressToken: id } } : params };
      this.#transport.send(message, sending.signal).catch((error: Error) => this.#pending.get(id)?.reject(error));
    });
  }

  notify(method: string, params: object = {}): void {
    this.#transport?.send({ jsonrpc: "2.0", method, params }).catch(() => {});
  }

  take(message: unknown): void {
    for (const each of Array.isArray(message) ? message.slice(0, 100) : [message]) if (isObject(each)) this.#takeOne(each);
  }

  refuse(id: number | undefined, reason: string): void {
    const meant = id === undefined ? [...this.#pending.values()] : [this.#pending.get(id)];
    for (const pending of meant) pending?.reject(new Error(reason));
  }

  end(reason: string): void {
    this.#ending ??= reason;
    for (const pending of [...this.#pending.values()]) pending.reject(new Gone(reason));
  }

  async close(reason: string): Promise<void> {
    this.end(reason);
    await this.#transport?.close();
  }

  #takeOne(message: Record<string, unknown>): void {
    const { id, method, params } = message;
    if (typeof method === "string") {
      if (id !== undefined && id !== null) this.#answer(id, method);
      else if (method === "notifications/tools/list_changed") this.#onChange();
      else if (method === "notifications/progress" && isObject(params)) this.#pending.get(Number(params.progressToken))?.progress(params.message);
      return;
    }
    const pending = this.#pending.get(Number(id));
    if (isObject(message.error)) pending?.reject(new Error(String(message.error.message).slice(0, MESSAGE_LENGTH)));
    else pending?.resolve(message.result);
  }

  /** A server may ask whether we are there, and where it works. It does not get to ask the model or the user. */
  #answer(id: unknown, method: string): void {
    if (this.#untaken >= MOST_UNTAKEN || (typeof id !== "string" && typeof id !== "number")) return;
    const results: Record<string, object> = { ping: {}, "roots/list": { roots: this.#roots } };
    const result = Object.hasOwn(results, method) ? { result: results[method] } : { error: { code: -32601, message: "This client does not do that." } };
    this.#untaken++;
    const taken = () => this.#untaken--;
    this.#transport?.send({ jsonrpc: "2.0", id, ...result }).then(taken, taken);
  }
}

export const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Calls `expire` after `idleMs` since the last restart, and after `totalMs` in any case. */
function startClock({ idleMs, totalMs }: RequestLimits, expire: (error: Error) => void) {
  const fail = (ms: number) => () => expire(new Error(`it gave no answer within ${ms / 1000} s.`));
  const total = setTimeout(fail(totalMs), totalMs);
  let idle = setTimeout(fail(idleMs), idleMs);
  return {
    restart() {
      clearTimeout(idle);
      idle = setTimeout(fail(idleMs), idleMs);
    },
    stop() {
      clearTimeout(total);
      clearTimeout(idle);
    },
  };
}
