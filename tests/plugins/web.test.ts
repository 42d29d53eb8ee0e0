import { AgentError, type Plugin, type Tool, type ToolResult } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { createGuardedFetch } from "../../core/http.ts";
import { toJsonSchema } from "../../core/schema.ts";
import plugin from "../../plugins/web/index.ts";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function serve(script: Reply[]): Promise<TestServer> {
  const server = await startServer(script);
  open.push(server);
  return server;
}

const toolOf = async (allowPrivateHosts: string[] = ["127.0.0.1"]): Promise<Tool> =>
  (await (plugin as Plugin).setup({ options: { allowPrivateHosts } } as never)).tools![0]!;
const context = { fetch: createGuardedFetch(), signal: new AbortController().signal } as never;

async function read(reply: Reply, input: Record<string, unknown> = {}): Promise<ToolResult> {
  const { origin } = await serve([reply]);
  return (await (await toolOf()).run({ url: `${origin}/page`, ...input }, context)) as ToolResult;
}

const page = (body: string | Uint8Array, type = "text/html; charset=utf-8"): Reply => ({ body, headers: { "content-type": type } });

describe("webfetch", () => {
  test("gives a page as Markdown with tables and code, without scripts", async () => {
    const html = `<html><head><title>T</title><style>a{}</style><script>alert(1)</script></head><body><h1>Hi</h1><p>A <a href="/b">link</a> &amp; more</p>
      <noscript>no</noscript><table><thead><tr><th>A</th><th>B</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table><pre><code class="language-js">let a;</code></pre></body></html>`;
    const { output, title } = await read(page(html));
    expect(output).toContain("# Hi");
    expect(output).toContain("A [link](/b) & more");
    expect(output).toMatch(/\| A\s*\| B\s*\|\n\| ---/);
    expect(output).toContain("```js\nlet a;\n```");
    expect(output).not.toMatch(/alert|a\{\}|>no<|\bno\b/);
    expect(title).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/page \(text\/html; charset=utf-8\)$/);
  });

  test("gives the words of a page, or its HTML", async () => {
    const html = "<head><title>T</title></head><p>One<br>two</p><script>x</script><ul><li>a &lt;b&gt; &#233;</li><li>c</li></ul>";
    expect((await read(page(html), { format: "text" })).output).toBe("One\ntwo\na <b> é\nc");
    expect((await read(page(html), { format: "html" })).output).toBe(html);
    const open = "<ul><li>1<ul><li>2<p>3<p>4</ul></ul>";
    expect((await read(page(open), { format: "text" })).output.split(/\n+/)).toEqual(["1", "2", "3", "4"]);
  });

  test.each([
    ["application/json", '{"a":"<b>"}'],
    ["text/plain", "a <b> c"],
    ["application/vnd.api+json; charset=utf-8", "[1]"],
    ["application/xml", "<a/>"],
  ])("gives %s as it is", async (type, body) => {
    expect((await read(page(body, type))).output).toBe(body);
  });

  test.each<[string, Reply]>([
    ["of the header", page(Buffer.from("caf\xe9", "latin1"), "text/plain; charset=ISO-8859-1")],
    ["of a meta tag", page(Buffer.from('<meta charset="iso-8859-1"><p>caf\xe9</p>', "latin1"), "text/html")],
    ["of a byte order mark", page(Buffer.from("\uFEFFcafé", "utf16le"), "text/plain")],
    ["by default", page("café", "text/plain")],
    ["by default where the name is unknown", page("café", "text/plain; charset=klingon")],
  ])("reads the charset %s", async (_, reply) => {
    expect((await read(reply)).output).toBe("café");
  });

  test.each([
    "application/pdf",
    "image/png",
    "application/zip",
    "application/x-sh",
    "video/mp4",
  ])("says that %s is no text and does not read it", async (type) => {
    const { output } = await read(page(Buffer.from("PK\u0000"), type));
    expect(output).toMatch(new RegExp(`/page is ${type.replace(/[./+]/g, "\\$&")}( \\(\\d+ bytes\\))?, not text`));
  });

  test("reports the status of a page that is not there", async () => {
    const { origin } = await serve([{ status: 404, body: "nothing here" }]);
    await expect((await toolOf()).run({ url: `${origin}/page` }, context)).rejects.toMatchObject({
      code: "FETCH_FAILED",
      message: expect.stringContaining("404 Not Found"),
    });
  });

  test("says so when a page is compressed in a way that it does not read", async () => {
    const reply = { body: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), headers: { "content-type": "text/plain", "content-encoding": "zstd" } };
    await expect(read(reply)).rejects.toMatchObject({ code: "FETCH_FAILED", message: expect.stringContaining('compressed as "zstd"') });
    expect((await read({ body: "hi", headers: { "content-type": "text/plain", "content-encoding": "identity" } })).output).toBe("hi");
  });

  test("says who it is", async () => {
    const { origin, requests } = await serve([page("hi")]);
    await (await toolOf()).run({ url: origin }, context);
    expect(requests[0]?.headers["user-agent"]).toMatch(/^agent-runtime\/\d+\.\d+\.\d+ \(\+https:\/\//);
    expect(requests[0]?.headers).not.toHaveProperty("authorization");
  });

  test("refuses this machine unless it is allowed", async () => {
    const { origin, requests } = await serve([page("secret")]);
    await expect((await toolOf([])).run({ url: origin }, context)).rejects.toMatchObject({ code: "URL_REFUSED" });
    expect(requests).toHaveLength(0);
  });

  test("stops at 5 MB and at its time limit", async () => {
    const large = read({ raw: Array.from({ length: 100 }, () => Buffer.alloc(65536, 97)), headers: { "content-type": "text/plain" } });
    await expect(large).rejects.toMatchObject({ code: "FETCH_FAILED", message: expect.stringContaining("5242880 bytes") });
    await expect(read({ raw: ["a", "HANG"], headers: { "content-type": "text/plain" } }, { timeout: 1 })).rejects.toMatchObject({
      message: expect.stringContaining("longer than 1 s"),
    });
  });

  test.each([
    ["nested without end", "<div>".repeat(200_000)],
    ["tags that never close", "<a".repeat(500_000)],
    ["scripts that never close", "<script>".repeat(200_000)],
    ["comments that never close", "<!--".repeat(400_000)],
    ["nested quotes", `${"<blockquote>".repeat(300)}x${"</blockquote>".repeat(300)}`],
    ["a megabyte of words", "<p>some words here</p>".repeat(50_000)],
  ])("lives through a page with %s", async (_, html) => {
    const start = performance.now();
    await read(page(html));
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  test("is small in a request and names its URL to permissions", async () => {
    const { name, description, input, effect, patterns } = await toolOf();
    const { $schema: _, ...parameters } = (await toJsonSchema(input)) as Record<string, unknown>;
    expect(JSON.stringify({ type: "function", function: { name, description, parameters } }).length).toBeLessThanOrEqual(450);
    expect([effect, patterns?.({ url: "https://a.example/b" }, { cwd: "/" })]).toEqual(["net", ["https://a.example/b"]]);
    for (const url of ["HTTP://evil.example/", " http://evil.example", "http:\\\\evil.example\\", "http://EVIL.example:80"])
      expect(patterns?.({ url }, { cwd: "/" })).toEqual(["http://evil.example/"]);
    expect(patterns?.({ url: "no url" }, { cwd: "/" })).toEqual(["no url"]);
  });

  test("fails with errors that the model can read", async () => {
    const error = await Promise.resolve((await toolOf()).run({ url: "file:///etc/passwd" }, context)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AgentError);
    expect((error as AgentError).recovery).toBe("tell-model");
  });
});
