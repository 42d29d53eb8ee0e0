import type { AgentEvent } from "agent-runtime";
import { definePlugin, tool, z } from "agent-runtime";
import { type BootedAgent, type BootOptions, boot, call, calls, fail, type ScriptedTurn, say } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import type { EventOf, EventType } from "../../core/events.ts";
import batch from "../../plugins/batch/index.ts";
import task from "../../plugins/task/index.ts";
import todo from "../../plugins/todo/index.ts";
import { bareText } from "../cli/tool-runs.ts";

const booted: BootedAgent[] = [];
afterEach(async () => {
  for (const agent of booted.splice(0)) await agent.close();
});

/** Waits until somebody opens it. */
function createGate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open: () => open(), opened };
}

/** A model that answers each conversation by its first words. */
const byPrompt =
  (turns: Record<string, ScriptedTurn[]>) =>
  ({ prompt }: { prompt: readonly { role: string; content: any }[] }): ScriptedTurn => {
    const own = turns[prompt.find(({ role }) => role === "user")?.content[0].text] ?? [fail(400)];
    return own[Math.min(prompt.filter(({ role }) => role === "assistant").length, own.length - 1)] as ScriptedTurn;
  };

interface World {
  agent: BootedAgent;
  /** Of the tool `hold`. */
  gate: ReturnType<typeof createGate>;
  /** Prompts, and hands on each event before the next is read. */
  run(message: string, onEvent?: (event: AgentEvent) => void, options?: { signal?: AbortSignal; session?: string }): ReturnType<typeof runAndWatch>;
  /** What the model was told in a request: the texts of user messages, and of results. */
  told(request: number): string[];
}

async function runAndWatch(
  agent: BootedAgent,
  message: string,
  onEvent: (event: AgentEvent) => void,
  { signal, session }: { signal?: AbortSignal; session?: string },
) {
  const run = agent.runtime.prompt({ message, ...(session !== undefined && { session }) }, { ...(signal && { signal }) });
  const events: AgentEvent[] = [];
  for await (const event of run) {
    events.push(event);
    onEvent(event);
  }
  return { events, result: await run.result };
}

async function start(turns: Record<string, ScriptedTurn[]>, options: BootOptions = {}): Promise<World> {
  const gate = createGate();
  const hold = tool({
    name: "hold",
    description: "Waits.",
    effect: "read",
    input: z.object({}),
    run: async () => {
      await gate.opened;
      return "held";
    },
  });
  const holding = definePlugin({ name: "holding", setup: () => ({ tools: [hold] }) });
  const agent = await boot({ plugins: [task, batch, todo, holding], script: byPrompt(turns), ...options });
  booted.push(agent);
  const told = (request: number) =>
    (agent.requests[request]?.prompt ?? []).flatMap((message): string[] => {
      if (message.role === "user") return message.content.flatMap((part) => (part.type === "text" ? [bareText(part.text)] : []));
      if (message.role === "tool") return message.content.flatMap((part: any) => [bareText(part.output.value)]);
      return [];
    });
  return { agent, gate, told, run: (message, onEvent = () => {}, more = {}) => runAndWatch(agent, message, onEvent, more) };
}

const ofType = <T extends EventType>(events: AgentEvent[], type: T) => events.filter((event): event is EventOf<T> => event.type === type);
const background = (prompt: string, more: object = {}) => ["task", { description: `about ${prompt}`, prompt, background: true, ...more }] as const;
const inBackground = (...tasks: (readonly [string, object])[]) => calls(...tasks.map(([name, input]) => [name, input] as [string, object]));
const idIn = (text: string | undefined): string => /task_id: (ses_\w+)/.exec(text ?? "")?.[1] ?? "";
/** The request at which a conversation was asked the nth time. */
const requestOf = ({ agent }: World, words: string, nth: number) =>
  agent.requests.flatMap(({ prompt }, index) => ((prompt.find(({ role }) => role === "user") as any)?.content[0].text === words ? [index] : []))[nth] as number;

describe("a task in the background", () => {
  test("is begun when the call returns, and its answer is told before the run ends", async () => {
    const world = await start({
      top: [inBackground(background("child")), say("Nothing left to do."), say("All is known.")],
      child: [call("hold"), say("Child's answer.")],
    });
    const { events, result } = await world.run("top", (event) => {
      if (event.type === "step.finish" && event.parentId === undefined && event.step === 2) world.gate.open();
    });
    expect(result).toMatchObject({ status: "success", text: "All is known.", steps: 3 });
    const own = ofType(events, "tool.finish").find((event) => event.tool === "task")!;
    expect(own.state).toMatchObject({ status: "completed", title: "about child", metadata: { status: "running" } });
    const id = String((own.state as any).metadata.sessionId);
    expect((own.state as any).output).toBe(`The task runs in the background. You will be told its answer.\n(task_id: ${id})`);
    expect(world.told(requestOf(world, "top", 2)).at(-1)).toBe(
      `The background task "about child" has ended: success (task_id: ${id}). Its answer:\nChild's answer.`,
    );
    const child = events.filter(({ sessionId }) => sessionId === id);
    expect(new Set(child.map(({ parentId }) => parentId))).toEqual(new Set([result.sessionId]));
    expect(ofType(child, "session.start")[0]).toMatchObject({ callId: own.callId });
    expect(events.indexOf(own)).toBeLessThan(events.indexOf(ofType(child, "session.finish")[0]!));
    expect(events.at(-1)).toMatchObject({ type: "session.finish", sessionId: result.sessionId });
  });

  test("that has ended is told of at the next request, once", async () => {
    const world = await start({ top: [inBackground(background("child")), call("hold"), call("hold"), say("Done.")], child: [say("Quick.")] });
    const { result } = await world.run("top", ({ type, parentId }) => {
      if (type === "session.finish" && parentId !== undefined) world.gate.open();
    });
    expect([result.text, result.steps]).toEqual(["Done.", 4]);
    const last = world.told(requestOf(world, "top", 3));
    expect(world.told(requestOf(world, "top", 2)).at(-1)).toMatch(/has ended: success .* Its answer:\nQuick\.$/s);
    expect(last.filter((text) => text.includes("has ended"))).toHaveLength(1);
  });

  test("counts for the cost and the tokens of its parent, and keeps its limits", async () => {
    const turns = {
      top: [
        { ...inBackground(background("child")), costUsd: 1 },
        { ...say("Waiting."), costUsd: 1 },
        { ...say("Done."), costUsd: 1 },
      ],
      child: [
        { ...call("hold"), costUsd: 2 },
        { ...say("Child."), costUsd: 2 },
      ],
    };
    const free = await start(turns);
    free.gate.open();
    expect((await free.run("top")).result).toMatchObject({ status: "success", costUsd: 7 });
    const bound = await start(turns, { limits: { costUsd: 4 } });
    bound.gate.open();
    const { result } = await bound.run("top");
    expect(result).toMatchObject({ status: "limit", error: { code: "LIMIT_COST" } });
    expect(result.costUsd).toBeLessThanOrEqual(4);
  });

  test("that fails or meets a limit is told of as such", async () => {
    const world = await start(
      {
        top: [inBackground(background("bad"), background("long", { subagent_type: "short" })), say("Waiting."), say("Done.")],
        long: [{ ...call("hold"), text: "I begin." }, say("Never.")],
        bad: [fail(400)],
      },
      { config: { agent: { short: { steps: 1 } } } },
    );
    world.gate.open();
    const { result } = await world.run("top");
    expect(result).toMatchObject({ status: "success", text: "Done." });
    const told = agentTold(world);
    expect(told).toContainEqual(expect.stringMatching(/^The background task "about bad" has ended: error \(task_id: ses_\w+\)\. scripted\/model refused/));
    expect(told).toContainEqual(
      expect.stringMatching(/"about long" has ended: limit \(task_id: ses_\w+\)\. The limit of 1 steps is reached\.\nIts last words:\nI begin\./),
    );
  });

  test("that cannot begin is a failed call, of which nothing is told later", async () => {
    const world = await start({
      top: [
        inBackground(background("a", { subagent_type: "nobody" }), background("b", { model: "nope/x" }), background("c", { task_id: "ses_other" })),
        say("Then not."),
      ],
    });
    const { events, result } = await world.run("top");
    expect([result.text, result.steps]).toEqual(["Then not.", 2]);
    const texts = ofType(events, "tool.finish").map(({ state }) => (state.status === "error" ? state.error : "completed"));
    for (const reason of [
      /^The task ended as error: There is no agent profile "nobody"; there are: build, plan\./,
      /^The task ended as error: There is no provider "nope" for the model nope\/x\./,
      /^The task ended as error: There is no session ses_other\.$/,
    ])
      expect(texts).toContainEqual(expect.stringMatching(reason));
  });

  test("is one of eight at most, and each that ends makes room", async () => {
    const nine = Array.from({ length: 9 }, (_, index) => background(`child ${index}`));
    const children = Object.fromEntries(nine.map(([, { prompt }]: any) => [prompt, [call("hold"), say("Held.")]]));
    const world = await start({
      top: [inBackground(...nine), say("Waiting."), inBackground(background("late")), say("Still."), say("Done.")],
      late: [say("Late.")],
      ...children,
    });
    const { events, result } = await world.run("top", (event) => {
      if (event.type === "step.finish" && event.parentId === undefined && event.step === 2) world.gate.open();
    });
    expect(result).toMatchObject({ status: "success", text: "Done." });
    const states = ofType(events, "tool.finish")
      .filter((event) => event.tool === "task")
      .map(({ state }) => state);
    const refused = states.filter(({ status }) => status === "error");
    expect(refused).toMatchObject([
      {
        code: "TASKS_CROWDED",
        error: "8 tasks run in the background already.\nGo on with other work until you are told that one has ended, or start this one without background.",
      },
    ]);
    expect(states).toHaveLength(10);
    expect(agentTold(world).filter((text) => text.includes("has ended: success"))).toHaveLength(9);
  });

  test("of a task is waited for by that task, and counts as one of the eight", async () => {
    const world = await start({
      top: [call("task", { description: "d", prompt: "child" }), say("Done.")],
      child: [inBackground(background("grandchild")), say("Waiting."), say("Both are done.")],
      grandchild: [call("hold"), say("Grand.")],
    });
    const { events } = await world.run("top", ({ type, parentId, ...event }) => {
      if (type === "step.finish" && parentId !== undefined && (event as any).step === 2) world.gate.open();
    });
    const own = ofType(events, "tool.finish").find((event) => event.tool === "task" && event.parentId === undefined)!;
    expect((own.state as any).output).toMatch(/^Both are done\./);
    expect(world.told(requestOf(world, "child", 2)).at(-1)).toMatch(/has ended: success .*\nGrand\.$/s);
  });

  test("in a batch, or of calls that came with the prompt, is waited for and told of, too", async () => {
    const world = await start({
      top: [call("batch", { tool_calls: [{ tool: "task", parameters: background("child")[1] }] }), say("Waiting."), say("Done.")],
      child: [say("Child.")],
      again: [say("I know.")],
    });
    expect((await world.run("top")).result.text).toBe("Done.");
    const request = { message: "given", tools: [{ name: "task", params: background("child")[1] }], noReply: true };
    const { events, result } = await world.agent.prompt(request);
    expect(result).toMatchObject({ status: "success", text: "", steps: 0 });
    expect(events.filter(({ type, parentId }) => type === "session.finish" && parentId !== undefined)).toHaveLength(1);
    const { entries } = await world.agent.runtime.sessions.read(result.sessionId);
    expect(JSON.stringify(entries.at(-1)!.message)).toContain("has ended: success");
    expect(entries.map(({ message }) => message.role)).toEqual(["user", "assistant", "tool", "user"]);
  });

  test("ends with an abort of its parent, whose next prompt knows of it", async () => {
    const world = await start({ top: [inBackground(background("child")), say("Waiting."), say("I see.")], child: [call("hold"), say("Never.")] });
    const abort = new AbortController();
    const { events, result } = await world.run("top", (event) => event.type === "step.finish" && event.step === 2 && abort.abort(), { signal: abort.signal });
    expect(result).toMatchObject({ status: "interrupted", exitCode: 130, text: "Waiting." });
    const ends = ofType(events, "session.finish");
    expect(ends.map((event) => [event.parentId === undefined, event.result.status])).toEqual([
      [false, "interrupted"],
      [true, "interrupted"],
    ]);
    const { entries } = await world.agent.runtime.sessions.read(result.sessionId);
    expect(entries.map(({ message }) => message.role)).toEqual(["user", "assistant", "tool", "assistant", "user"]);
    expect((await world.run("and now?", undefined, { session: result.sessionId })).result.status).toBe("success");
    expect(world.told(world.agent.requests.length - 1).at(-2)).toMatch(/has ended: interrupted \(task_id: ses_\w+\)\. The run was interrupted\./);
  });

  test("ends when its parent fails", async () => {
    const world = await start({ top: [inBackground(background("child")), fail(400)], child: [call("hold"), say("Never.")] });
    const { events, result } = await world.run("top");
    expect(result).toMatchObject({ status: "error", error: { code: "REQUEST_INVALID" } });
    expect(ofType(events, "session.finish").map(({ result }) => result.status)).toEqual(["interrupted", "error"]);
  });
});

const agentTold = (world: World): string[] => world.told(world.agent.requests.length - 1);

describe("a task", () => {
  const toolsOf = (world: World, request: number) => (world.agent.requests[request]?.tools ?? []).map(({ name }) => name);

  test("has the tools of its profile and no list of todos, and goes on with an earlier one of its session", async () => {
    const turns: Record<string, ScriptedTurn[]> = {
      top: [call("task", { description: "d", prompt: "child", subagent_type: "lean" }), say("Done.")],
      child: [say("First."), say("Second.")],
    };
    const world = await start(turns, { config: { agent: { lean: { tools: { batch: false } } } } });
    const { events, result } = await world.run("top");
    expect(toolsOf(world, 0)).toEqual(["task", "batch", "todowrite", "todoread", "hold"]);
    expect(toolsOf(world, 1)).toEqual(["task", "hold"]);
    const own = ofType(events, "tool.finish")[0]!;
    const task_id = idIn((own.state as any).output);
    turns.top = [turns.top![0]!, turns.top![1]!, call("task", { description: "d", prompt: "more", task_id }), say("Done again.")];
    const again = await world.run("go on", undefined, { session: result.sessionId });
    expect((ofType(again.events, "tool.finish")[0]!.state as any).output).toMatch(/^Second\./);
  });

  test("that fails is a failed call with its last words", async () => {
    const world = await start({
      top: [call("task", { description: "d", prompt: "child" }), say("Done.")],
      child: [{ ...call("todowrite", { todos: [] }), text: "So far so good." }, fail(400)],
    });
    const { events } = await world.run("top");
    const own = ofType(events, "tool.finish").find((event) => event.tool === "task")!;
    expect((own.state as any).error).toMatch(
      /^The task ended as error: scripted\/model refused the request \(400\).*\nIts last words: So far so good\.\n\(task_id: ses_\w+\)$/s,
    );
    expect(ofType(events, "tool.finish").find((event) => event.tool === "todowrite")!.state).toMatchObject({ code: "TOOL_NOT_FOUND" });
  });
});
