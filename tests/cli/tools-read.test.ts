import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Reply, SeenRequest } from "../fixtures/server.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, makeHome, makeHomeWith, ofType, removeHomes, resultOf, runCommand } from "./command.ts";
import { runTools, statesOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const PNG = Buffer.from("89504e470d0a1a0a0000000d", "hex");
const IMAGE_REFUSED: Reply = { status: 404, body: { error: { message: "No endpoints found that support image input", code: 404 } } };

const partsOf = ({ body }: SeenRequest): string[] =>
  body.messages.flatMap(({ role, content }: any) => (role === "user" && Array.isArray(content) ? content.map((part: any) => part.text ?? part.type) : []));
const hasImage = (request: SeenRequest): boolean => request.text.includes("image_url");
/** A server that takes words only. */
const wordsOnly =
  (...replies: Reply[]) =>
  (request: SeenRequest): Reply =>
    hasImage(request) ? IMAGE_REFUSED : (replies[request.body.messages.filter(({ role }: any) => role === "assistant").length] ?? { text: "ok" });

describe.skipIf(!isBuilt)("images and the models that do not take them", () => {
  test("what a tool has read is left out once the provider refuses it, with one warning, and the run goes on", async () => {
    const home = makeHome();
    writeFileSync(join(home, "work/shot.png"), PNG);
    const script = wordsOnly(turn(["read", { filePath: "shot.png" }]), turn(["read", { filePath: "shot.png" }]));
    const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go"], script });
    expect([run.code, resultOf(run).text, run.requests.map(hasImage)]).toEqual([0, "ok", [false, true, false, false]]);
    expect(partsOf(run.requests[2] as SeenRequest)).toEqual([
      "Files that the tools above have read:",
      "(shot.png is left out, because openrouter/acme/model-1 takes no images.)",
    ]);
    expect(run.stderr.match(/takes no images: what tools read of them is left out from now on/g)).toHaveLength(1);
    expect(ofType(run, "tool_use").map(({ part }) => part.state.output ?? part.state.error)).toEqual([
      "Image read",
      "shot.png is an image, and openrouter/acme/model-1 takes none.\nLook at it with a program (file, identify, tesseract), or give the task to a model that takes images.",
    ]);
  });

  test("what the configuration says is not tried", async () => {
    const models = { "acme/model-1": { modalities: { input: ["text"] } } };
    const home = makeHomeWith({ ".config/agent/agent.json": { provider: { openrouter: { models } } }, "work/a.pdf": "%PDF-1.7\nx" });
    writeFileSync(join(home, "work/shot.png"), PNG);
    const run = await runTools(
      [
        ["read", { filePath: "shot.png" }],
        ["read", { filePath: "a.pdf" }],
      ],
      { home },
    );
    expect(run.outputs).toEqual([
      "shot.png is an image, and openrouter/acme/model-1 takes none.\nLook at it with a program (file, identify, tesseract), or give the task to a model that takes images.",
      "a.pdf is a PDF, and openrouter/acme/model-1 takes none.\nTake its text out with a program (pdftotext), or give the task to a model that takes PDF.",
    ]);
    const attached = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "what is this?", "--file", "shot.png"] });
    expect([attached.code, attached.requests.length, errorOf(attached).message]).toEqual([
      4,
      0,
      "openrouter/acme/model-1 takes no images: the configuration says so (modalities).",
    ]);
  });

  test("what the user attached is never left out: the run fails, or the next model of the chain is asked", async () => {
    const home = makeHome();
    writeFileSync(join(home, "work/shot.png"), PNG);
    const asked = { home, args: [...MODEL, ...JSON_OUT, "-p", "what is this?", "--file", "shot.png"] };
    const alone = await runCommand({ ...asked, script: [IMAGE_REFUSED] });
    expect([alone.code, alone.requests.length, errorOf(alone)]).toMatchObject([
      4,
      1,
      {
        code: "MEDIA_REFUSED",
        message: "openrouter/acme/model-1 takes no images: No endpoints found that support image input",
        hint: "Choose a model that does, name one with --fallback, or leave the file out.",
      },
    ]);
    const script = ({ body }: SeenRequest): Reply => (body.model === "acme/model-1" ? IMAGE_REFUSED : { text: "A cat." });
    const chain = await runCommand({ ...asked, args: [...asked.args, "--fallback", "openrouter/acme/seeing"], script });
    expect([chain.code, resultOf(chain).text, resultOf(chain).model, chain.requests.map(hasImage)]).toEqual([
      0,
      "A cat.",
      "openrouter/acme/seeing",
      [true, true],
    ]);
    // It refused a picture, not the next prompt: it does not rest.
    const next = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "--fallback", "openrouter/acme/seeing", "-p", "hello"] });
    expect(resultOf(next).model).toBe("openrouter/acme/model-1");
  });
});
