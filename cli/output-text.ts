import type { AgentError, AgentEvent, RunResult } from "agent-runtime";
import { cacheHitRate, type EventOf } from "agent-runtime/host";
import { oneLine, withoutControls } from "./plain-text.ts";

/** What is to be printed, and where. Progress is left out with --quiet; errors never are. */
export interface TextPiece {
  to: "answer" | "progress" | "error";
  text: string;
}

export interface TextOptions {
  /** Answers are shown as they come: on a terminal, and with --stream. */
  deltas: boolean;
  /** The answer goes to a terminal, which must not get control characters. */
  terminal: boolean;
  /** The answer is a value that satisfies a schema: it is printed once it does, and nothing beside it. */
  structured?: boolean;
}

/**
 * Turns events into text: the answer for stdout, the progress for stderr. Without `deltas` a step's text is given when
 * the step is complete, so that what was made void is never printed. Keeps the text of the step at hand, and nothing else.
 */
export function createTextProjection(options: TextOptions): (event: AgentEvent) => TextPiece[] {
  const projection = new TextProjection(options);
  return (event) => (event.parentId === undefined ? projection.project(event) : projectChild(event));
}

class TextProjection {
  readonly #structured: boolean;
  readonly #deltas: boolean;
  readonly #clean: (text: string) => string;
  #blocks: string[] = [];
  /** What was shown does not count; said when there is a next try. */
  #isVoid = false;
  /** Part that was shown last, and whether its line is still open. */
  #shown: { partId: string; open: boolean } | undefined;

  constructor({ deltas, terminal, structured = false }: TextOptions) {
    this.#structured = structured;
    this.#deltas = deltas;
    this.#clean = terminal ? withoutControls : (text) => text;
  }

  project(event: AgentEvent): TextPiece[] {
    if (!this.#structured) return this.#projectText(event);
    if (event.type === "text" || event.type === "text.delta") return [];
    const output = event.type === "session.finish" && event.result.output !== undefined ? [answer(`${JSON.stringify(event.result.output)}\n`)] : [];
    return [...output, ...this.#projectText(event)];
  }

  #projectText(event: AgentEvent): TextPiece[] {
    switch (event.type) {
      case "text.delta":
        return this.#deltas ? this.#showDelta(event) : [];
      case "text":
        return this.#deltas ? this.#endPart(event) : this.#keepText(event);
      case "text.void":
        return this.#voidText();
      case "retry":
      case "fallback":
        return [...this.#restart(), ...projectProgress(event)];
      case "message":
        return [];
      case "step.start":
        this.#blocks = [];
        return [];
      case "step.finish":
        return this.#flush();
      case "session.finish":
        return [
          ...(event.result.status === "limit" ? this.#flush() : this.#closeLine()),
          ...(event.result.steps > 0 ? [progress(describeResult(event.result))] : []),
        ];
      case "error":
        return [...(this.#shown?.open ? this.#flush() : []), { to: "error", text: formatError(event.error) }];
      default:
        return projectProgress(event);
    }
  }

  #showDelta({ partId, delta }: EventOf<"text.delta">): TextPiece[] {
    const text = this.#clean(delta);
    if (text === "") return [];
    this.#shown = { partId, open: !text.endsWith("\n") };
    return [answer(text)];
  }

  /** Shows the part where its deltas have not, and ends its line. */
  #endPart({ partId, text }: EventOf<"text">): TextPiece[] {
    const last = this.#shown?.partId === partId ? this.#shown : undefined;
    const pieces = last ? [] : [answer(this.#clean(text))];
    const isOpen = last ? last.open : !text.endsWith("\n");
    this.#shown = { partId, open: false };
    return isOpen && text !== "" ? [...pieces, answer("\n")] : pieces;
  }

  #keepText({ text }: EventOf<"text">): TextPiece[] {
    if (text.trim() !== "") this.#blocks.push(endLine(this.#clean(text)));
    return [];
  }

  #voidText(): TextPiece[] {
    const pieces = this.#closeLine();
    this.#isVoid = this.#shown !== undefined;
    this.#blocks = [];
    this.#shown = undefined;
    return pieces;
  }

  #restart(): TextPiece[] {
    const pieces = this.#isVoid ? [progress("-- answer restarted --")] : [];
    this.#isVoid = false;
    return pieces;
  }

  #flush(): TextPiece[] {
    const pieces = [...this.#closeLine(), ...this.#blocks.map(answer)];
    this.#blocks = [];
    this.#shown = undefined;
    return pieces;
  }

  #closeLine(): TextPiece[] {
    return this.#shown?.open ? [answer("\n")] : [];
  }
}

const answer = (text: string): TextPiece => ({ to: "answer", text });
const progress = (text: string): TextPiece => ({ to: "progress", text: `${text}\n` });
const endLine = (text: string): string => (text.endsWith("\n") ? text : `${text}\n`);

/** Of a child session only the tools are shown: its answer is its parent's tool result. */
function projectChild(event: AgentEvent): TextPiece[] {
  return event.type === "tool.finish" ? [progress(`  ${describeTool(event)}`)] : [];
}

type Shown = "text.delta" | "text" | "message" | "text.void" | "step.start" | "step.finish" | "session.finish" | "error";

function projectProgress(event: Exclude<AgentEvent, { type: Shown }>): TextPiece[] {
  switch (event.type) {
    case "session.start":
    case "prompt":
    case "model.resolved":
    case "reasoning":
    case "reasoning.delta":
    case "tool.start":
    case "tool.progress":
      return [];
    case "tool.finish":
      return [progress(describeTool(event))];
    case "retry":
      return [progress(`retry ${event.attempt} of ${event.model} in ${seconds(event.delayMs)}: ${oneLine(event.error.message)}`)];
    case "fallback":
      return [progress(`fallback from ${event.from} to ${event.to}: ${oneLine(event.error.message)}`)];
    case "permission.request":
      return [progress(`permission for ${event.tool}: ${oneLine(event.title, WHOLE)}`)];
    case "compaction":
      return [progress(`compacted the conversation: ${event.before} → ${event.after} messages, about ${event.tokensBefore} → ${event.tokensAfter} tokens`)];
    case "cache.broken":
      return [progress(describeBreak(event))];
    case "loop.warning":
      return [progress(`warning: the model repeats itself: ${oneLine(event.calls)} (${event.times} times)`)];
    case "plugin.error":
      return [progress(`warning: the plugin ${event.plugin}${event.hook === undefined ? "" : ` (${event.hook})`}: ${oneLine(event.message, 500)}`)];
    case "config.untrusted":
      return [progress(`warning: ${describeUntrusted(event)}`)];
    case "sandbox.unavailable":
      return [progress(`note: no sandbox: ${oneLine(event.reason)}`)];
    case "store.degraded":
      return [progress(`warning: ${event.path} cannot be written: ${oneLine(event.reason)}`)];
    case "store.recovered":
      return [progress(`warning: ${describeRecovery(event)}`)];
    default:
      event satisfies never;
      return [];
  }
}

/** The way out of what a workspace says in vain. */
export const TRUST_HINT = "Read its files, then run: agent trust";

const describeUntrusted = ({ keys, changed }: EventOf<"config.untrusted">): string =>
  `this workspace ${changed ? "has changed since it was trusted" : "is not trusted"}; ignored: ${oneLine(keys.join(", "))}. ${TRUST_HINT}`;

function describeBreak({ by, part }: EventOf<"cache.broken">): string {
  const who = by === "configuration" ? "the configuration" : `the plugin ${oneLine(by)}`;
  return `warning: ${who} changed the ${PREFIX_PARTS[part]}; the provider's cache of this session is lost`;
}

function describeRecovery({ path, kept, lost, quarantine }: EventOf<"store.recovered">): string {
  return `${path} was damaged: ${kept} records kept, ${lost} lost${quarantine === undefined ? "" : `; the damaged file is ${quarantine}`}`;
}

function describeTool({ tool, state }: EventOf<"tool.finish">): string {
  return state.status === "completed" ? `→ ${tool} ${oneLine(state.title)}`.trimEnd() : `✗ ${tool} ${oneLine(state.error)}`;
}

/** What is decided about is not cut. */
const WHOLE = 100_000;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const PREFIX_PARTS = { tools: "tools", system: "system prompt", request: "provider options", messages: "messages that were sent before" } as const;

const ENDINGS = { success: "done", error: "failed", limit: "stopped", interrupted: "interrupted" } as const;

function describeResult({ status, model, steps, tokens, costUsd, durationMs }: RunResult): string {
  const all = tokens.input + tokens.output + tokens.cache.read + tokens.cache.write;
  const rate = cacheHitRate(tokens);
  const cached = rate ? ` (${Math.round(rate * 100)} % of the input cached)` : "";
  const cost = costUsd === undefined ? "cost unknown" : `$${costUsd.toFixed(4)}`;
  const parts = [...(model ? [model] : []), `${steps} ${steps === 1 ? "step" : "steps"}`, `${all} tokens${cached}`, cost, seconds(durationMs)];
  return `${ENDINGS[status]}: ${parts.join(" · ")}`;
}

/** `error: fact`, the way out, the code; with `stack` also where it happened. */
export function formatError(error: AgentError, { stack = false } = {}): string {
  const lines = [`error: ${error.message}`, ...(error.hint ? [error.hint] : []), `[${error.code}]`];
  if (stack) lines.push(error.stack ?? "", ...(error.cause instanceof Error ? [`caused by ${error.cause.stack}`] : []));
  return `${withoutControls(lines.join("\n"))}\n`;
}
