import { execFileSync } from "node:child_process";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
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

  test("each kind is learned by itself, and the session keeps the files for a model that takes them", async () => {
    const home = makeHomeWith({ "work/a.pdf": "%PDF-1.7\nx" });
    writeFileSync(join(home, "work/shot.png"), PNG);
    const refuseOne = (request: SeenRequest): Reply => {
      if (hasImage(request)) return { status: 400, body: { error: { message: "Invalid content type. image_url is only supported by certain models." } } };
      if (request.text.includes("application/pdf"))
        return { status: 422, body: { error: { message: "messages[3]: unknown variant `file`, expected `text`" } } };
      return request.n === 0 ? turn(["read", { filePath: "shot.png" }], ["read", { filePath: "a.pdf" }]) : { text: "ok" };
    };
    const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go"], script: refuseOne });
    expect([run.code, run.requests.length]).toEqual([0, 4]);
    expect(partsOf(run.requests[3] as SeenRequest)).toEqual([
      "Files that the tools above have read:",
      "(shot.png is left out, because openrouter/acme/model-1 takes no images.)",
      "(a.pdf is left out, because openrouter/acme/model-1 takes no PDF.)",
    ]);
    const next = await runCommand({ home, args: ["--model", "openrouter/acme/seeing", ...JSON_OUT, "--continue", "-p", "and now?"] });
    expect([next.code, hasImage(next.requests[0] as SeenRequest)]).toEqual([0, true]);
  });

  test("a single picture that the provider cannot take is left out, and what it says of it is told", async () => {
    const home = makeHome();
    writeFileSync(join(home, "work/good.png"), PNG);
    writeFileSync(join(home, "work/bad.png"), Buffer.concat([PNG, Buffer.from("BAD")]));
    const bad = Buffer.concat([PNG, Buffer.from("BAD")]).toString("base64");
    const refuse = (request: SeenRequest): Reply => {
      if (request.text.includes(bad)) return { status: 400, body: { error: { message: "Could not process image", type: "invalid_request_error" } } };
      const step = request.body.messages.filter(({ role }: any) => role === "assistant").length;
      return [turn(["read", { filePath: "good.png" }]), turn(["read", { filePath: "bad.png" }])][step] ?? { text: "ok" };
    };
    const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go"], script: refuse });
    expect([run.code, run.requests.length, run.requests.map(hasImage)]).toEqual([0, 4, [false, true, true, true]]);
    expect(partsOf(run.requests[3] as SeenRequest)).toEqual([
      "Files that the tools above have read:",
      "image_url",
      "Files that the tools above have read:",
      "(bad.png is left out, because openrouter/acme/model-1 refused the request with it: Could not process image)",
    ]);
    const attached = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "what is this?", "--file", "bad.png"], script: refuse });
    expect([attached.code, attached.requests.length, errorOf(attached).code]).toEqual([1, 1, "REQUEST_INVALID"]);
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

describe.skipIf(!isBuilt)("read", () => {
  const linesOf = (output: string | undefined): string[] => (output ?? "").split("\n").filter((line) => /^\d{5,}\| /.test(line));
  const numbered = (count: number) => Array.from({ length: count }, (_, index) => `line ${index + 1}`).join("\n");

  test("shows texts, windows of lines and columns, notebooks and directories, and says how to go on", async () => {
    const notebook = {
      cells: [{ cell_type: "code", source: "1 + 1", execution_count: 1, outputs: [{ output_type: "execute_result", data: { "text/plain": "2" } }] }],
    };
    const home = makeHomeWith({ "work/a.txt": "alpha\nbeta\n", "work/long.txt": numbered(2105), "work/wide.txt": "w".repeat(3000), "work/n.ipynb": notebook });
    const run = await runTools(
      [
        ["read", { filePath: "a.txt" }],
        ["read", { filePath: "long.txt" }],
        ["read", { filePath: "long.txt", offset: 1001, limit: 3 }],
        ["read", { filePath: "wide.txt", columnOffset: 10, columnLimit: 5 }],
        ["read", { filePath: "n.ipynb" }],
        ["read", { filePath: "." }],
        ["read", { filePath: "long.txt", offset: 1, limit: 5000 }],
      ],
      { home },
    );
    expect(statesOf(run)).toEqual(Array(7).fill("read:completed"));
    expect(run.outputs[0]).toBe("<file>\n00001| alpha\n00002| beta\n\n(End of file - total 2 lines)\n</file>");
    expect(run.outputs[1]).toContain("\n01000| line 1000\n... [omitted lines 1001..1105] ...\n01106| line 1106\n");
    expect(run.outputs[1]).toContain("\n\n(Use 'offset' to read the omitted lines.)\n(End of file - total 2105 lines)\n</file>");
    expect(run.outputs[2]).toBe(
      "<file>\n01001| line 1001\n01002| line 1002\n01003| line 1003\n\n(File has more lines. Use 'offset' to read beyond line 1003. Total 2105 lines.)\n</file>",
    );
    expect(linesOf(run.outputs[3])).toEqual(["00001| [omitted columns 1..10 of line 1] ... wwwww ... [omitted columns 16..3000 of line 1]"]);
    expect(run.outputs[4]).toBe(
      "<file>\n00001| %% cell 1 of 1, code, run 1\n00002| 1 + 1\n00003| %% output of cell 1, text/plain\n00004| 2\n\n(End of file - total 4 lines)\n(This is a rendering of the notebook. edit works on its JSON text, the lines of which grep shows.)\n</file>",
    );
    expect(run.outputs[5]).toBe("<directory>\na.txt\nlong.txt\nn.ipynb\nwide.txt\n</directory>");
    expect(linesOf(run.outputs[6])).toHaveLength(2000);
    expect(run.outputs[6]).toContain("(File has more lines. Use 'offset' to read beyond line 2000. Total 2105 lines.)");
  });

  test("leaves no path out of the workspace, by whatever way it is written or linked", async () => {
    const home = makeHomeWith({ "S/x": "CANARY", x: "CANARY", "work-evil/x": "CANARY", "work/a.txt": "inside" });
    const work = join(home, "work");
    const links = { l1: "../S/x", l2: "l1", l3: "l2", dir: "../S", loop: "loop", inner: "a.txt" };
    for (const [name, target] of Object.entries(links)) symlinkSync(target, join(work, name));
    const outside = ["../S/x", join(home, "S/x"), `${work}/../S/x`, `${work}-evil/x`, "l1", "l3", "dir/x", "/dev/zero", "/proc/self/environ"];
    const unusable = {
      "~/x": '~/x is not a usable path: nothing stands for "~"; write the path relative to the workspace (./~name for a name that begins so).',
      "file:///S/x": "file:///S/x is not a usable path: write a plain path instead of a URL.",
      "a\0b": "a\\0b is not a usable path: it contains a NUL character.",
      loop: "loop is not a usable path: its symbolic links lead in a circle.",
      ["x".repeat(5000)]: `${"x".repeat(200)}… is not a usable path: it has more than 4096 characters.`,
    };
    const calls = [...outside, ...Object.keys(unusable), "inner"].map((filePath): [string, object] => ["read", { filePath }]);
    const run = await runTools(calls, { home });
    expect(run.outputs).toEqual([
      ...outside.map((path) => `${path} is outside the workspace.\nUse a path below ${work}.`),
      ...Object.values(unusable),
      "<file>\n00001| inside\n\n(End of file - total 1 line)\n</file>",
    ]);
    expect(run.requests.at(-1)?.text).not.toContain("CANARY");
  });

  test("says what is not a text, and what is not there, without waiting for it", async () => {
    const home = makeHomeWith({ "work/index.ts": "", "work/a.png": "<html>", "work/a.svg": "<svg/>", "work/a.zip": "x" });
    const put = (name: string, bytes: string) => writeFileSync(join(home, "work", name), Buffer.from(bytes, "latin1"));
    put("elf", "\x7fELF\x02\x01\0\0");
    put("b.bmp", "BM\x36\0\0\0\0\0\0\0");
    put("c.avif", "\0\0\0\x20ftypavif");
    put("d.mp3", "ID3\x04\0\0");
    put("big.png", "\x89PNG\r\n\x1a\n");
    truncateSync(join(home, "work/big.png"), 6 * 1024 * 1024);
    put("sparse.log", "first\n".repeat(3000));
    truncateSync(join(home, "work/sparse.log"), 2 * 1024 ** 3);
    execFileSync("mkfifo", [join(home, "work/pipe")]);
    const cases: Record<string, string> = {
      elf: "elf is a binary file.\nLook at it with a program that knows its format.",
      "a.zip": "a.zip is a binary file.\nLook at it with a program that knows its format.",
      "b.bmp": "b.bmp is a BMP image, which models are not given.\nConvert it to PNG first.",
      "c.avif": "c.avif is an AVIF image, which models are not given.\nConvert it to PNG first.",
      "d.mp3": "d.mp3 is audio, which models are not given.\nDescribe or transcribe it with a program, for example ffprobe.",
      "a.png": "a.png is not a PNG, JPEG, GIF or WebP image: it begins with 3c 68 74 6d 6c 3e.\nIf it is text, copy it to another name and read that.",
      "big.png": "big.png is too large to attach: 6.0 MB of at most 5 MB.\nMake it smaller first.",
      pipe: "pipe is not a regular file (a device, a FIFO or a socket).",
      "indx.ts": "File not found: indx.ts\nDid you mean one of these?\nindex.ts",
      "a.svg": "<file>\n00001| <svg/>\n\n(End of file - total 1 line)\n</file>",
    };
    const calls = Object.keys(cases).map((filePath): [string, object] => ["read", { filePath }]);
    const run = await runTools(
      [...calls, ["read", { filePath: "index.ts", offset: 5 }], ["read", { filePath: "a.svg", offset: -1 }], ["read", { filePath: "sparse.log" }]],
      { home },
    );
    expect(run.outputs.slice(0, -2)).toEqual([...Object.values(cases), "index.ts has 0 lines; offset 5 is beyond its end.\nIt is empty."]);
    expect(run.outputs.at(-2)).toMatch(/^The input of read is invalid: offset: /);
    expect(linesOf(run.outputs.at(-1))[0]).toBe("00001| first");
    for (const { part } of ofType(run, "tool_use")) expect(part.state.time.end - part.state.time.start).toBeLessThan(10_000);
  });
});
