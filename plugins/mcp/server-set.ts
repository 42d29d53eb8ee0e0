import type { PluginContext, Tool } from "agent-runtime";
import type { ConfiguredServer } from "./configured.ts";
import { createPins } from "./pins.ts";
import { Server } from "./server.ts";

/** ms that the first request waits for all servers together; those that take longer join at a later step. */
const FIRST_WAIT_MS = 2_000;

/** All servers of a configuration. */
export class ServerSet {
  readonly servers: Server[];
  #first: Promise<void> | undefined;
  #seen: readonly (readonly Tool[])[] = [];
  #all: readonly Tool[] = [];

  constructor(configured: ConfiguredServer[], context: PluginContext) {
    const pins = createPins(context.dataDir, context.report);
    this.servers = configured.map((each) => new Server(each, context, pins));
  }

  get sources() {
    return this.servers.map(({ source }) => source);
  }

  /** Starts all that are on, at the same time. */
  async startAll(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.start()));
  }

  /** The tools there are; the same list as long as they are the same. */
  async tools(): Promise<readonly Tool[]> {
    this.#first ??= atMost(FIRST_WAIT_MS, this.startAll());
    await this.#first;
    const lists = this.servers.map(({ tools }) => tools);
    if (lists.some((list, index) => list !== this.#seen[index])) [this.#seen, this.#all] = [lists, lists.flat()];
    return this.#all;
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.close()));
  }
}

async function atMost(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([promise, over]);
  clearTimeout(timer);
}
