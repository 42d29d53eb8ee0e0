import type { ChildProcess } from "node:child_process";
import type { TestServer } from "../fixtures/server.ts";
import { type CommandResult, type CommandRun, MODEL, runCommand } from "./command.ts";

export const CLAUDE_OUT = [...MODEL, "--output-format", "stream-json"];
export const CLAUDE_BOTH = [...CLAUDE_OUT, "--input-format", "stream-json"];

export const user = (content: unknown, more: object = {}) => ({ type: "user", message: { role: "user", content }, ...more });
export const toLines = (...frames: unknown[]): string => frames.map((frame) => `${typeof frame === "string" ? frame : JSON.stringify(frame)}\n`).join("");

/** Events by their type, with the subtype where they have one: `system/init`. */
export const kindsOf = (run: CommandResult): string[] => run.events.map(({ type, subtype }) => (subtype === undefined ? type : `${type}/${subtype}`));
export const resultsOf = (run: CommandResult): any[] => run.events.filter(({ type }) => type === "result");

/** The other end of a run: sends frames, and sees each line as it comes. */
export interface Other {
  send(frame: object): void;
  end(): void;
  server: TestServer;
}

/** Runs `agent` and talks with it: `onLine` is called for each line that it prints; `onStart` when it is there. */
export function talk(options: Omit<CommandRun, "stdin"> & { onStart?(other: Other): void; onLine(line: any, other: Other): void }): Promise<CommandResult> {
  return runCommand({
    args: CLAUDE_BOTH,
    ...options,
    stdin: "OPEN",
    onSpawn(child: ChildProcess, server: TestServer) {
      const other: Other = { send: (frame) => void child.stdin?.write(`${JSON.stringify(frame)}\n`), end: () => void child.stdin?.end(), server };
      let rest = "";
      child.stdout?.on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) options.onLine(JSON.parse(line), other);
      });
      options.onStart?.(other);
    },
  });
}
