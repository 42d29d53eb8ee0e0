import { type Tool, tool, z } from "agent-runtime";
import type { Memory } from "./memory.ts";
import type { Content } from "./observation.ts";

/** What the tools may use; nothing of it is opened before a call. */
export interface ToolNeeds {
  memory(): Promise<Memory>;
  /** Whether the session has read text from outside. */
  hasOutside(sessionId: string): Promise<boolean>;
  /** Without what was private in the session: a search may show it to other models. */
  withoutPrivate(text: string, sessionId: string): Promise<string>;
  /** Keeps what the model wants kept, as of the session and its prompt. Returns its id, and whether it is new. Throws where nothing may be kept. */
  save(
    said: Pick<Content, "type" | "title" | "narrative" | "concepts" | "filesRead">,
    sessionId: string,
  ): Promise<{ id: string; isNew: boolean; trust: string }>;
}

const filters = {
  type: z.string().optional().describe("bugfix, decision, discovery, summary, …"),
  concept: z.string().optional().describe("gotcha, how-it-works, trade-off, …"),
  file: z.string().optional().describe("path, or a part of one"),
  session: z.string().optional().describe("session id"),
  since: z.string().optional().describe("date, as 2026-01-31"),
  until: z.string().optional(),
};

const searchInput = z.object({
  query: z.string().describe('words, "a phrase", AND, OR, NOT, -word, title:word'),
  ...filters,
  limit: z.number().int().min(1).max(50).default(10),
});

const timelineInput = z.object({
  anchor: z.union([z.string(), z.number()]).optional().describe("id of a note or session, or a date"),
  query: z.string().optional().describe("instead: the best hit is the anchor"),
  before: z.number().int().min(0).max(20).default(3),
  after: z.number().int().min(0).max(20).default(3),
});

const ids = z.array(z.string()).min(1).max(20);
const getInput = z.object({ ids });

const saveInput = z.object({
  title: z.string().trim().min(1).max(300),
  text: z.string().trim().min(1).max(8_000).describe("what is so and why, so that it stands for itself"),
  type: z.string().trim().min(1).max(40).default("discovery"),
  concepts: z.array(z.string().trim().min(1).max(60)).max(10).default([]),
  files: z.array(z.string().trim().min(1).max(500)).max(50).default([]),
});

export type SearchInput = z.output<typeof searchInput>;
export type TimelineInput = z.output<typeof timelineInput>;

/** The model's way to the memory, in three layers that cost more and more: hits, what happened around one, whole notes. */
export const memoryTools = (needs: ToolNeeds): Tool[] => [...askingTools(needs), ...changingTools(needs)];

const askingTools = (needs: ToolNeeds): Tool[] => [
  tool({
    name: "memory_search",
    description: "Search the notes on earlier sessions of this project, one line a hit. Look here before you work out again what may be known.",
    input: searchInput,
    effect: "read",
    patterns: ({ query }) => [query],
    run: async (input, { sessionId }) => {
      const query = await needs.withoutPrivate(input.query, sessionId);
      return (await import("./tool-answers.ts")).answerSearch(await needs.memory(), { ...input, query });
    },
  }),
  tool({
    name: "memory_timeline",
    description: "Notes before and after one, in the order in which things happened.",
    input: timelineInput,
    effect: "read",
    patterns: ({ anchor, query }) => [String(anchor ?? query ?? "*")],
    run: async (input, { sessionId }) => {
      const query = input.query === undefined ? {} : { query: await needs.withoutPrivate(input.query, sessionId) };
      return (await import("./tool-answers.ts")).answerTimeline(await needs.memory(), { ...input, ...query });
    },
  }),
  tool({
    name: "memory_get",
    description: "Whole notes by their ids: 500 to 1000 tokens each, so search first.",
    input: getInput,
    effect: "read",
    patterns: ({ ids = [] }) => ids,
    run: async ({ ids }) => (await import("./tool-answers.ts")).answerGet(await needs.memory(), ids),
  }),
];

const changingTools = (needs: ToolNeeds): Tool[] => [
  tool({
    name: "memory_save",
    description: "Keep something that later sessions should know: a decision, a trap, what the user prefers. No secrets.",
    input: saveInput,
    effect: "write",
    patterns: ({ title }) => [title],
    run: async ({ title, text, type, concepts, files }, { sessionId }) => {
      const { id, isNew, trust } = await needs.save({ type, title, narrative: text, concepts, filesRead: files }, sessionId);
      const mark = trust === "trusted" ? "" : " It counts as outside text, because this session has read such text.";
      return { output: `${isNew ? "Saved as" : "Known already as"} ${id}.${mark}`, title: id, metadata: { id, isNew, trust } };
    },
  }),
  tool({
    name: "memory_forget",
    description: "Remove notes everywhere and for good, by their ids.",
    input: getInput,
    effect: "write",
    patterns: ({ ids = [] }) => ids,
    run: async ({ ids }, { sessionId }) =>
      (await import("./tool-answers.ts")).forgetNotes(await needs.memory(), ids, { sessionId, hasOutside: await needs.hasOutside(sessionId) }),
  }),
];
