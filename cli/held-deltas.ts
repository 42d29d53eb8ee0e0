import type { AgentEvent } from "agent-runtime";
import type { EventOf } from "agent-runtime/host";

/**
 * What a key may go on in: characters that stand in keys, tokens and URLs, and whole lines of base64 or hex, which programs
 * break. A character outside of the basic plane may come in two pieces as well.
 */
const UNFINISHED = /(?:(?<![\x21-\x7e])[\w+/=-]{16,}\r?\n(?:[\w+/=-]{39,}\r?\n)*[\x21-\x7e]*|(?<![\x21-\x7e])[\x21-\x7e]+|[\uD800-\uDBFF])$/;
/** Longer than any key; what has no end of a word is not held back for ever. */
const LONGEST_WORD = 4096;

/**
 * Keys are looked for in each event, but a model streams them in pieces: so the last word of what is streamed is held back
 * until it is whole. What is held is given before the event that ends its part.
 */
export function holdWords(): (event: AgentEvent) => AgentEvent[] {
  const held = new Map<string, EventOf<"text.delta"> | EventOf<"reasoning.delta">>();
  const progress = new Map<string, string>();
  const release = (partId: string): AgentEvent[] => {
    const last = held.get(partId);
    held.delete(partId);
    return last === undefined ? [] : [last];
  };
  return (event) => {
    switch (event.type) {
      case "text.delta":
      case "reasoning.delta": {
        const [now, later] = cutWord((held.get(event.partId)?.delta ?? "") + event.delta);
        held.delete(event.partId);
        if (later !== "") held.set(event.partId, { ...event, delta: later });
        return now === "" ? [] : [{ ...event, delta: now }];
      }
      case "text":
      case "reasoning":
        return [...release(event.partId), event];
      case "text.void":
        held.clear();
        return [event];
      case "tool.progress": {
        if (event.output === undefined) return [event];
        const [now, later] = cutWord((progress.get(event.callId) ?? "") + event.output);
        progress.set(event.callId, later);
        return now === "" ? [] : [{ ...event, output: now }];
      }
      case "tool.finish":
        progress.delete(event.callId);
        return [event];
      default:
        return [event];
    }
  };
}

function cutWord(text: string): [now: string, later: string] {
  const [word = ""] = UNFINISHED.exec(text) ?? [];
  return word.length > LONGEST_WORD ? [text, ""] : [text.slice(0, text.length - word.length), word];
}
