import { type LanguageModel, textModel } from "agent-runtime";

/** Answers with the text of the last user message. */
export const createEcho = (): LanguageModel =>
  textModel(
    (prompt) => {
      const last = prompt.findLast(({ role }) => role === "user");
      const text = last?.role === "user" ? last.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n") : "";
      return [text || "There was no text to repeat."];
    },
    { id: "echo", provider: "demo", costUsd: 0 },
  );
