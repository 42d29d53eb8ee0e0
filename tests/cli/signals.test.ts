import type { ChildProcess } from "node:child_process";
import { type AddressInfo, createServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { chunk, type Reply, type TestServer } from "../fixtures/server.ts";
import { timeBeside } from "../fixtures/timing.ts";
import {
  type CommandRun,
  errorOf,
  handlesSignals,
  isBuilt,
  JSON_OUT,
  MODEL,
  makeHome,
  ofType,
  removeHomes,
  resultOf,
  runCommand,
  talkOf,
  until,
} from "./command.ts";
import { processesWith } from "./tool-runs.ts";

afterAll(removeHomes);

const PROMPT = [...MODEL, ...JSON_OUT, "-p", "hi"];
const ONE_REQUEST = (_: ChildProcess, server: TestServer) => server.requests.length > 0;
const bash = (command: string): Reply => ({ text: "I run it.", tools: [{ name: "bash", args: { command, description: "x" } }] });

interface Interruption extends CommandRun {
  signal: NodeJS.Signals;
  /** When the signal is sent. `printed`: what has come on stdout. */
  when(child: ChildProcess, server: TestServer, printed: string): boolean;
  afterMs?: number;
  /** What stdin gets before it is left open. */
  firstLine?: string;
}

/** Runs the command and interrupts it. `tookMs` is from the signal to the end; `slackMs`: what a machine with much to do adds to a promise. */
async function interrupt({ signal, when, afterMs = 100, firstLine, ...options }: Interruption) {
  let sentAt = 0;
  const onSpawn: CommandRun["onSpawn"] = (child, server) => {
    let printed = "";
    if (!options.ownStdout) child.stdout?.on("data", (text: Buffer) => (printed += text));
    if (firstLine !== undefined) child.stdin?.write(firstLine);
    const send = () => {
      sentAt = performance.now();
      child.kill(signal);
    };
    void until(() => when(child, server, printed)).then(() => setTimeout(send, afterMs));
  };
  const { value, hopMs } = await timeBeside(() => runCommand({ ...options, onSpawn }));
  return { ...value, tookMs: performance.now() - sentAt, slackMs: 10 * hopMs };
}

describe.skipIf(!isBuilt).concurrent("a signal", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s ends the wait for an answer, for a retry and for a tool with %i, one result and a session that goes on", async (signal, code) => {
    const stages: Reply[] = [{ delayMs: 20_000, text: "late" }, { status: 429, headers: { "retry-after": "60" } }, bash("trap '' INT TERM HUP; sleep 30")];
    const check = async (reply: Reply) => {
      const home = makeHome();
      const run = await interrupt({ home, args: PROMPT, script: [reply], signal, when: ONE_REQUEST, afterMs: 400 });
      expect([run.code, ofType(run, "result").length, resultOf(run).status, resultOf(run).exitCode, errorOf(run).code]).toEqual([
        code,
        1,
        "interrupted",
        code,
        "INTERRUPTED",
      ]);
      expect(run.tookMs).toBeLessThan(3000 + run.slackMs);
      expect(run.stdout + run.stderr).not.toMatch(/\n\s+at /);
      if (reply.tools === undefined) return;
      const more = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-c", "-p", "go on"] });
      expect([more.code, talkOf(more)[0], talkOf(more).at(-1)]).toEqual([0, "user:hi", "user:go on"]);
    };
    await Promise.all(stages.map(check));
  });

  test("kills what a tool has started, whatever that ignores or has left", async () => {
    const home = makeHome();
    const sleep = `sleep 6${process.pid}`;
    const command = `trap '' INT TERM; setsid ${sleep} & ${sleep} & ${sleep}`;
    const isStarted = () => processesWith(sleep).filter((line) => line.trim().endsWith(sleep) && !line.includes("trap")).length >= 3;
    const run = await interrupt({ home, args: PROMPT, script: [bash(command)], signal: "SIGTERM", when: isStarted });
    expect(run.code).toBe(143);
    expect(run.tookMs).toBeLessThan(3000 + run.slackMs);
    await until(() => processesWith(sleep).length === 0);
  });

  test("ends the wait for a connection", async () => {
    const sockets: { destroy(): void }[] = [];
    const silent = createServer((socket) => sockets.push(socket.on("error", () => {})));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const env = { OPENROUTER_BASE_URL: `https://127.0.0.1:${(silent.address() as AddressInfo).port}/v1` };
    const run = await interrupt({ args: PROMPT, env, signal: "SIGINT", when: () => sockets.length > 0 });
    for (const socket of sockets) socket.destroy();
    silent.close();
    expect([run.code, resultOf(run).status]).toEqual([130, "interrupted"]);
    expect(run.tookMs).toBeLessThan(1000 + run.slackMs);
  });

  test("ends the wait for a list of models: what is known is told", async () => {
    const isListing = (_: ChildProcess, { listings }: TestServer) => listings.length > 0;
    const run = await interrupt({ args: PROMPT, script: [{ status: 404 }], models: { raw: ["HANG"] }, signal: "SIGINT", when: isListing });
    expect([run.code, errorOf(run).code, ofType(run, "result").length]).toEqual([130, "MODEL_UNAVAILABLE", 1]);
    expect(errorOf(run).hint).toContain("Models: https://openrouter.ai/models");
    expect(run.tookMs).toBeLessThan(2000 + run.slackMs);
  });

  test("ends the wait for stdin, before a request and between two", async () => {
    const before = await interrupt({ args: MODEL, stdin: "OPEN", signal: "SIGINT", when: handlesSignals });
    expect(before).toMatchObject({ code: 130, requests: [] });
    const isAnswered: Interruption["when"] = (_, __, printed) => printed.includes('"type":"result"');
    const between = await interrupt({ args: MODEL, stdin: "OPEN", firstLine: '{"message":"a"}\n', signal: "SIGTERM", when: isAnswered });
    expect([between.code, ofType(between, "result").at(-1)?.status]).toEqual([143, "success"]);
  });

  test("between the requests of one stdin ends the one at hand and takes no other", async () => {
    const script = (_: unknown, n: number): Reply => (n === 1 ? { raw: [chunk({ content: "half" }), "HANG"] } : { text: "ok" });
    const stdin = '{"message":"a"}\n{"message":"b"}\n{"message":"c"}\n';
    const run = await interrupt({ args: MODEL, stdin, script, signal: "SIGINT", when: (_, { requests }) => requests.length > 1 });
    expect([run.code, ofType(run, "result").map(({ status }) => status), run.requests.length]).toEqual([130, ["success", "interrupted"], 2]);
  });

  // The closed output is watched from the second second on.
  test.each([0, 2500])("that comes while nobody reads stdout still ends the command, whose answer took %i ms", async (delayMs) => {
    const text = "0123456789".repeat(100_000);
    const run = await interrupt({
      args: [...PROMPT, "--stream"],
      script: [{ delayMs, raw: [chunk({ content: text }), chunk({ content: text }), "HANG"] }],
      ownStdout: true,
      signal: "SIGTERM",
      when: ONE_REQUEST,
      afterMs: delayMs + 600,
    });
    expect(run.code).toBe(143);
    expect(run.tookMs).toBeLessThan(3000 + run.slackMs);
  });

  test("in text mode leaves nothing of a half answer on stdout and says how to go on", async () => {
    const run = await interrupt({ args: [...MODEL, "-p", "hi"], script: [{ raw: [chunk({ content: "half" }), "HANG"] }], signal: "SIGINT", when: ONE_REQUEST });
    expect([run.code, run.stdout, run.stderr]).toEqual([130, "", expect.stringContaining("Go on with --continue.")]);
  });
});
