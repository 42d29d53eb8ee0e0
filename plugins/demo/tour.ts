import { setTimeout } from "node:timers/promises";
import { type LanguageModel, type Message, type TextModelPiece, textModel } from "agent-runtime";

/** What the model says and calls in one step. */
interface Step {
  say: string;
  call?: { tool: string; input: Record<string, unknown> };
}

interface ToolAnswer {
  failed: boolean;
  text: string;
}

/** The mistake of examples/tour. The tour changes this, and nothing in any other workspace. */
const WRONG = 'return "Hello, world!";';
const RIGHT = "return `Hello, ${name}!`;";
/** The lines around what a tool has brought from outside. */
const FENCE = /^<tool-output [^\n]*\n|\n<\/tool-output \w+>$/g;
const TODO = /^ *\d+\| (\/\/ TODO:.*)$/m;

/**
 * A scripted model that does a small job with the real tools: search, read, edit, run, answer. Each step is chosen by what
 * the tools answered to the prompt in hand, so one that fails, or another workspace, ends in an answer that says so.
 */
export const createTour = (delayMs: number): LanguageModel =>
  textModel(
    async function* (prompt, { abortSignal }): AsyncGenerator<TextModelPiece> {
      const { say, call } = chooseStep(readAnswers(prompt));
      for (const word of say.split(/(?<=\s)/)) {
        yield word;
        if (delayMs > 0) await setTimeout(delayMs, undefined, abortSignal && { signal: abortSignal });
      }
      if (call !== undefined) yield { type: "tool-call", toolCallId: `tour_${prompt.length}`, toolName: call.tool, input: JSON.stringify(call.input) };
    },
    { id: "tour", provider: "demo", costUsd: 0 },
  );

/** What the tools answered since the last prompt, by name. */
function readAnswers(prompt: Message[]): Map<string, ToolAnswer> {
  const answers = new Map<string, ToolAnswer>();
  for (const message of prompt.slice(prompt.findLastIndex(({ role }) => role === "user") + 1)) {
    if (message.role !== "tool") continue;
    for (const part of message.content) {
      if (part.type !== "tool-result") continue;
      const { output } = part;
      const text = "value" in output ? (typeof output.value === "string" ? output.value : JSON.stringify(output.value)) : (output.reason ?? "");
      const failed = output.type.startsWith("error") || output.type === "execution-denied";
      answers.set(part.toolName, { failed, text: text.replace(FENCE, "") });
    }
  }
  return answers;
}

function chooseStep(answers: Map<string, ToolAnswer>): Step {
  const [search, read, edit, run] = ["grep", "read", "edit", "bash"].map((tool) => answers.get(tool));
  if (search === undefined) return { say: "I look for work that was left open.", call: { tool: "grep", input: { pattern: "TODO", include: "*.js" } } };
  const path = /^(\S.*):$/m.exec(search.text)?.[1];
  if (search.failed) return { say: `The search failed:\n\n${search.text}` };
  if (path === undefined) return { say: `I found no TODO in a .js file here. ${ELSEWHERE}` };
  if (read === undefined) return { say: `There is a TODO in ${path}. I read it.`, call: { tool: "read", input: { filePath: path } } };
  if (read.failed) return { say: `${path} cannot be read:\n\n${read.text}` };
  if (edit === undefined) return chooseEdit(path, read.text);
  if (edit.failed) return { say: `I would replace \`${WRONG}\` by \`${RIGHT}\` in ${path}, but may not:\n\n${edit.text}` };
  if (run === undefined)
    return { say: "Changed. Now I run the check of the project.", call: { tool: "bash", input: { command: "node check.js", description: "Run the check" } } };
  return describeEnd(path, run);
}

const ELSEWHERE = "I am a scripted demo: I know one small project, and change nothing in any other. See it with npm start.";

function chooseEdit(path: string, text: string): Step {
  const todo = TODO.exec(text)?.[1];
  if (todo === undefined || !text.includes(WRONG)) return { say: `${path} has a TODO, but it is not one that I know. ${ELSEWHERE}` };
  const signature = "export function greet(name) {\n  ";
  return {
    say: "The greeting ignores its name. I use it, and remove the note.",
    call: { tool: "edit", input: { filePath: path, oldString: `${todo}\n${signature}${WRONG}`, newString: `${signature}${RIGHT}` } },
  };
}

function describeEnd(path: string, run: ToolAnswer): Step {
  const output = run.text.trim();
  if (run.failed) return { say: `I changed ${path}; the check could not be run:\n\n${output}` };
  if (!output.includes("Hello, Ada!")) return { say: `I changed ${path}, but the check is not content:\n\n${output}` };
  return {
    say: `Done. ${path} greets by name now, and the check agrees: ${output}\n\nSearch, read, edit, run, answer: the tools were real, only the model was scripted.`,
  };
}
