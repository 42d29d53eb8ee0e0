import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import type { Reply, SeenRequest } from "../fixtures/server.ts";
import { timeBeside } from "../fixtures/timing.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, makeHomeWith, ofType, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { CLAUDE_BOTH, resultsOf, talk, user } from "./stream-json.ts";
import { byPrompt, type Call, processesWith, runTools, statesOf, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const PROMPT = [...MODEL, ...JSON_OUT, "-p", "go"];
const YOLO = ["--permission-mode", "yolo"];
const bash = (command: string, more: object = {}): Call => ["bash", { command, ...more }];
const behind = (command: string, more: object = {}): Call => bash(command, { background: true, ...more });
const look = (id: string, wait?: number): Call => ["bash_output", { id, ...(wait !== undefined && { wait }) }];
const kill = (id: string): Call => ["bash_kill", { id }];
const toolsOf = ({ body }: SeenRequest): string[] => body.tools.map((tool: any) => tool.function.name);
const saidOf = (request: SeenRequest): string => toolOutputsOf(request).join("\n");
const RUNNING = / has been running for \d+ ms\)/;
/** Seconds to sleep that no other process sleeps. */
let sleeps = 400_000 + (process.pid % 10_000) * 8;
const nextSleep = () => `sleep ${++sleeps}`;
/** Four processes that try to stay. */
const stubborn = (sleep: string) => `setsid ${sleep} & nohup ${sleep} & (trap '' TERM INT HUP; ${sleep}) & ${sleep}`;

/** Peak memory of a process in KB, where the system tells. */
function peakOf({ pid }: ChildProcess): number {
  const status = existsSync(`/proc/${pid}/status`) ? readFileSync(`/proc/${pid}/status`, "utf8") : "";
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
}

describe.skipIf(!isBuilt).concurrent("bash", () => {
  test("runs a real bash, and tells each wrong input by its fault", async () => {
    const home = makeHomeWith({ "work/file.txt": "x", "work/sub/a.txt": "a" });
    const invalid = (reason: string) => `The input of bash is invalid: ${reason}\nCall it again with input that fits its schema.`;
    const cases: [Call, string][] = [
      [bash("[[ $BASH_VERSION && ! -t 0 ]] && a=(1 2) && echo ${a[1]}; echo err >&2"), "2\nerr\n"],
      [bash("pwd; ls", { workdir: "sub", description: "Look" }), `${home}/work/sub\na.txt\n`],
      [bash("echo x; exit 3"), "x\n\n(Exit code: 3)"],
      [bash("sleep 30", { timeout: 300 }), "(no output)\n(Command timed out after 300 ms)"],
      [bash("sleep 900 & exit 0"), "(no output)"],
      [bash("true", { timeout: 9e9 }), "(no output)"],
      [bash("pwd", { workdir: "file.txt" }), `bash failed: there is no directory ${home}/work/file.txt`],
      [bash("pwd", { workdir: "none" }), `bash failed: there is no directory ${home}/work/none`],
      [bash("pwd", { workdir: ".." }), `.. is outside the workspace.\nUse a path below ${home}/work.`],
      [bash("true", { timeout: 0 }), invalid("timeout is 0; give milliseconds from 1 to 600000.")],
      [bash("true", { timeout: -1 }), invalid("timeout is -1; give milliseconds from 1 to 600000.")],
      [bash("true", { timeout: "9" }), invalid("timeout: Invalid input: expected number, received string")],
      [behind("true", { timeout: 0 }), invalid("timeout is 0; give milliseconds from 1 on.")],
      [bash("true", { background: "yes" }), invalid("background: Invalid input: expected boolean, received string")],
      [["bash", {}], invalid("command: Invalid input: expected string, received undefined")],
      [bash("echo a\0b"), "bash failed: an argument or the input has a NUL character"],
      [bash("#".repeat(140_000)), "bash failed: the command is too long for the system; put its text into a file"],
    ];
    const run = await runTools(
      cases.map(([call]) => call),
      { home, args: YOLO },
    );
    expect(run.outputs).toEqual(cases.map(([, output]) => output));
    expect(statesOf(run).filter((state) => state === "bash:error").length).toBe(11);
    expect(run.ms).toBeLessThan(28_000);
  });

  test("lets no program wait for a terminal or for stdin", async () => {
    const commands = ["read x; echo got:$x", "cat", "sudo -k id", "less file.txt", "python3 -i", "git init -q . && git commit --allow-empty"];
    const run = await runTools(
      // vim reads from stderr when all else fails: only its timeout ends it.
      [...commands.map((command) => bash(command, { timeout: 30_000 })), bash("vim file.txt", { timeout: 500 })],
      { home: makeHomeWith({ "work/file.txt": "x" }), args: YOLO },
    );
    expect(run.outputs[0]).toBe("got:\n");
    expect(run.outputs.filter((output) => output.includes("timed out after 30000 ms"))).toEqual([]);
    expect(run.outputs[6]).toMatch(/timed out after 500 ms|not found/);
  });

  test.each<[string, Call]>([
    ["of one line", bash("head -c 200000000 /dev/zero | tr '\\0' x")],
    ["of bytes", bash("cat /dev/urandom")],
    ["in the background", behind("sleep 0.3; yes")],
  ])("ends a flood %s at its cap, and the agent grows by at most 64 MB", async (_, flood) => {
    let child: ChildProcess | undefined;
    const peaks: number[] = [];
    const run = await runCommand({
      args: [...PROMPT, ...YOLO],
      onSpawn: (spawned) => (child = spawned),
      async script(request, n) {
        const file = /whole output goes to (\S+\.txt)\)/.exec(saidOf(request))?.[1];
        if (file !== undefined) await until(() => existsSync(file) && statSync(file).size === 64 * 1024 * 1024);
        peaks.push(peakOf(child as ChildProcess));
        const isOver = file === undefined || saidOf(request).includes("more than 64 MiB");
        return n === 0 ? turn(flood) : isOver ? { text: "ok" } : turn(look("bg_1", 10_000));
      },
    });
    const outputs = toolOutputsOf(run.requests.at(-1));
    expect(outputs.some((output) => /(bytes|characters) left out; the whole output is in \//.test(output))).toBe(true);
    expect(outputs.at(-1)?.slice(-200)).toMatch(/it wrote more than 64 MiB\. Write to a file, or filter with head or grep\.\)$/);
    expect(Math.max(...outputs.map((output) => output.length))).toBeLessThan(31_000);
    expect(Math.max(...peaks) - (peaks[0] ?? 0)).toBeLessThan(64_000);
  });

  test("keeps what it leaves out in a file, which read and grep find", async () => {
    const fileOf = (request: SeenRequest) => /whole output is in (\S+\.txt)\)/.exec(saidOf(request))?.[1];
    const run = await runCommand({
      args: PROMPT,
      script: (request, n) =>
        n === 0
          ? turn(bash("seq 1 900000"))
          : n === 1
            ? turn(["read", { filePath: fileOf(request), offset: 812_345, limit: 2 }], ["grep", { pattern: "^765432$", path: fileOf(request) }])
            : { text: "ok" },
    });
    const [cut, read, grep] = toolOutputsOf(run.requests.at(-1));
    expect(cut).toMatch(/^1\n2\n[\s\S]*bytes left out; [\s\S]*\n900000\n$/);
    expect(read).toContain("812345| 812345\n812346| 812346\n");
    expect(grep).toContain("Line 765432: 765432");
  });
});

const SERVER = `node -e "
  const server = require('http').createServer((request, response) => { console.log('asked', request.url); response.end('pong'); });
  server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
"`;
const portOf = (request: SeenRequest): string => /port (\d+)/.exec(saidOf(request))?.[1] ?? "";
const ask = (port: string, path: string) =>
  bash(`node -e "fetch('http://127.0.0.1:${port}${path}').then((answer) => answer.text()).then(console.log, (error) => console.log(error.cause.code))"`);

describe.skipIf(!isBuilt).concurrent("a call that is made again and again", () => {
  const repeat = async (...calls: Call[]) => {
    const run = await runCommand({
      args: [...PROMPT, ...YOLO],
      script: (_, n) => (n < 25 ? turn(calls[Math.min(n, calls.length - 1)] as Call) : { text: "ok" }),
    });
    return [run.code, run.requests.length, resultOf(run).error?.code];
  };

  test.each([
    ["has a long output, in another file each time", bash("seq 1 20000; exit 1")],
    ["looks at what is not there", look("bg_1")],
  ])("and %s is a loop", async (_, call) => {
    expect(await repeat(call)).toEqual([3, 5, "LOOP_DETECTED"]);
  });

  test("and fails at once in the background is a loop, unless the machine is slower than its first words", async () => {
    const [code, requests, error] = await repeat(behind("echo no; exit 1"));
    expect([code, error]).toEqual([3, "LOOP_DETECTED"]);
    expect(requests).toBeGreaterThanOrEqual(5);
  });

  test("to look at a command that goes on is none", async () => {
    expect(await repeat(behind(nextSleep()), look("bg_1"))).toEqual([0, 26, undefined]);
  });
});

describe.skipIf(!isBuilt).concurrent("a command in the background", () => {
  test("is a server that the next command talks to; it is looked at and ended, and its tools come with it", async () => {
    let port = "";
    const steps = () => [turn(ask(port, "/first")), turn(look("bg_1", 10_000), look("bg_2")), turn(kill("bg_1")), turn(look("bg_1"), ask(port, "/late"))];
    let rest: Reply[] | undefined;
    const run = await runCommand({
      args: PROMPT,
      script(request, n) {
        port ||= portOf(request);
        // Until the port is told, the model looks for it.
        if (port === "") return turn(n === 0 ? behind(SERVER) : look("bg_1", 10_000));
        rest ??= steps();
        return rest.shift() ?? { text: "ok" };
      },
    });
    const [answer, seen, unknown, killed, gone, refused] = toolOutputsOf(run.requests.at(-1)).slice(-6);
    expect(answer).toBe("pong\n");
    expect(seen).toMatch(/^asked \/first\n\n\(bg_1 has been running for \d+ ms\)$/);
    expect(unknown).toBe('bash_output failed: there is no background command "bg_2"; there are bg_1.');
    expect(killed).toMatch(/^\(no new output\)\n\(bg_1 was ended by bash_kill after \d+ ms\)$/);
    expect(gone).toMatch(/^bash_output failed: there is no background command "bg_1"; there is none\./);
    expect(refused).toBe("ECONNREFUSED\n");
    expect(toolsOf(run.requests[0] as SeenRequest)).not.toContain("bash_output");
    for (const request of run.requests.slice(1)) expect(toolsOf(request)).toEqual(expect.arrayContaining(["bash_output", "bash_kill"]));
    expect([run.code, ofType(run, "cache_broken").length]).toEqual([0, 1]);
  });

  test("is refused as the ninth, may end at its timeout, and each wrong input is told by its fault", async () => {
    const sleep = nextSleep();
    const turns: Call[][] = [
      [behind(sleep, { timeout: 6000 }), ...Array.from({ length: 7 }, () => behind(sleep))],
      [behind(sleep), ["bash_output", {}], look("bg_1", -1), look(""), ["bash_kill", {}], kill("bg_9")],
      [look("bg_1", 30_000)],
      [behind(sleep)],
    ];
    const run = await runCommand({ args: [...PROMPT, ...YOLO], script: (_, n) => (turns[n] ? turn(...turns[n]) : { text: "ok" }) });
    const outputs = toolOutputsOf(run.requests.at(-1));
    const ids = Array.from({ length: 8 }, (_, n) => `bg_${n + 1}`);
    expect(outputs.slice(0, 8).every((output) => RUNNING.test(output))).toBe(true);
    expect(outputs.slice(8, 14)).toEqual([
      `bash failed: 8 commands run in the background, and no more may. End one with bash_kill: ${ids.map((id) => `${id} (${sleep})`).join(", ")}`,
      "The input of bash_output is invalid: id: Invalid input: expected string, received undefined\nCall it again with input that fits its schema.",
      "The input of bash_output is invalid: wait: Too small: expected number to be >=0\nCall it again with input that fits its schema.",
      `bash_output failed: there is no background command ""; there are ${ids.join(", ")}.`,
      "The input of bash_kill is invalid: id: Invalid input: expected string, received undefined\nCall it again with input that fits its schema.",
      `bash_kill failed: there is no background command "bg_9"; there are ${ids.join(", ")}.`,
    ]);
    expect(outputs[14]).toMatch(/^\(no new output\)\n\(bg_1 was ended at its timeout after \d+ ms\)$/);
    expect(outputs[15]).toMatch(/^\(no output\)\n\(bg_9 has been running/);
    expect(processesWith(sleep)).toEqual([]);
  });

  test("goes on from prompt to prompt of a conversation, also over one that is interrupted, and ends with it", async () => {
    const sleep = nextSleep();
    const replies: Reply[] = [turn(behind(sleep)), { text: "started" }, turn(look("bg_1", 60_000)), turn(look("bg_1")), { text: "runs" }];
    let results = 0;
    const run = await talk({
      args: [...CLAUDE_BOTH, ...YOLO],
      script: (_, n) => replies[n] ?? { status: 500 },
      onStart: ({ send }) => send(user("one")),
      onLine(line, { send, end }) {
        const isWaiting = line.type === "assistant" && line.message.content.some((part: any) => part.input?.wait === 60_000);
        if (isWaiting) send({ type: "control_request", request_id: "r1", request: { subtype: "interrupt" } });
        if (line.type !== "result") return;
        results++;
        if (results < 3) send(user(results === 1 ? "two" : "three"));
        else end();
      },
    });
    expect(resultsOf(run).map(({ subtype }) => subtype)).toEqual(["success", "error_during_execution", "success"]);
    expect(toolOutputsOf(run.requests.at(-1)).at(-1)).toMatch(/^\(no new output\)\n\(bg_1 has been running for \d+ ms\)$/);
    expect([run.code, processesWith(sleep)]).toEqual([0, []]);
  });

  test("of a task is the task's own, and ends with it", async () => {
    const [own, childs] = [nextSleep(), nextSleep()];
    const left: number[] = [];
    const script = byPrompt({
      go: [turn(behind(own)), turn(["task", { description: "Start", prompt: "child" }]), turn(look("bg_1")), { text: "ok" }],
      child: [turn(look("bg_1"), behind(childs)), turn(look("bg_1")), { text: "started" }],
    });
    const run = await runCommand({
      args: [...PROMPT, ...YOLO],
      async script(request) {
        if (saidOf(request).includes("started")) {
          await until(() => processesWith(childs).length === 0);
          left.push(processesWith(own).length);
        }
        return script(request);
      },
    });
    const [unknown, started, seen] = toolOutputsOf(run.requests.find((request) => toolOutputsOf(request).length === 3));
    expect([unknown, started, seen]).toEqual([
      expect.stringContaining('there is no background command "bg_1"; there is none.'),
      expect.stringMatching(/bg_1 has been running/),
      expect.stringMatching(RUNNING),
    ]);
    expect(toolOutputsOf(run.requests.at(-1)).at(-1)).toMatch(/bg_1 has been running/);
    expect(left.every((count) => count === 1)).toBe(true);
    expect(processesWith(own)).toEqual([]);
  });

  test("may be looked at and ended in every mode in which it may be started", async () => {
    const home = makeHomeWith({ "work/log.txt": "one\n" });
    const begin = turn(behind("tail -f log.txt"), behind("touch x"));
    for (const mode of ["plan", "auto"]) {
      const rest = [look, kill];
      const script = (request: SeenRequest, n: number): Reply => {
        if (n === 0) return begin;
        const id = /\((bg_\d) has been running/.exec(saidOf(request))?.[1] ?? "";
        // Its first words may come later than its id.
        if (!/^one$/m.test(saidOf(request))) return turn(look(id, 10_000));
        const next = rest.shift();
        return next === undefined ? { text: "ok" } : turn(next(id));
      };
      const run = await runCommand({ home, args: [...PROMPT, "--permission-mode", mode], script });
      const [started, other, ...looks] = toolOutputsOf(run.requests.at(-1));
      const ended = looks.pop();
      expect([started, ...looks].join("\n")).toMatch(/^one$/m);
      expect(other).toMatch(mode === "plan" ? /permission mode "plan" allows only/ : /exited with code 0|has been running/);
      expect(ended).toMatch(/\(bg_\d was ended by bash_kill after \d+ ms\)$/);
    }
  });
});

// By itself: here time counts.
describe.skipIf(!isBuilt)("a command in the background", () => {
  test("is gone with the agent, however it ends and whatever the command did to stay", async () => {
    const end = async (signal?: NodeJS.Signals) => {
      const sleep = nextSleep();
      let sentAt = 0;
      let child: ChildProcess | undefined;
      const script = async (_: unknown, n: number): Promise<Reply> => {
        if (n === 0) return turn(behind(stubborn(sleep)));
        await until(() => processesWith(sleep).length >= 4);
        sentAt = performance.now();
        if (signal === undefined) return { text: "ok" };
        setTimeout(() => {
          sentAt = performance.now();
          child?.kill(signal);
        }, 200);
        // The model waits for news that never come.
        return turn(look("bg_1", 60_000));
      };
      const { value: run, hopMs } = await timeBeside(async () => {
        const ended = await runCommand({ args: [...PROMPT, ...YOLO], onSpawn: (spawned) => (child = spawned), script });
        await until(() => processesWith(sleep).length === 0);
        return ended;
      });
      return { run, overMs: performance.now() - sentAt - 10 * hopMs };
    };
    const ends = [undefined, "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"] as const;
    const ended: Awaited<ReturnType<typeof end>>[] = [];
    for (const signal of ends) ended.push(await end(signal));
    expect(ended.map(({ run }) => run.code ?? run.signal)).toEqual([0, 130, 143, 129, "SIGKILL"]);
    expect([resultOf(ended[0]!.run).status, errorOf(ended[1]!.run).code]).toEqual(["success", "INTERRUPTED"]);
    expect(Math.max(...ended.map(({ overMs }) => overMs))).toBeLessThan(2000);
  });
});
