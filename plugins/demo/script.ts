import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { AgentError, type LanguageModel, type TextModelPiece, textModel, z } from "agent-runtime";

const turn = z.strictObject({
  text: z.string().optional(),
  reasoning: z.string().optional(),
  tools: z.array(z.strictObject({ name: z.string(), args: z.unknown() })).optional(),
});

type Turn = z.infer<typeof turn>;

const turns = z.array(turn).min(1);

/** Answers with the turns of a JSON file: the first to the first request of a conversation, and so on. */
export async function createScript(id: string, path: string, cwd: string): Promise<LanguageModel> {
  const script = await readTurns(path, cwd);
  return textModel(
    (prompt) => {
      const place = prompt.filter(({ role }) => role === "assistant").length;
      return piecesOf(script[place] ?? { text: `The script ends after ${script.length} ${script.length === 1 ? "turn" : "turns"}.` }, place);
    },
    { id, provider: "demo", costUsd: 0 },
  );
}

async function readTurns(path: string, cwd: string): Promise<Turn[]> {
  const option = "demo/script";
  if (path === "")
    throw new AgentError("FILE_NOT_FOUND", { path: '""', option, reason: "none is named. Write demo/script:turns.json, or set provider.demo.options.script." });
  const file = resolve(cwd, path);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new AgentError("FILE_NOT_FOUND", { path: file, option, reason: `${error.code ?? error.message}.` });
  });
  const invalid = (reason: string) => new AgentError("CONFIG_INVALID", { file, reason });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`it is not JSON: ${(error as Error).message}`);
  }
  const checked = turns.safeParse(value);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw invalid(`${issue?.path.join(".") || "the script"}: ${issue?.message}; expected a list of { text?, reasoning?, tools?: [{ name, args }] }.`);
}

function* piecesOf({ text, reasoning, tools = [] }: Turn, place: number): Generator<TextModelPiece> {
  if (reasoning !== undefined) {
    yield { type: "reasoning-start", id: "reasoning" };
    yield { type: "reasoning-delta", id: "reasoning", delta: reasoning };
    yield { type: "reasoning-end", id: "reasoning" };
  }
  if (text !== undefined) yield text;
  for (const [index, { name, args }] of tools.entries()) {
    // A string is sent as it is, so that a broken call can be scripted.
    yield { type: "tool-call", toolCallId: `call_${place}_${index}`, toolName: name, input: typeof args === "string" ? args : JSON.stringify(args ?? {}) };
  }
}
