import { afterAll, describe, expect, test } from "vitest";
import { isBuilt, JSON_OUT, KEY, MODEL, makeConfiguredHome, makeHome, readAll, removeHomes, runCommand, talkOf } from "./command.ts";
import { CLAUDE_BOTH, resultsOf, talk, toLines, user } from "./stream-json.ts";
import { turn } from "./tool-runs.ts";

afterAll(removeHomes);

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const PDF = Buffer.from("%PDF-1.4\n").toString("base64");
const text = (words: string) => ({ type: "text", text: words });
const image = (data: unknown, media_type: unknown = "image/png") => ({ type: "image", source: { type: "base64", media_type, data } });
const linked = (url: unknown, type = "image") => ({ type, source: { type: "url", url } });
const document = (source: object, title?: string) => ({ type: "document", source, ...(title !== undefined && { title }) });
const pdf = (data: unknown, title?: string) => document({ type: "base64", media_type: "application/pdf", data }, title);
const shown = (url: string) => ({ type: "image_url", image_url: { url } });
const contentOf = ({ requests }: Awaited<ReturnType<typeof runCommand>>, n = 0) =>
  requests[n]?.body.messages.findLast(({ role }: any) => role === "user").content;
const errorsOf = ({ events }: Awaited<ReturnType<typeof runCommand>>) => events.flatMap(({ error }) => (error ? [error] : []));

describe.skipIf(!isBuilt)("the content of a user frame", () => {
  test("reaches the model with its images in their places", async () => {
    const content = [text("Is this"), image(PNG), text(" "), text("the same as this?"), linked("https://site.test/a.png"), image(PNG)];
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user(content), user([image(PNG)])) });
    const data = `data:image/png;base64,${PNG}`;
    expect(contentOf(run)).toEqual([text("Is this"), shown(data), text("the same as this?"), shown("https://site.test/a.png"), shown(data)]);
    expect(contentOf(run, 1)).toEqual([shown(data)]);
    expect([run.code, resultsOf(run).map(({ result }) => result)]).toEqual([0, ["Hello.", "Hello."]]);
  });

  test("is sent by an OpenAI-compatible endpoint, too", async () => {
    const script = [{ text: "Hello." }];
    const run = await talk({
      args: [...CLAUDE_BOTH, "--model", "mine/m"],
      script,
      home: makeConfiguredHome({ provider: { mine: { npm: "@ai-sdk/openai-compatible", options: { baseURL: "{env:OPENROUTER_BASE_URL}" } } } }),
      onStart: ({ send }) => send(user([text("See"), image(PNG), linked("https://site.test/a.png"), pdf(PDF)])),
      onLine: (line, { end }) => line.type === "result" && end(),
    });
    expect(contentOf(run)).toEqual([
      text("See"),
      shown(`data:image/png;base64,${PNG}`),
      shown("https://site.test/a.png"),
      { type: "file", file: { filename: "document.pdf", file_data: `data:application/pdf;base64,${PDF}` } },
    ]);
  });

  test("may hold documents: PDF as files, text as text with its title", async () => {
    const plain = { type: "text", media_type: "text/plain", data: "alpha\nbeta" };
    const content = [text("Read"), document(plain, "notes.txt"), pdf(PDF, "report"), linked("https://site.test/b.pdf", "document")];
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user(content), user([text("And"), document(plain)])) });
    expect(contentOf(run)).toEqual([
      text("Read"),
      text('<file path="notes.txt">\nalpha\nbeta\n</file>'),
      { type: "file", file: { filename: "report.pdf", file_data: `data:application/pdf;base64,${PDF}` } },
      { type: "file", file: { filename: "document.pdf", file_data: "https://site.test/b.pdf" } },
    ]);
    expect(talkOf(run, 1).at(-1)).toBe('user:And\n<file path="document">\nalpha\nbeta\n</file>');
  });

  test("stays in the session, for --continue and for a copy of it", async () => {
    const home = makeHome();
    const content = [text("Look"), image(PNG), linked("https://site.test/a.png"), pdf(PDF)];
    const first = await runCommand({ args: CLAUDE_BOTH, home, stdin: toLines(user(content)) });
    for (const more of [[], ["--fork"]]) {
      const next = await runCommand({ args: [...MODEL, ...JSON_OUT, "--continue", ...more, "-p", "And?"], home });
      expect(next.requests[0]?.body.messages[1]).toEqual(first.requests[0]?.body.messages[1]);
    }
  });

  test("that is kept holds no key, in a URL either", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user([text("Look"), linked(`https://site.test/a.png?key=${KEY}`)])) });
    expect(contentOf(run)[1].image_url.url).toMatch(/^https:\/\/site\.test\/a\.png\?key=/);
    expect(readAll(run.home) + run.stdout + run.stderr + run.requests[0]?.text).not.toContain(KEY);
  });

  test("joins the prompt that runs, where it says steer", async () => {
    const run = await talk({
      args: [...CLAUDE_BOTH, "--permission-prompt-tool", "stdio"],
      script: [turn(["bash", { command: "echo hi" }]), { text: "A pixel." }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "control_request") {
          send(user([text("look at"), image(PNG)], { steer: true }));
          send({ type: "permission_response", id: line.request_id, response: "once" });
        }
        if (line.type === "result") end();
      },
    });
    expect(contentOf(run, 1)).toEqual([text("look at"), shown(`data:image/png;base64,${PNG}`)]);
  });

  test("is refused with its line where a block cannot be attached, and the stream goes on", async () => {
    const large = Buffer.alloc(10 * 1024 * 1024 + 1);
    large.set(Buffer.from(PNG, "base64"));
    const blocks: [object, string][] = [
      [image("no base64!"), "not base64"],
      [image(""), "not base64"],
      [image(`data:image/png;base64,${PNG}`), "not base64"],
      [image(7), "not base64"],
      [image(PNG, "image/gif"), "not image/gif"],
      [image(PNG, "image/tiff"), "must be one of image/png"],
      [image(PNG, "__proto__"), "must be one of image/png"],
      [image(PDF, "application/pdf"), "no media type of an image"],
      [document({ type: "base64", media_type: "image/png", data: PNG }), "no media type of a document"],
      [pdf(PNG), "not application/pdf"],
      [image(large.toString("base64")), "more than 10485760 bytes"],
      [linked("file:///etc/hostname"), "http or https"],
      [linked("data:image/png;base64,AAAA"), "http or https"],
      [linked("https://"), "http or https"],
      [{ type: "image", source: { type: "file", file_id: "f" } }, "base64 and url"],
      [{ type: "image" }, "text, image and document"],
      [{ type: "tool_result", tool_use_id: "a", content: "x" }, "text, image and document"],
    ];
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(...blocks.map(([block]) => user([text("See"), block])), user("bye")) });
    expect(errorsOf(run).map(({ code, data }) => [code, data.line])).toEqual(blocks.map((_, index) => ["INPUT_INVALID", index + 1]));
    for (const [index, { message }] of errorsOf(run).entries()) expect(message).toContain(blocks[index]?.[1]);
    expect([run.code, resultsOf(run).length, talkOf(run)]).toEqual([2, 1, ["user:bye"]]);
  });

  test("that is blank is empty", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user([text(" ")]), user([])) });
    expect(errorsOf(run).map(({ code }) => code)).toEqual(["INPUT_EMPTY", "INPUT_EMPTY"]);
  });
});
