import { resolve } from "node:path";
import type { PluginContext } from "agent-runtime";
import { cleanShort } from "./clean.ts";
import type { Inbox, Transport } from "./connection.ts";

/** Characters of one message. */
export const LONGEST_MESSAGE = 8 * 1024 * 1024;
/** A server that only ever floods is not read to the end of its days. */
const MOST_DROPPED = 256 * 1024 * 1024;
const MOST_GARBAGE = 1_000;
/** Characters of its standard error that are told when it ends. */
const LAST_WORDS = 1_000;

export interface LocalServer {
  command: string[];
  cwd: string | undefined;
  environment: Record<string, string>;
}

/** Starts the server by the one runner of processes: allow-listed environment, and gone with the agent. */
export async function openStdio(
  { command: [file = "", ...args], cwd, environment }: LocalServer,
  { startProcess, cwd: workspace }: Pick<PluginContext, "startProcess" | "cwd">,
  inbox: Inbox,
): Promise<Transport> {
  let lastWords = "";
  let end: () => unknown = () => undefined;
  const lines = createLineReader(inbox, (reason) => {
    inbox.end(reason);
    end();
  });
  const process = await startProcess(file, args, {
    cwd: resolve(workspace, cwd ?? "."),
    env: environment,
    onOutput: lines.push,
    onError: (piece) => (lastWords = (lastWords + piece).slice(-LAST_WORDS)),
  });
  end = process.end;
  void process.ended.then(({ exitCode }) => {
    const said = cleanShort(lastWords, LAST_WORDS).trim();
    inbox.end(`it ended${exitCode === null ? "" : ` with exit code ${exitCode}`}${said === "" ? "." : `: ${said}`}`);
  });
  return { send: (message) => process.write(`${JSON.stringify(message)}\n`), close: process.end };
}

/** One message a line. What is none is skipped; what is too long is not kept, and its request is told so. */
function createLineReader(inbox: Inbox, giveUp: (reason: string) => void) {
  let parts: string[] = [];
  let [size, dropped, garbage] = [0, 0, 0];
  let head: string | undefined;
  const add = (piece: string) => {
    if (head !== undefined) {
      dropped += piece.length;
      if (dropped > MOST_DROPPED) giveUp("it sends without end.");
      return;
    }
    parts.push(piece);
    size += piece.length;
    if (size <= LONGEST_MESSAGE) return;
    head = parts.join("").slice(0, 1_000);
    [parts, dropped] = [[], size];
  };
  const finish = () => {
    const line = parts.join("");
    if (head !== undefined) inbox.refuse(idIn(head), `its answer is longer than ${LONGEST_MESSAGE / 1024 / 1024} MiB.`);
    else if (line.trim() !== "" && !takeLine(line, inbox) && ++garbage > MOST_GARBAGE) giveUp("it writes to its standard output what are no messages.");
    [parts, size, head] = [[], 0, undefined];
  };
  return {
    push(piece: string) {
      const pieces = piece.split("\n");
      for (const [index, part] of pieces.entries()) {
        if (part !== "") add(part);
        if (index < pieces.length - 1) finish();
      }
    },
  };
}

function takeLine(line: string, inbox: Inbox): boolean {
  try {
    const message: unknown = JSON.parse(line);
    if (typeof message !== "object" || message === null) return false;
    inbox.take(message);
    return true;
  } catch {
    return false;
  }
}

const idIn = (head: string): number | undefined => {
  const found = /"id"\s*:\s*(\d{1,15})/.exec(head)?.[1];
  return found === undefined ? undefined : Number(found);
};
