import type { Channel } from "./channel.ts";
import type { AgentEvent, EventFacts } from "./events.ts";
import type { HookRunner } from "./hooks.ts";

export interface EventSenderOptions {
  sessionId: string;
  channel: Channel<AgentEvent>;
  hooks: HookRunner;
  /** Of the run that started this one by a task: its reader gets the events, in one order for both. */
  parent: EventSender | undefined;
  /** Deltas and progress are sent to the reader too; hooks get them always. */
  deltas: boolean;
}

const DELTAS: ReadonlySet<string> = new Set(["text.delta", "reasoning.delta", "tool.progress"]);

/** Sends the events of one prompt to its observers and its reader, in order. */
export class EventSender {
  sessionId: string;
  readonly #options: EventSenderOptions;
  #held: AgentEvent[] | undefined;
  #isOver = false;
  #saidOnce = new Set<AgentEvent["type"]>();

  constructor(options: EventSenderOptions) {
    this.sessionId = options.sessionId;
    this.#options = options;
  }

  send(facts: EventFacts): void {
    if (!this.#isOver) this.#pass(this.#complete(facts));
  }

  /** The first of its type for the whole prompt, its tasks included. */
  sendOnce(facts: EventFacts): void {
    const { parent } = this.#options;
    if (parent !== undefined) parent.sendOnce(facts);
    else if (!this.#saidOnce.has(facts.type)) this.send(facts);
    this.#saidOnce.add(facts.type);
  }

  /** Sends `facts` once `ready` has settled, never rejects; what is sent meanwhile follows it. One at a time: await it before the next. */
  async sendAfter(ready: Promise<void>, facts: EventFacts): Promise<void> {
    const held: AgentEvent[] = [];
    this.#held = held;
    await ready.catch(() => {});
    this.#held = undefined;
    for (const event of [this.#complete(facts), ...held]) this.#deliver(event);
  }

  /** The last event: whatever still runs has nothing more to say. */
  end(facts: EventFacts): void {
    this.send(facts);
    this.#isOver = true;
  }

  #complete(facts: EventFacts): AgentEvent {
    const { parent } = this.#options;
    return { ...facts, sessionId: this.sessionId, at: Date.now(), ...(parent !== undefined && { parentId: parent.sessionId }) } as AgentEvent;
  }

  #pass(event: AgentEvent): void {
    if (this.#held === undefined) this.#deliver(event);
    else this.#held.push(event);
  }

  #deliver(event: AgentEvent): void {
    const { parent, hooks, channel, deltas } = this.#options;
    if (parent !== undefined) {
      parent.#pass(event);
      return;
    }
    hooks.observe(event);
    if (deltas || !DELTAS.has(event.type)) channel.send(event);
  }
}
