import type { Mode } from "./mode.ts";
import type { Content } from "./observation.ts";
import { readReply, toSummaryContent } from "./reply.ts";
import type { WorkItem } from "./work-item.ts";

/** What a model has answered about an item, as the worker needs it. `cut`: it shall be asked again for less; `failed`: the provider speaks, not the model. */
export type Extracted =
  | { kind: "contents"; contents: Content[]; dropped?: number }
  | { kind: "cut" }
  | { kind: "unusable"; reason: string }
  | { kind: "failed"; reason: string };

export interface Reading {
  mode: Mode;
  /** The reply ended at its longest. */
  isCut: boolean;
  /** It will not be asked for again: what there is of it is taken. */
  isLast: boolean;
}

/** Reads a reply, whatever form it has. Observations in the place of a summary are kept as what they are. */
export function readAnswer(text: string, item: WorkItem, { mode, isCut, isLast }: Reading): Extracted {
  const reply = readReply(text, { mode, item, reason: isCut ? "length" : undefined });
  switch (reply.kind) {
    case "refused":
      return { kind: "failed", reason: reply.message };
    case "nothing":
      return { kind: "contents", contents: [] };
    case "unusable":
      return reply.isCut && !isLast ? { kind: "cut" } : { kind: "unusable", reason: reply.reason };
    case "summary":
      return reply.isCut && !isLast ? { kind: "cut" } : { kind: "contents", contents: [toSummaryContent(reply.summary)] };
    case "observations":
      return reply.isCut && !isLast ? { kind: "cut" } : { kind: "contents", contents: reply.observations, dropped: reply.dropped };
    default:
      return reply satisfies never;
  }
}

export { observeWithoutModel as contentsByRules } from "./heuristic.ts";
export { cleanContents } from "./make-item.ts";
