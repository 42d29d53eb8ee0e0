import { definePlugin } from "agent-runtime";
import { optionsSchema } from "./options.ts";

/** What an agent did, kept for the sessions to come. */
export default definePlugin({ name: "memory", options: optionsSchema, setup: () => ({}) });
