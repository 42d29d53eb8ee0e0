import type { Mode } from "./mode.ts";
import { type Content, EMPTY_CONTENT } from "./observation.ts";
import type { WorkItem } from "./work-item.ts";

/** What a model has answered about an item, as the worker needs it. `cut`: it shall be asked again for less; `failed`: the provider speaks, not the model. */
export type Extracted = { kind: "contents"; contents: Content[] } | { kind: "cut" } | { kind: "unusable"; reason: string } | { kind: "failed"; reason: string };

export interface Reading {
  mode: Mode;
  /** The reply ended at its longest. */
  isCut: boolean;
  /** It will not be asked for again: what there is of it is taken. */
  isLast: boolean;
}

/** Reads a reply, whatever form it has. */
export function readAnswer(text: string, item: WorkItem, { isCut, isLast }: Reading): Extracted {
  if (isCut && !isLast) return { kind: "cut" };
  try {
    const { observations = [], summary } = JSON.parse(text) as { observations?: Partial<Content>[]; summary?: Record<string, string> };
    if (item.kind === "end" && summary !== undefined)
      return { kind: "contents", contents: [{ ...EMPTY_CONTENT, type: "summary", title: summary.request ?? "", narrative: summary.completed ?? "" }] };
    return { kind: "contents", contents: observations.map((each) => ({ ...EMPTY_CONTENT, ...each })) };
  } catch {
    return { kind: "unusable", reason: "it is not of the form that was asked for" };
  }
}

/** What can be said without a model. */
export function contentsByRules(item: WorkItem, _mode: Mode): Content[] {
  if (item.kind === "end") return [{ ...EMPTY_CONTENT, type: "summary", title: item.request, narrative: item.answer ?? "" }];
  return [{ ...EMPTY_CONTENT, title: `${item.call?.tool} ${item.call?.patterns.join(" ")}`, narrative: item.call?.output ?? "" }];
}
