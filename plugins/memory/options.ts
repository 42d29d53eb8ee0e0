import { z } from "agent-runtime";

const chain = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);
const count = z.number().int().min(1);

/** Options of the plugin "memory", read anew for each piece of work. */
export const optionsSchema = z.strictObject({
  /** Extraction: `provider/model`, or several for a fallback chain. Without it and `provider` no model is asked. */
  model: chain.optional(),
  /** Of models that `model` names without it; without `model` its default is asked. */
  provider: z.string().min(1).optional(),
  /** Key of that provider for extraction alone; the provider's own by default. */
  apiKey: z.string().min(1).optional(),
  siteUrl: z.string().optional(),
  appName: z.string().optional(),
  temperature: z.number().min(0).max(2).default(0.3),
  maxOutputTokens: count.default(4096),
  /** Window of an extractor's conversation: messages, and estimated tokens. */
  maxContextMessages: z.number().int().min(2).default(20),
  maxTokens: z.number().int().min(1000).default(100_000),
  /** Sums up sessions; the extraction model by default. */
  summaryModel: chain.optional(),
  mode: z.string().default("code"),
  /** Names of tools whose calls are not remembered, besides those that never are. `*` stands for any letters. */
  skipTools: z.array(z.string()).default([]),
  /** Unusable replies after which a piece of work is given up. */
  maxAttempts: count.default(3),
  /** Seconds that the end of a process waits for extraction; 0: everything stays for `agent memory work` and the next run. */
  drainSeconds: z.number().min(0).max(3600).default(30),
  context: z
    .strictObject({
      /** False: nothing is put into the system prompt. */
      enabled: z.boolean().default(true),
      /** Estimated tokens. */
      maxTokens: z.number().int().min(50).max(50_000).default(2_000),
    })
    .prefault({}),
  /** A note on `read` of a file with known gotchas. */
  readNotes: z.boolean().default(true),
  /** The model's tools memory_search, memory_timeline, memory_get, memory_save, memory_forget. */
  tools: z.boolean().default(true),
  /** Near-duplicates are merged and what is out of date is linked whenever enough has come; `agent memory consolidate` does it at any time. */
  consolidate: z.boolean().default(true),
  search: z
    .strictObject({
      /** `provider/model` of embeddings; without it search is by words alone. */
      embeddings: z.string().min(1).optional(),
      /** Model that puts the best hits in order. */
      rerank: chain.optional(),
      /** Days after which recency counts half. */
      halfLifeDays: z.number().positive().default(30),
    })
    .prefault({}),
});

export type MemoryOptions = z.output<typeof optionsSchema>;
