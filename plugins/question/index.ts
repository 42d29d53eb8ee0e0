import { AgentError, definePlugin, tool, z } from "agent-runtime";

const MAX_OPTIONS = 20;
const MAX_CHARACTERS = 2000;

const question = tool({
  name: "question",
  description: "Ask the user what only they can decide, and wait for the answer.",
  input: z.object({
    question: z.string().trim().min(1).max(MAX_CHARACTERS),
    options: z.array(z.string().trim().min(1).max(MAX_CHARACTERS)).max(MAX_OPTIONS).optional().describe("answers to choose from"),
  }),
  effect: "ask",
  optional: true,
  async run({ question, options = [] }, context) {
    const asked = { question, ...(options.length > 0 && { options }) };
    const answer = await context.ask(asked);
    if (answer === undefined) throw new AgentError("QUESTION_UNANSWERED", { question });
    return { output: answer.trim() === "" ? "(The answer is empty.)" : answer, title: question.replace(/\s+/g, " "), metadata: { ...asked, answer } };
  },
});

/** Asks whoever is at the other end: the host's `ask`, which the command has with `--input-format stream-json`. */
export default definePlugin({ name: "question", options: z.strictObject({}), setup: () => ({ tools: [question] }) });
