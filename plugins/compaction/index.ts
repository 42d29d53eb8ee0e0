import { definePlugin, z } from "agent-runtime";
import { budgetOf } from "./budget.ts";

const options = z.strictObject({
  /** `provider/model` that writes the summaries, several for a fallback chain. */
  model: z.union([z.string(), z.array(z.string())]).optional(),
  /** Tokens of the window of models whose limit the configuration does not name. */
  contextTokens: z.number().int().positive().optional(),
});

/** Shortens a conversation before it fills its model's context, and when it did not fit. */
export default definePlugin({
  name: "compaction",
  options,
  setup: ({ options, log }) => ({
    hooks: {
      shouldCompact({ tokens }, { model, config }) {
        const budget = config.compaction?.auto === false ? undefined : budgetOf(model, config, options.contextTokens);
        return budget !== undefined && tokens >= budget.full;
      },
      async compact(entries, context) {
        if (context.config.compaction?.auto === false) return undefined;
        const { shorten } = await import("./shorten.ts");
        return shorten(entries, context, { ...options, log });
      },
    },
  }),
});
