import { AgentError, type Plugin, type ToolResult } from "agent-runtime";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createGuardedFetch } from "../../core/http.ts";
import { createRegistry } from "../../core/registry.ts";
import { toJsonSchema } from "../../core/schema.ts";
import plugin from "../../plugins/web/index.ts";
import { type Reply, type Script, startServer, type TestServer } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const toolsOf = async (search?: object) => (await (plugin as Plugin).setup({ options: { search } } as never)).tools!;
const contextWith = (signal = new AbortController().signal): any => ({ fetch: createGuardedFetch(), signal });

async function searchWith(script: Script, { path = "", tool = "websearch", input = {}, ...search }: Record<string, any> = {}) {
  const server = await startServer(script);
  open.push(server);
  const tools = await toolsOf({ url: `${server.origin}${path}`, ...search });
  const found = Promise.resolve(tools.find(({ name }) => name === tool)!.run({ query: "otters", ...input }, contextWith())) as Promise<ToolResult>;
  return { found, server };
}

async function fault(found: Promise<unknown>): Promise<AgentError> {
  const error = await found.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AgentError);
  expect((error as AgentError).code).toBe("SEARCH_FAILED");
  return error as AgentError;
}

const EXA_TEXT = `Title: Sea otters
URL: https://otters.example/sea
Published: 2026-04-03T10:00:00.000Z
Author: A. Otter
Highlights:
Otters hold hands.
...
Title: this line belongs to the text

---

Title: River otters
URL: https://otters.example/river
Published: N/A
Author: N/A
Highlights:
They swim.`;

const rpc = (message: object) => ({ jsonrpc: "2.0", id: 1, ...message });
const textResult = (text: string, more: object = {}) => rpc({ result: { content: [{ type: "text", text }], ...more } });
const event = (message: object) => `event: message\ndata: ${JSON.stringify(message)}\n\n`;
const events = (...raw: NonNullable<Reply["raw"]>): Reply => ({ raw });

describe("websearch by exa", () => {
  const expected = `1. Sea otters
https://otters.example/sea
2026-04-03T10:00:00.000Z
Otters hold hands.
...
Title: this line belongs to the text

2. River otters
https://otters.example/river
They swim.`;

  test.each<[string, Reply]>([
    ["an event", events(event(textResult(EXA_TEXT)))],
    [
      "an event behind others, in pieces, of a stream that stays open",
      events(
        ": hello\n\n",
        event(rpc({ method: "notifications/message" })),
        event(textResult(EXA_TEXT)).slice(0, 50),
        { delayMs: 5 },
        event(textResult(EXA_TEXT)).slice(50),
        "HANG",
      ),
    ],
    ["an event without its last blank line", events(event(textResult(EXA_TEXT)).trimEnd())],
    ["JSON", { body: textResult(EXA_TEXT) }],
  ])("reads results from %s", async (_, reply) => {
    const { found, server } = await searchWith([reply], { path: "/mcp", apiKey: "exa-secret-1" });
    expect((await found).output).toBe(expected);
    const [request] = server.requests;
    expect([request?.path, request?.headers.authorization, request?.headers.accept]).toEqual([
      "/mcp",
      "Bearer exa-secret-1",
      "application/json, text/event-stream",
    ]);
    expect(request?.headers["user-agent"]).toMatch(/^agent-runtime\//);
    expect(request?.body).toEqual(rpc({ method: "tools/call", params: { name: "web_search_exa", arguments: { query: "otters", numResults: 8 } } }));
  });

  test("needs no key, and gives what it cannot take apart as it is", async () => {
    const { found, server } = await searchWith([{ body: textResult("Otters are\u0007 fine.") }]);
    expect((await found).output).toBe("1. Otters are fine.");
    expect(server.requests[0]?.headers).not.toHaveProperty("authorization");
  });

  test.each(["", "No search results found. Please try a different query."])("says that nothing was found: %j", async (text) => {
    const { found } = await searchWith([{ body: textResult(text) }]);
    expect((await found).output).toBe('exa found nothing for "otters". Try other or fewer words.');
  });

  test.each<[string, Reply, string]>([
    ["a JSON-RPC error", { body: rpc({ error: { code: -32602, message: "numResults is wrong" } }) }, "numResults is wrong."],
    ["a result that is an error", { body: textResult("Search error (500): upstream", { isError: true }) }, "Search error (500): upstream."],
    ["an answer of another shape", { body: { hello: 1 } }, "its answer holds neither a result nor an error."],
    ["null", { body: "null", headers: { "content-type": "application/json" } }, "its answer holds neither a result nor an error."],
    ["an event stream without an answer", events(": nothing\n\n"), "its answer ended before the result."],
    ["an event that is cut", events('event: message\ndata: {"result":{"content":[{"ty'), "its answer ended before the result."],
    ["a connection that is cut", events("event: message\n", { delayMs: 50 }, "DROP"), "the connection was closed in the middle of the answer (ECONNRESET)."],
  ])("reports %s", async (_, reply, reason) => {
    expect((await fault((await searchWith([reply])).found)).message).toBe(`The search by exa failed: ${reason}`);
  });
});

describe("codesearch", () => {
  test("gives the code that exa finds, as long as was asked", async () => {
    const code = "## otters.swim\n```js\nif (a < b && c > d) swim();\n```";
    const { found, server } = await searchWith([{ body: textResult(code) }], { path: "/mcp", tool: "codesearch", input: { tokensNum: 1_000 } });
    expect((await found).output).toBe(code);
    expect(server.requests[0]?.url).toBe("/mcp?tools=get_code_context_exa");
    expect(server.requests[0]?.body.params).toEqual({ name: "get_code_context_exa", arguments: { query: "otters", tokensNum: 1_000 } });
    const long = await searchWith([{ body: textResult("word ".repeat(10_000)) }], { tool: "codesearch", input: { tokensNum: 1_000 } });
    expect((await long.found).output).toHaveLength(4_000);
  });

  const SEARCHED = (name: string) => `(${name} has no search for code: this is what a search of the web finds.)`;
  test.each<[string, Reply]>([
    ["an error", { body: rpc({ error: { code: -32602, message: "MCP error -32602: Tool get_code_context_exa not found" } }) }],
    ["a result", { body: textResult("MCP error -32602: Tool get_code_context_exa not found", { isError: true }) }],
  ])("searches the web where exa says by %s that it has that tool no more", async (_, reply) => {
    const { found, server } = await searchWith([reply, { body: textResult(EXA_TEXT) }], { tool: "codesearch" });
    expect((await found).output).toMatch(/^1\. Sea otters/);
    expect((await found).output.endsWith(`\n\n${SEARCHED("exa")}`)).toBe(true);
    expect(server.requests[1]?.body.params).toEqual({ name: "web_search_exa", arguments: { query: "otters code example documentation", numResults: 5 } });
  });

  test("searches the web where the service has no search for code, and reports other errors", async () => {
    const { found } = await searchWith([{ body: { results: [] } }], { provider: "searxng", tool: "codesearch" });
    expect((await found).output).toBe(`searxng found nothing for "otters". Try other or fewer words.\n\n${SEARCHED("searxng")}`);
    const broken = await searchWith([{ body: textResult("Code search error (500): no", { isError: true }) }], { tool: "codesearch" });
    expect((await fault(broken.found)).message).toContain("Code search error (500): no.");
  });
});

const HITS = `1. Sea <otters> & more
https://otters.example/sea
2026-04-03T10:00:00
Otters hold hands.
They float.

2. River otters
https://otters.example/river
They swim.`;

describe("websearch by other services", () => {
  test("brave", async () => {
    const results = [
      {
        title: "Sea &lt;otters&gt; &amp; <strong>more</strong>",
        url: "https://otters.example/sea",
        description: "<strong>Otters</strong> hold hands.<script>alert(1)</script>",
        extra_snippets: ["They float."],
        page_age: "2026-04-03T10:00:00",
        age: "April 3, 2026",
      },
      { title: "River otters", url: "https://otters.example/river", description: "They swim." },
    ];
    const { found, server } = await searchWith([{ body: { type: "search", web: { type: "search", results } } }], {
      ...{ provider: "brave", apiKey: "brave-secret", path: "/res/v1/web/search", input: { numResults: 3 } },
    });
    expect((await found).output).toBe(HITS);
    expect([server.requests[0]?.url, server.requests[0]?.headers["x-subscription-token"]]).toEqual(["/res/v1/web/search?q=otters&count=3", "brave-secret"]);
    const nothing = await searchWith([{ body: { type: "search", query: {} } }], { provider: "brave", apiKey: "brave-secret" });
    expect((await nothing.found).output).toContain("brave found nothing");
  });

  test("tavily", async () => {
    const results = [
      {
        title: "Sea &lt;otters&gt; &amp; more",
        url: "https://otters.example/sea",
        content: "Otters hold hands.\nThey float.",
        published_date: "2026-04-03T10:00:00",
        score: 0.9,
      },
      { title: "River otters", url: "https://otters.example/river", content: "They swim.", score: 0.8 },
    ];
    const { found, server } = await searchWith([{ body: { query: "otters", answer: null, results } }], { provider: "tavily", apiKey: "tvly-secret" });
    expect((await found).output).toBe(HITS);
    expect([server.requests[0]?.body, server.requests[0]?.headers.authorization]).toEqual([{ query: "otters", max_results: 8 }, "Bearer tvly-secret"]);
  });

  test.each(["", "/", "/deep/", "/search"])("searxng at %j", async (path) => {
    const results = [
      {
        title: "Sea &lt;otters&gt; &amp; more",
        url: "https://otters.example/sea",
        content: "Otters hold hands.<br>They float.",
        publishedDate: "2026-04-03T10:00:00",
      },
      { title: "River otters", url: "https://otters.example/river", content: "They swim.", publishedDate: null },
      { title: "Third", url: "https://otters.example/third", content: "" },
    ];
    const { found, server } = await searchWith([{ body: { query: "otters", results, unresponsive_engines: [] } }], {
      provider: "searxng",
      path,
      input: { numResults: 2 },
    });
    expect((await found).output).toBe(HITS);
    expect(server.requests[0]?.url).toBe(`${path === "/deep/" ? "/deep" : ""}/search?q=otters&format=json`);
  });

  test("searxng whose engines are silent says so", async () => {
    const { found } = await searchWith(
      [
        {
          body: {
            results: [],
            unresponsive_engines: [
              ["google", "timeout"],
              ["bing", "CAPTCHA"],
            ],
          },
        },
      ],
      { provider: "searxng" },
    );
    expect((await fault(found)).message).toBe("The search by searxng failed: its engines do not answer: google: timeout, bing: CAPTCHA.");
  });
});

const OTHERS = 'Another service can be set in the options of the plugin web: ["web", { "search": { "provider": "exa" | "brave" | "searxng" | "tavily" } }].';
const keyOf = (service: string) => expect.stringContaining(`"provider": "${service}", "apiKey": "{env:${service.toUpperCase()}_API_KEY}"`);

describe("a search that fails says why, and the way out", () => {
  test.each<[string, Reply, string, unknown]>([
    ["401", { status: 401, body: { error: { detail: "Invalid token" } } }, "it refuses to answer without a valid key (401): Invalid token.", keyOf("brave")],
    ["403", { status: 403, body: "<h1>Forbidden</h1>" }, "it refuses to answer without a valid key (403): Forbidden.", keyOf("brave")],
    [
      "429",
      { status: 429, headers: { "retry-after": "17" }, body: { message: "Slow down" } },
      "it takes no more requests for now (429, retry after 17 s): Slow down.",
      `Wait, or set a key. ${OTHERS}`,
    ],
    ["500", { status: 500, body: "" }, "it is out of order (500).", OTHERS],
    [
      "502",
      { status: 502, body: `<title>x</title>${"Bad gateway ".repeat(90)}` },
      `it is out of order (502): x ${"Bad gateway ".repeat(90).slice(0, 298)}….`,
      OTHERS,
    ],
    ["422", { status: 422, body: { error: { code: "VALIDATION", detail: "q is too long" } } }, "it answered 422: q is too long.", OTHERS],
    [
      "HTML",
      { body: "<!doctype html><title>Log in</title><p>Please log in" },
      "it answered with something that is not JSON (text/html): Log in Please log in.",
      OTHERS,
    ],
    ["nothing at all", { body: "" }, "its answer is empty.", OTHERS],
    ["JSON of another service", { body: { message: "Hello" } }, "its answer holds no list of results.", OTHERS],
    ["JSON of another shape", { body: { web: { results: 3 } } }, "its answer holds no list of results.", OTHERS],
    ["a redirect to nowhere", { status: 302, headers: { location: "http://169.254.169.254/" } }, "169.254.169.254 is not a public address.", OTHERS],
    ["too long an answer", { raw: [Buffer.alloc(3 << 20, 32)], headers: { "content-type": "application/json" } }, "it is longer than 2097152 bytes.", OTHERS],
  ])("%s", async (_, reply, reason, advice) => {
    const { found } = await searchWith([reply], { provider: "brave", apiKey: "brave-secret" });
    const { message, hint } = await fault(found);
    expect([message.replace(/\s+/g, " "), hint]).toEqual([`The search by brave failed: ${reason}`, advice]);
  });

  test.each(["brave", "tavily"])("%s without a key", async (provider) => {
    for (const apiKey of [undefined, ""]) {
      const { found, server } = await searchWith([], { provider, apiKey });
      expect(await fault(found)).toMatchObject({ message: `The search by ${provider} failed: it has no key.`, hint: keyOf(provider) });
      expect(server.requests).toEqual([]);
    }
  });

  test("searxng that gives no JSON", async () => {
    const { found } = await searchWith([{ status: 403, body: "Forbidden" }], { provider: "searxng" });
    expect((await fault(found)).hint).toBe('Its settings.yml must list json: "search: formats: [html, json]".');
  });

  test("offline, or where nothing listens", async () => {
    const server = await startServer([]);
    await server.close();
    const [websearch] = (await toolsOf({ provider: "searxng", url: server.origin })).slice(1);
    expect((await fault(Promise.resolve(websearch!.run({ query: "x" }, contextWith())))).message).toContain(`nothing listens at 127.0.0.1:${server.port}`);
    const offline: any = { fetch: createGuardedFetch({ resolve: async () => [] }), signal: new AbortController().signal };
    for (const [provider, host] of [
      ["exa", "mcp.exa.ai"],
      ["brave", "api.search.brave.com"],
      ["tavily", "api.tavily.com"],
    ]) {
      const [, search] = await toolsOf({ provider, apiKey: "some-secret" });
      expect((await fault(Promise.resolve(search!.run({ query: "x" }, offline)))).message).toBe(
        `The search by ${provider} failed: the host ${host} is not known.`,
      );
    }
  });

  test("a service that never answers ends with the call", async () => {
    for (const reply of [{ delayMs: 60_000 }, { raw: ["{", "HANG"], headers: { "content-type": "application/json" } }] as Reply[]) {
      const server = await startServer([reply]);
      open.push(server);
      const [, websearch] = await toolsOf({ provider: "searxng", url: server.origin });
      const controller = new AbortController();
      const reason = new Error("enough");
      setTimeout(() => controller.abort(reason), 50);
      await expect(websearch!.run({ query: "x" }, contextWith(controller.signal))).rejects.toBe(reason);
    }
  });

  test("only the host of the url may be private, at its port", async () => {
    const target = await startServer([{ body: { results: [] } }]);
    open.push(target);
    const { found } = await searchWith([{ status: 302, headers: { location: `${target.origin}/search` } }], { provider: "searxng" });
    expect((await fault(found)).message).toContain("127.0.0.1 is not a public address");
    expect(target.requests).toEqual([]);
  });
});

describe("a search provider of another", () => {
  const run = async (provider: object, tool = 1, input: object = {}) =>
    (await toolsOf({ provider }))[tool]!.run({ query: "otters", ...input }, contextWith()) as ToolResult;
  const hit = { title: "T", url: "https://a.example", text: "x" };

  test("is asked with its contract, and its results are bounded", async () => {
    const asked: any[] = [];
    const search = async (...given: any[]) => {
      asked.push(given);
      return Array.from({ length: 30 }, () => ({ title: "t".repeat(1_000), url: `https://a.example/${"u".repeat(9_000)}`, text: "x".repeat(100_000) }));
    };
    const { output } = await run({ name: "mine", search }, 1, { numResults: 20 });
    expect(output.match(/^\d+\. /gm)).toHaveLength(20);
    expect(output.length).toBeLessThan(80_000);
    expect([asked[0][0], asked[0][1].numResults, typeof asked[0][1].fetch, asked[0][1].signal instanceof AbortSignal]).toEqual([
      "otters",
      20,
      "function",
      true,
    ]);
    expect((await run({ name: "mine", search, code: async (_: string, { tokens }: any) => `code ${tokens}` }, 2)).output).toBe("code 5000");
    expect((await run({ name: "mine", search: async () => [hit], code: async () => undefined }, 2)).output).toMatch(
      /^1\. T\n[\s\S]*mine has no search for code/,
    );
  });

  test("can neither break the lines of its results nor a character", async () => {
    const search = async () => [{ title: "T\n2. Fake", url: "https://a.example/ x", text: `${"x".repeat(1_499)}😀` }];
    expect((await run({ name: "mine", search })).output).toBe(`1. T 2. Fake\nhttps://a.example/ x\n${"x".repeat(1_499)}…`);
  });

  test("that fails, or gives something else, is named", async () => {
    const failing = (search: () => unknown) => fault(run({ name: "mine", search }));
    expect((await failing(() => Promise.reject(new Error("no luck")))).message).toBe("The search by mine failed: no luck.");
    expect((await failing(() => JSON.parse("{"))).message).toContain("The search by mine failed: ");
    for (const results of [undefined, "text", [{ title: "T" }], [null]])
      expect((await failing(() => results)).message).toContain("is not a list of { title, url, text }");
  });

  test.each([
    [1, 25],
    [2, 30],
  ])("that never answers is given up in time (tool %i: %i s)", async (tool, seconds) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const failed = fault(run({ name: "mine", search: () => new Promise(() => {}) }, tool));
      await vi.advanceTimersByTimeAsync(seconds * 1_000 - 1);
      await vi.advanceTimersByTimeAsync(1);
      expect((await failed).message).toBe(`The search by mine failed: it took longer than ${seconds} s.`);
    } finally {
      vi.useRealTimers();
    }
  });

  test.each([
    "http://127.0.0.1:3000",
    "10.0.0.0/33",
    "*.corp.example",
    "wiki.corp/path",
    "[::1]:3000",
    "",
  ])("beside a host that is none (%s) stops the start with a clear text", async (host) => {
    const start = (allowPrivateHosts: string[]) =>
      createRegistry([{ plugin: plugin as Plugin, options: { allowPrivateHosts } }], { contextOf: ({ options }) => ({ options }) as never, report: () => {} });
    await expect(start([host])).rejects.toMatchObject({
      code: "PLUGIN_BROKEN",
      message: expect.stringContaining("allowPrivateHosts.0: it is a name, an address or a range:"),
    });
    await start(["wiki.corp", "wiki.corp:3000", "localhost", "10.0.0.7", "10.0.0.0/8", "::1", "fd00::/8", "::ffff:10.0.0.1", "my_host."]);
  });

  test("of a wrong form stops the start with a clear text", async () => {
    const start = async (search: object) =>
      createRegistry([{ plugin: plugin as Plugin, options: { search } }], { contextOf: ({ options }) => ({ options }) as never, report: () => {} });
    await expect(start({ provider: "bing" })).rejects.toMatchObject({
      code: "PLUGIN_BROKEN",
      message: expect.stringContaining(
        "search.provider: it is one of exa, brave, searxng, tavily, or an object { name, search(query, options), code?(query, options) }",
      ),
    });
    await expect(start({ provider: { name: " ", search: async () => [] } })).rejects.toMatchObject({ code: "PLUGIN_BROKEN" });
    await expect(start({ provider: { name: "x" } })).rejects.toMatchObject({ message: expect.stringContaining("search.provider: it is one of") });
    await expect(start({ provider: "searxng" })).rejects.toMatchObject({ message: expect.stringContaining("searxng needs the url of a server") });
    await expect(start({ url: "localhost:8888" })).rejects.toMatchObject({ message: expect.stringContaining("begins with http:// or https://") });
    await expect(start({ kind: "exa" })).rejects.toMatchObject({ code: "PLUGIN_BROKEN" });
    await start({ provider: { name: "mine", search: async () => [] } });
  });
});

test("websearch and codesearch are off until a service is configured, small in a request, and name their query to permissions", async () => {
  for (const { name, description, input, effect, optional, patterns } of (await toolsOf()).slice(1)) {
    const { $schema: _, ...parameters } = (await toJsonSchema(input)) as Record<string, unknown>;
    expect(JSON.stringify({ type: "function", function: { name, description, parameters } }).length).toBeLessThanOrEqual(400);
    expect([effect, optional, patterns?.({ query: "otters" }, { cwd: "/" })]).toEqual(["net", true, ["otters"]]);
  }
  expect((await toolsOf({})).map(({ optional = false }) => optional)).toEqual([false, false, false]);
});
