import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { root } from "../house/source.ts";
import { type CommandResult, isBuilt, removeHomes, runCommand } from "./command.ts";
import { CLAUDE_BOTH, CLAUDE_OUT, talk, toLines, user } from "./stream-json.ts";
import { byPrompt, turn } from "./tool-runs.ts";

const scratch = mkdtempSync(join(tmpdir(), "agent-claude-types-"));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  removeHomes();
});

/** What the published types lack: fields of ours, and frames that the SDK does not export. */
const HEAD = `import type { SDKAPIRetryMessage, SDKAssistantMessage, SDKControlRequest, SDKControlResponse, SDKInformationalMessage, SDKMessage, SDKPartialAssistantMessage, SDKResultMessage, SDKUserMessage } from "@anthropic-ai/claude-agent-sdk";
type OwnError = { name: string; code: string; message: string; hint: string; data: Record<string, unknown> };
type Own =
  | (SDKResultMessage & { cost_source: "provider" | "catalogue" | "unknown"; error?: OwnError })
  | (SDKInformationalMessage & { error: OwnError })
  | (SDKAPIRetryMessage & { message: string });
type Line = Exclude<SDKMessage, SDKResultMessage> | Own | SDKControlRequest | SDKControlResponse | { type: "control_cancel_request"; request_id: string };
type IsAny<T> = 0 extends 1 & T ? true : false;
export const whole: IsAny<SDKMessage> | IsAny<SDKAssistantMessage["message"]> | IsAny<SDKUserMessage["message"]> = false;
export const parts: IsAny<SDKPartialAssistantMessage["event"]> | IsAny<SDKResultMessage["usage"]> | IsAny<SDKResultMessage["uuid"]> = false;
// @ts-expect-error A line without its message is none.
export const broken: Line = { type: "assistant", parent_tool_use_id: null, session_id: "", uuid: "a-b-c-d-e" };
// @ts-expect-error Nor is one with a field that nobody knows.
export const stray: Line = { type: "system", subtype: "informational", level: "warning", content: "", session_id: "", uuid: "a-b-c-d-e", whatever: 1 };
`;

function compile(lines: string[]): string {
  mkdirSync(join(scratch, "node_modules"), { recursive: true });
  for (const name of ["@anthropic-ai", "@modelcontextprotocol", "@types", "zod"])
    symlinkSync(join(root, "node_modules", name), join(scratch, "node_modules", name));
  const compilerOptions = { target: "es2023", module: "nodenext", strict: true, skipLibCheck: true, noEmit: true, types: ["node"] };
  writeFileSync(join(scratch, "package.json"), '{ "type": "module" }');
  writeFileSync(join(scratch, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["lines.ts"] }));
  writeFileSync(join(scratch, "lines.ts"), `${HEAD}${lines.map((line, index) => `export const line${index}: Line = ${line};\n`).join("")}`);
  return spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", scratch], { encoding: "utf8" }).stdout;
}

describe.runIf(isBuilt)("the lines of stream-json", () => {
  test("are all of the types that the Agent SDK publishes", { timeout: 180_000 }, async () => {
    const runs: CommandResult[] = [];
    const ask = async (options: Parameters<typeof runCommand>[0]) => runs.push(await runCommand(options));
    const script = [{ reasoning: "Hm.", text: "Looking.", tools: [{ name: "list", args: {} }] }, { text: "Done." }];
    await ask({ args: [...CLAUDE_OUT, "--include-partial-messages", "-p", "go"], script });
    await ask({
      args: [...CLAUDE_OUT, "-p", "go"],
      script: [turn(["bash", { command: "cat /etc/passwd" }]), turn(["nothing", {}]), { text: "No.", usage: { cost: undefined } }],
    });
    await ask({ args: [...CLAUDE_OUT, "-p", "go", "--max-steps", "1"], script: [turn(["list", {}])] });
    await ask({ args: [...CLAUDE_OUT, "-p", "go", "--max-cost", "0.001"], script: [turn(["list", {}])] });
    await ask({ args: [...CLAUDE_OUT, "-p", "go", "--json-schema", '{"type":"object"}'], script: [{ text: "{}" }] });
    await ask({ args: [...CLAUDE_OUT, "-p", "go", "--max-output-tokens", "1"], script: [{ text: "cut", finish: "length" }] });
    await ask({ args: [...CLAUDE_OUT, "-p", "go"], script: [{ status: 404 }] });
    await ask({ args: [...CLAUDE_OUT, "-p", "go"], script: [{ status: 429, headers: { "retry-after-ms": "1" } }, { text: "At last." }] });
    await ask({ args: [...CLAUDE_OUT, "--fallback", "openrouter/acme/model-2", "-p", "go"], script: [{ status: 404 }, { text: "The other." }] });
    await ask({ args: [...CLAUDE_OUT, "--nonsense"] });
    await ask({
      args: [...CLAUDE_OUT, "-p", "go"],
      script: byPrompt({ go: [turn(["task", { description: "look", prompt: "look" }]), { text: "ok" }], look: [turn(["list", {}]), { text: "seen" }] }),
    });
    await ask({
      args: CLAUDE_BOTH,
      stdin: toLines(
        { type: "control_request", request_id: "1", request: { subtype: "initialize" } },
        { type: "control_request", request_id: "2", request: { subtype: "unheard_of" } },
        "nonsense",
        user("hi"),
      ),
    });
    runs.push(
      await talk({
        args: [...CLAUDE_BOTH, "--permission-prompt-tool", "stdio"],
        script: [turn(["bash", { command: "echo hi" }]), { text: "ok" }],
        onStart: ({ send }) => send(user("hi")),
        onLine(line, { send, end }) {
          if (line.type === "control_request")
            send({
              type: "control_response",
              response: { subtype: "success", request_id: line.request_id, response: { behavior: "allow", updatedInput: {} } },
            });
          if (line.type === "result") end();
        },
      }),
    );
    const lines = runs.flatMap(({ stdout }) => stdout.split("\n").filter((line) => line !== ""));
    const kinds = new Set(runs.flatMap(({ events }) => events.map(({ type, subtype }) => subtype ?? type)));
    expect([...kinds].sort()).toEqual([
      "api_retry",
      "assistant",
      "control_request",
      "control_response",
      "error_during_execution",
      "error_max_budget_usd",
      "error_max_turns",
      "informational",
      "init",
      "stream_event",
      "success",
      "user",
    ]);
    expect(compile(lines)).toBe("");
  });
});
