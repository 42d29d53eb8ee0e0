import { afterAll, describe, expect, test } from "vitest";
import { eventSchema } from "../../cli/events-schema.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, ofType, removeHomes, resultOf, runCommand } from "./command.ts";
import { CLAUDE_BOTH, talk, toLines, user } from "./stream-json.ts";
import { byPrompt, type Call, runTools, statesOf, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const ON = ["--tools", "question,task,batch,bash"];
const ask = (question: string, options?: string[]): Call => ["question", { question, ...(options && { options }) }];
const unanswered = (question: string) =>
  `Nobody is there to answer: ${question}\nDecide without the answer, or say in the final answer what has to be known. A person answers with --input-format stream-json; permission question: deny keeps a model from asking.`;
const UNWILLING = "Denied: a person does not want to answer this. Decide without it, or say in the final answer what has to be known.";

/** Asks these questions at once, answers each by the frame that stands for it, and gives what the model was told. */
async function askAll(answers: Record<string, object>, args: string[]) {
  const questions = Object.keys(answers);
  const run = await talk({
    args: [...args, ...ON],
    script: [turn(...questions.map((each) => ask(each, ["red", "blue"]))), { text: "Noted." }],
    onStart: ({ send }) => send(user("go")),
    onLine(line, { send, end }) {
      if (line.type === "permission_request") send({ type: "permission_response", id: line.id, ...answers[line.question] });
      if (line.type === "control_request") {
        const response = { subtype: "success", request_id: line.request_id, response: answers[line.request.input.question] };
        send({ type: "control_response", response });
      }
      if (line.type === "result") end();
    },
  });
  return { run, told: Object.fromEntries(questions.map((each, index) => [each, toolOutputsOf(run.requests.at(-1))[index]])) };
}

describe.skipIf(!isBuilt)("a question", { concurrent: true }, () => {
  test("is asked as permission_request and answered by a frame", async () => {
    const answers = {
      "in words": { answer: "green" },
      "with a response": { response: "once", answer: "blue" },
      "with yes": { response: "always" },
      "with no": { response: "reject" },
      "with a reason": { response: "reject", message: "Ask me tomorrow." },
      "with no, in words": { response: "reject", answer: "Not today." },
    };
    const { run, told } = await askAll(answers, [...MODEL, ...JSON_OUT, "--input-format", "stream-json"]);
    expect(told).toEqual({
      "in words": "green",
      "with a response": "blue",
      "with yes": "yes",
      "with no": UNWILLING,
      "with a reason": "Denied: Ask me tomorrow.",
      "with no, in words": "Denied: Not today.",
    });
    expect([run.code, resultOf(run).status, ofType(run, "error")]).toEqual([0, "success", []]);
    const [asked] = ofType(run, "permission_request");
    expect(asked).toMatchObject({
      id: expect.stringMatching(/^per_/),
      tool: "question",
      title: asked.question,
      question: expect.any(String),
      options: ["red", "blue"],
    });
    const answered = ofType(run, "tool_use").find(({ part }) => part.state.output === "green");
    expect(answered.part.state).toMatchObject({ title: "in words", metadata: { question: "in words", options: ["red", "blue"], answer: "green" } });
  });

  test("is asked of the Agent SDK's canUseTool, whose updatedInput holds the answer", async () => {
    const allow = (updatedInput?: object) => ({ behavior: "allow", ...(updatedInput && { updatedInput }) });
    const answers = {
      "by answer": allow({ question: "by answer", answer: "green" }),
      "by a map": allow({ answers: { "by a map": "red" } }),
      "by a list": allow({ answers: ["blue"] }),
      "by several": allow({ answers: { x: ["red", "blue"] } }),
      "by its input": allow({ question: "by its input", options: ["red", "blue"] }),
      "by nothing": allow(),
      "by a denial": { behavior: "deny", message: "Not now." },
    };
    const { run, told } = await askAll(answers, CLAUDE_BOTH);
    expect(told).toEqual({
      "by answer": "green",
      "by a map": "red",
      "by a list": "blue",
      "by several": "red, blue",
      "by its input": "yes",
      "by nothing": "yes",
      "by a denial": "Denied: Not now.",
    });
    expect(ofType(run, "control_request")[0].request).toMatchObject({ subtype: "can_use_tool", tool_name: "question", input: { options: ["red", "blue"] } });
    expect([run.code, ofType(run, "result")[0].permission_denials.length]).toEqual([0, 1]);
  });

  test.each([
    ["without frames", { args: ["-p", "go"] }],
    ["once stdin has ended", { args: ["--input-format", "stream-json"], stdin: toLines(user("go")) }],
  ])("that nobody can answer, %s, is told to the model, and fails the run in the end", async (_, { args, ...input }) => {
    const script = [turn(ask("Which one?", ["a", "b"])), { text: "I took a." }];
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, ...ON, ...args], script, ...input });
    expect(toolOutputsOf(run.requests.at(-1))).toEqual([unanswered("Which one?")]);
    expect(resultOf(run)).toMatchObject({ status: "error", exitCode: 6, text: "I took a.", steps: 2, error: { code: "QUESTION_UNANSWERED" } });
    expect([run.code, ofType(run, "error").length, ofType(run, "permission_request").length]).toEqual([6, 1, 0]);
    expect(errorOf(run)).toMatchObject({ code: "QUESTION_UNANSWERED", message: "Nobody is there to answer: Which one?" });
  });

  test("that nobody can answer prints the answer all the same, as text and as Claude Code's result", async () => {
    const script = () => [turn(ask("Which one?")), { text: "I took a." }];
    const text = await runCommand({ args: [...MODEL, ...ON, "-p", "go"], script: script() });
    expect([text.code, text.stdout]).toEqual([6, "I took a.\n"]);
    expect(text.stderr).toContain("[QUESTION_UNANSWERED]");
    const claude = await runCommand({ args: [...MODEL, "--output-format", "stream-json", ...ON, "-p", "go"], script: script() });
    expect([claude.code, ofType(claude, "result")]).toMatchObject([
      6,
      [{ subtype: "error_during_execution", is_error: true, error: { code: "QUESTION_UNANSWERED" } }],
    ]);
  });

  test("of bad input, or that a rule denies, is a failed call alone; without its name it is not there", async () => {
    const bad: Call[] = [["question", {}], ["question", { question: " " }], ["question", { question: "q", options: Array(21).fill("o") }], ask("Which one?")];
    const run = await runTools(bad, { args: [...ON, "--permission", '{"question":"deny"}'] });
    const refused = (reason: string) => `The input of question is invalid: ${reason}\nCall it again with input that fits its schema.`;
    expect(run.outputs).toEqual([
      refused("question: Invalid input: expected string, received undefined"),
      refused("question: Too small: expected string to have >=1 characters"),
      refused("options: Too big: expected array to have <=20 items"),
      expect.stringMatching(/^Denied: the rule question "\*": "deny" forbids/),
    ]);
    expect([run.code, resultOf(run).status]).toEqual([0, "success"]);
    const off = await runTools([ask("Which one?")]);
    expect([off.code, off.outputs[0]]).toEqual([0, expect.stringMatching(/^There is no tool "question"/)]);
    expect(off.requests[0]?.body.tools.map((tool: any) => tool.function.name)).not.toContain("question");
  });

  test("of a task, also of one in the background, reaches the same person, in frames that carry its call", async () => {
    const task = (prompt: string, background: boolean): Call => ["task", { description: "d", prompt, background }];
    const run = await talk({
      args: [...CLAUDE_BOTH, ...ON],
      script: byPrompt({
        top: [turn(task("child", false), task("aside", true)), { text: "Done." }],
        child: [turn(ask("Which one?")), { text: "Child is done." }],
        aside: [turn(ask("And here?")), { text: "Aside is done." }],
      }),
      onStart: ({ send }) => send(user("top")),
      onLine(line, { send, end }) {
        if (line.type === "control_request") send({ type: "permission_response", id: line.request_id, answer: `to ${line.request.input.question}` });
        if (line.type === "result") end();
      },
    });
    const calls = ofType(run, "assistant").flatMap(({ message, parent_tool_use_id }) =>
      parent_tool_use_id === null ? message.content.map(({ id }: any) => id) : [],
    );
    expect(
      ofType(run, "control_request")
        .map((line) => line.parent_tool_use_id)
        .sort(),
    ).toEqual(calls.slice(0, 2).sort());
    const results = ofType(run, "user").map(({ message }) => message.content[0].content);
    expect(results).toEqual(expect.arrayContaining(["to Which one?", "to And here?"]));
    expect(run.code).toBe(0);
  });

  test("that waits is taken back by an interrupt, and by SIGINT", async () => {
    const script = [turn(ask("Which one?")), { text: "Never." }];
    const args = [...MODEL, ...JSON_OUT, "--input-format", "stream-json", ...ON];
    const interrupted = await talk({
      args,
      script,
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "permission_request") send({ type: "interrupt" });
        if (line.type === "result") end();
      },
    });
    expect(interrupted.events.filter((event) => !eventSchema.safeParse(event).success)).toEqual([]);
    expect(ofType(interrupted, "control_cancel_request")).toMatchObject([{ request_id: ofType(interrupted, "permission_request")[0].id }]);
    expect(resultOf(interrupted)).toMatchObject({ status: "interrupted", error: { code: "INTERRUPTED" } });
    const killed = await runCommand({
      args,
      script,
      stdin: "OPEN",
      onSpawn(child) {
        child.stdin?.write(toLines(user("go")));
        child.stdout?.on("data", (text: string) => text.includes("permission_request") && child.kill("SIGINT"));
      },
    });
    expect([killed.code, statesOf(killed), resultOf(killed).status]).toEqual([130, ["question:error"], "interrupted"]);
  });

  test("goes on waiting after an answer that cannot be read", async () => {
    const run = await talk({
      args: [...MODEL, ...JSON_OUT, "--input-format", "stream-json", ...ON],
      script: [turn(ask("Which one?")), { text: "ok" }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "permission_request") {
          send({ type: "permission_response", id: line.id, answer: 7 });
          send({ type: "permission_response", id: line.id });
          send({ type: "permission_response", id: line.id, answer: "that one" });
        }
        if (line.type === "result") end();
      },
    });
    expect(toolOutputsOf(run.requests.at(-1))).toEqual(["that one"]);
    expect(ofType(run, "error").map(({ error }) => error.message)).toEqual([
      expect.stringContaining("answer must be a string."),
      expect.stringContaining("response must be once, always or reject."),
    ]);
  });
});
