import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type Reply, type Script, startServer, type TestServer } from "../fixtures/server.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, makeConfiguredHome, makeHomeWith, readAll, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { type Call, runTools, statesOf, turn } from "./tool-runs.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});
afterAll(removeHomes);

const serve = async (script: Script) => {
  const server = await startServer(script);
  open.push(server);
  return server;
};
/** 64 KiB of tags that are never closed. */
const PIECE = "<div>".repeat(13_108);
const peakOf = (pid: number | undefined): number => {
  const path = `/proc/${pid}/status`;
  return Number(/VmHWM:\s+(\d+)/.exec(existsSync(path) ? readFileSync(path, "utf8") : "")?.[1] ?? 0);
};
const web = (options: object) => ["--plugin", JSON.stringify(["web", options])];
const allowed = web({ allowPrivateHosts: ["127.0.0.1"] });
const html = (body: string | Uint8Array, headers: Record<string, string> = {}): Reply => ({ body, headers: { "content-type": "text/html", ...headers } });
const toolsOf = (request: { body: any } | undefined): string[] => request?.body.tools.map(({ function: { name } }: any) => name) ?? [];

const sentence = "Otters hold hands, so that they do not drift apart while they sleep, and this is what the story is about. ";
const article = `<html><head><title>Otters</title></head><body><nav><a href="/">Home</a></nav><article><h1>Otters</h1>${`<p>${sentence.repeat(4)}</p>`.repeat(3)}
  <p><a href="more">More</a></p></article><footer>Imprint</footer></body></html>`;

describe.skipIf(!isBuilt)("webfetch", () => {
  test("gives the article of a page, follows redirects by the rules, and says what it does not read", async () => {
    const to = (location: string, status = 302): Reply => ({ status, headers: { location } });
    const pages: Record<string, Reply> = {
      "/article": html(article),
      "/moved": to("/article", 301),
      "/sneaky": to("/secret/page"),
      "/secret/page": html("SECRET"),
      "/zip": { body: Buffer.from("PK\u0003\u0004"), headers: { "content-type": "application/zip" } },
      "/script": { body: "touch pwned", headers: { "content-type": "application/x-sh" } },
      "/gone": { status: 410, body: "<h1>Moved.</h1><p>See <a href='/x'>x</a>.</p>" },
      "/zstd": html("x", { "content-encoding": "zstd" }),
      "/empty": html(""),
    };
    const server = await serve(({ path }) => pages[path] ?? { status: 404, body: "" });
    const at = (path: string) => `${server.origin}${path}`;
    const inputs: object[] = [
      { url: at("/moved") },
      { url: at("/moved"), format: "text" },
      { url: at("/sneaky") },
      ...["/zip", "/script", "/gone", "/zstd", "/empty", "/none"].map((path) => ({ url: at(path) })),
      ...[{ url: "not a url" }, { url: "file:///etc/passwd" }, { url: "http://me:pw@a.example/x" }, { url: at("/article"), format: "pdf" }, {}],
    ];
    const permission = JSON.stringify({ webfetch: { [`${server.origin}/secret/*`]: "deny" } });
    const run = await runTools(
      inputs.map((input): Call => ["webfetch", input]),
      { args: [...allowed, "--permission", permission] },
    );
    const sign = '(This is the article of the page; navigation and what else surrounds it is left out. format "html" gives the whole page.)';
    const paragraph = sentence.repeat(4).trim();
    expect(run.outputs).toEqual([
      ["# Otters", paragraph, paragraph, paragraph, `[More](${at("/more")})`, sign].join("\n\n"),
      expect.stringMatching(/^Otters\n\nOtters hold hands[\s\S]*More\n\n\(This is the article/),
      expect.stringMatching(/^Denied: .*secret/),
      `${at("/zip")} is application/zip, not text. It was not read.`,
      `${at("/script")} is application/x-sh, not text. It was not read.`,
      `${at("/gone")} could not be fetched: the server answered 410 Gone: Moved. See x.`,
      `${at("/zstd")} could not be fetched: it is compressed as "zstd", which is not read.`,
      `${at("/empty")} is empty.`,
      `${at("/none")} could not be fetched: the server answered 404 Not Found.`,
      "not a url is refused: it is not a URL.\nGive a full one: https://host/path.",
      "file:///etc/passwd is refused: file: is not fetched.\nUse http or https.",
      "http://a.example/x is refused: it holds a user name or a password.\nLeave them out.",
      expect.stringMatching(/^The input of webfetch is invalid: format: [\s\S]*Call it again with input that fits its schema\.$/),
      expect.stringMatching(/^The input of webfetch is invalid: url: /),
    ]);
    expect(server.requests.map(({ path }) => path)).not.toContain("/secret/page");
    expect(new Set(server.requests.map(({ headers }) => headers["user-agent"]))).toEqual(new Set([expect.stringMatching(/^agent-runtime\/[\d.]+ \(\+https:/)]));
    expect(readdirSync(join(run.home, "work"))).toEqual([]);
  });

  test("shows a picture to a model that takes it", async () => {
    const png = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(8)]);
    const server = await serve([{ body: png, headers: { "content-type": "image/png" } }]);
    const run = await runTools([["webfetch", { url: `${server.origin}/otter.png` }]], { args: allowed });
    expect(run.outputs).toEqual([`${server.origin}/otter.png is image/png (16 bytes). It is attached.`]);
    expect(run.requests[1]?.text).toContain(png.toString("base64"));
  });

  test("takes no more memory for what has no end, or grows when it is unpacked", async () => {
    const text = { "content-type": "text/plain" };
    const server = await serve(({ path }) =>
      path === "/bomb"
        ? { body: gzipSync(Buffer.alloc(100 << 20)), headers: { ...text, "content-encoding": "gzip" } }
        : { raw: Array.from({ length: 16_384 }, () => PIECE), headers: { "content-type": path === "/nest" ? "text/html" : "text/plain" } },
    );
    const calls = ["/endless", "/nest", "/bomb"].map((path): Call => ["webfetch", { url: `${server.origin}${path}` }]);
    let peakKb = 0;
    const run = await runTools(calls, {
      args: allowed,
      onSpawn(child) {
        const timer = setInterval(() => (peakKb = Math.max(peakKb, peakOf(child.pid))), 20);
        child.once("exit", () => clearInterval(timer));
      },
    });
    expect(run.outputs).toEqual([...["5242880 bytes", "5242880 bytes", "100-fold"].map((words) => expect.stringContaining(words))]);
    expect([peakKb > 30_000, peakKb < 160_000]).toEqual([true, true]);
    await until(() => server.requests.every(({ closed }) => closed));
  });

  test("ends in the middle of a slow body when it is interrupted", async () => {
    const server = await serve([{ raw: ["x", "HANG"], headers: { "content-type": "text/plain" } }]);
    const run = await runTools([["webfetch", { url: server.origin, timeout: 120 }]], {
      args: allowed,
      onSpawn: (child) => void until(() => server.requests.length > 0).then(() => child.kill("SIGINT")),
    });
    expect([run.code, resultOf(run).status]).toEqual([130, "interrupted"]);
    await until(() => server.requests[0]?.closed === true);
  });
});

const found = (query: string): Reply => ({ body: { results: [{ title: `About ${query}`, url: "https://otters.example/", content: "They <b>swim</b>." }] } });
const KEY = "search-key-CANARY-4711";

describe.skipIf(!isBuilt)("websearch and codesearch", () => {
  test("are there when they are named, by the option or by the configuration, also where nothing may be changed", async () => {
    const server = await serve(({ url }) => found(new URL(url, "http://x").searchParams.get("q") ?? ""));
    const search = web({ search: { provider: "searxng", url: server.origin } });
    const calls: Call[] = [
      ["websearch", { query: "otters", numResults: 3 }],
      ["codesearch", { query: "otters", tokensNum: 1_000 }],
      ["websearch", { query: " " }],
      ["websearch", { query: "x", numResults: 21 }],
      ["codesearch", { query: "x", tokensNum: 999 }],
      ["websearch", {}],
    ];
    const expected = [
      "1. About otters\nhttps://otters.example/\nThey swim.",
      "1. About otters code example documentation\nhttps://otters.example/\nThey swim.\n\n(searxng has no search for code: this is what a search of the web finds.)",
      expect.stringMatching(/^The input of websearch is invalid: query: /),
      expect.stringMatching(/^The input of websearch is invalid: numResults: .*20/),
      expect.stringMatching(/^The input of codesearch is invalid: tokensNum: .*1000/),
      expect.stringMatching(/^The input of websearch is invalid: query: /),
    ];
    const named = await runTools(calls, { args: [...search, "--tools", "websearch,codesearch", "--permission-mode", "readonly"] });
    expect([named.outputs, toolsOf(named.requests[0])]).toEqual([expected, ["websearch", "codesearch"]]);
    const home = makeConfiguredHome({ tools: { websearch: true, codesearch: true } });
    const configured = await runTools(calls, { home, args: [...search, "--agent", "plan"] });
    expect(configured.outputs).toEqual(expected);
    const chosen = await runTools(calls.slice(0, 1), { args: search });
    expect(chosen.outputs[0]).toBe(expected[0]);
    expect(toolsOf(chosen.requests[0])).toEqual(expect.arrayContaining(["websearch", "codesearch"]));
    const plain = await runTools(calls.slice(0, 1));
    expect(toolsOf(plain.requests[0])).not.toContain("websearch");
    expect(plain.outputs[0]).toMatch(/^There is no tool "websearch"/);
    expect(server.requests).toHaveLength(5);
  });

  test("obey the rules for their query", async () => {
    const server = await serve([found("otters")]);
    const args = [...web({ search: { provider: "searxng", url: server.origin } }), "--tools", "websearch", "--permission", '{"websearch":{"*salary*":"deny"}}'];
    const run = await runTools([["websearch", { query: "salary of an otter" }]], { args });
    expect(run.outputs[0]).toMatch(/^Denied: /);
    expect(server.requests).toEqual([]);
  });

  test("show their key nowhere, however it was given and whatever the service says", async () => {
    const server = await serve(({ headers }) => ({ status: 401, body: { detail: { error: `wrong key: ${headers.authorization}` } } }));
    const search = { provider: "tavily", url: server.origin };
    const args = ["--tools", "websearch", "--verbose"];
    const configured = {
      home: makeConfiguredHome({ plugin: [["web", { search: { ...search, apiKey: "{env:SEARCH_WORD}" } }]] }),
      env: { SEARCH_WORD: KEY },
      args,
    };
    const given = { args: [...args, ...web({ search: { ...search, apiKey: KEY } })] };
    for (const options of [configured, given]) {
      const run = await runTools([["websearch", { query: "otters" }]], options);
      expect(run.outputs[0]).toBe(
        `The search by tavily failed: it refuses to answer without a valid key (401): wrong key: Bearer [redacted].\nSet a key: ["web", { "search": { "provider": "tavily", "apiKey": "{env:TAVILY_API_KEY}" } }]; keys are made at https://app.tavily.com.`,
      );
      expect(run.stdout + run.stderr + readAll(run.home) + JSON.stringify(run.requests)).not.toContain(KEY);
    }
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${KEY}`, `Bearer ${KEY}`]);
  });

  test("say what is wrong without ending the run: nobody there, a limit, a page instead of results", async () => {
    const gone = await startServer([]);
    await gone.close();
    const server = await serve([{ status: 429, headers: { "retry-after": "3600" } }, html("<title>Log in</title>")]);
    const ask = async (url: string) => {
      const run = await runTools([["websearch", { query: "otters" }]], { args: ["--tools", "websearch", ...web({ search: { url } })] });
      expect([run.code, statesOf(run), run.ms < 30_000]).toEqual([0, ["websearch:error"], true]);
      return run.outputs[0]?.split("\n")[0];
    };
    expect(await ask(gone.origin)).toBe(`The search by exa failed: nothing listens at 127.0.0.1:${gone.port} (ECONNREFUSED).`);
    expect(await ask(server.origin)).toMatch(/^The search by exa failed: it takes no more requests for now \(429, retry after 3600 s\)/);
    expect(await ask(server.origin)).toBe("The search by exa failed: it answered with something that is not JSON (text/html): Log in.");
  });

  test("end in the middle of a search when they are interrupted", async () => {
    const server = await serve([{ raw: [": wait\n\n", "HANG"] }]);
    const run = await runTools([["websearch", { query: "otters" }]], {
      args: ["--tools", "websearch", ...web({ search: { url: server.origin } })],
      onSpawn: (child) => void until(() => server.requests.length > 0).then(() => child.kill("SIGINT")),
    });
    expect([run.code, resultOf(run).status]).toEqual([130, "interrupted"]);
    await until(() => server.requests[0]?.closed === true);
  });

  test("ask whom a configuration of code names; what an untrusted workspace or a wrong option names is not asked", async () => {
    const config = `export default { plugin: [["web", { search: { provider: {
      name: "mine", search: async (query) => [{ title: "Mine", url: "https://mine.example", text: query.toUpperCase() }] } } }]] };`;
    const home = makeHomeWith({
      "mine.config.ts": config,
      "work/agent.json": { plugin: [["web", { search: { provider: "searxng", url: "http://127.0.0.1:9" } }]] },
    });
    const run = await runTools([["websearch", { query: "otters" }]], { home, args: ["--tools", "websearch", "--config", join(home, "mine.config.ts")] });
    expect(run.outputs).toEqual(["1. Mine\nhttps://mine.example\nOTTERS"]);
    const wrong = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "go", ...web({ search: { provider: "bing" } })], script: [turn()] });
    expect([wrong.code, errorOf(wrong).code, errorOf(wrong).message]).toEqual([
      2,
      "PLUGIN_BROKEN",
      expect.stringContaining("one of exa, brave, searxng, tavily"),
    ]);
  });
});
