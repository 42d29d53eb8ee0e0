import { gzipSync } from "node:zlib";
import { AgentError, type Plugin, type Tool, type ToolResult } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { createGuardedFetch } from "../../core/http.ts";
import { toJsonSchema } from "../../core/schema.ts";
import plugin from "../../plugins/web/index.ts";
import { type Reply, type Script, startServer, type TestServer } from "../fixtures/server.ts";
import { cpuMs, cpuMsOf } from "../fixtures/timing.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function serve(script: Script): Promise<TestServer> {
  const server = await startServer(script);
  open.push(server);
  return server;
}

const toolOf = async (allowPrivateHosts: string[] = ["127.0.0.1"]): Promise<Tool> =>
  (await (plugin as Plugin).setup({ options: { allowPrivateHosts } } as never)).tools![0]!;
const context: any = { fetch: createGuardedFetch(), signal: new AbortController().signal, permit: async () => {}, accepts: () => undefined };

async function read(reply: Reply, input: Record<string, unknown> = {}): Promise<ToolResult> {
  const { origin } = await serve([reply]);
  return (await (await toolOf()).run({ url: `${origin}/page`, ...input }, context)) as ToolResult;
}

const SIGN = '(This is the article of the page; navigation and what else surrounds it is left out. format "html" gives the whole page.)';
const sentence = "Otters hold hands, so that they do not drift apart while they sleep, and this is what the story is about. ";
const paragraphs = (count: number) => `<p>${sentence.repeat(4)}</p>`.repeat(count);
const newspaper = (article: string, head = "<title>Otters at rest</title>") =>
  `<!doctype html><html><head>${head}</head><body><div id="cookie-banner">We use cookies. <button>Accept</button></div>
  <nav><a href="/home">Home</a> <a href="/sport">Sport</a></nav><main><article><h1>Otters at rest</h1>${article}</article></main>
  <aside class="sidebar">Related: <a href="/beavers">Beavers</a></aside><footer>Copyright Otter Inc.</footer></body></html>`;

const page = (body: string | Uint8Array, type = "text/html; charset=utf-8"): Reply => ({ body, headers: { "content-type": type } });

describe("webfetch", () => {
  test("gives a page as Markdown with tables and code, without scripts", async () => {
    const html = `<html><head><title>T</title><style>a{}</style><script>alert(1)</script></head><body><h1>Hi</h1><p>A <a href="/b">link</a> &amp; more</p>
      <noscript>no</noscript><table><thead><tr><th>A</th><th>B</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table><pre><code class="language-js">let a;</code></pre></body></html>`;
    const { output, title } = await read(page(html));
    expect(output).toContain("# Hi");
    expect(output).toMatch(/A \[link\]\(http:\/\/127\.0\.0\.1:\d+\/b\) & more/);
    expect(output).toMatch(/\| A\s*\| B\s*\|\n\| ---/);
    expect(output).toContain("```js\nlet a;\n```");
    expect(output).not.toMatch(/alert|a\{\}|>no<|\bno\b/);
    expect(title).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/page \(text\/html; charset=utf-8\)$/);
  });

  test("gives code word for word, however it is written", async () => {
    const { output } = await read(
      page(`<pre>a_b *c*
  <b>d</b></pre><div class="highlight-python notranslate"><div class="highlight"><pre><span></span><span class="k">def</span> f():<br>    pass
</pre></div></div>
        <pre class="language-bash"><code><span>npm i<br></span><span>npm start<br></span></code><button>Copy</button></pre>
        <pre data-language="ts"><code><div class="line">one</div><div class="line">
</div><div class="line">two</div></code></pre><pre class="lang-md"><code>\`\`\`js
x
\`\`\`</code></pre>`),
    );
    expect(output.split("\n\n```")).toEqual([
      "```\na_b *c*\n  d\n```",
      "python\ndef f():\n    pass\n```",
      "bash\nnpm i\nnpm start\n```",
      "\none\n\ntwo\n```",
      "`md\n```js\nx\n```\n````",
    ]);
    expect((await read(page("<pre>if x:\n    y\n\tz</pre>"), { format: "text" })).output).toBe("if x:\n    y\n\tz");
  });

  test("gives a link around blocks as one of their first line, and leaves out the sign beside a heading", async () => {
    const { output } = await read(
      page('<a href="https://a.example/x_(y)"><h3>Otters</h3><p>Swim.</p></a><a href="https://a.example/)(">odd</a><h2>Install<a href="#install">#</a></h2>'),
    );
    expect((await read(page('<a href="https://a.example"><pre>x</pre></a>'))).output).toBe("```\nx\n```");
    expect(output).toBe("### [Otters](https://a.example/x_(y))\n\nSwim.\n\n[odd](https://a.example/%29%28)\n\n## Install");
  });

  test("says where the frames of a page are, where an empty page leads, and that a page is made by scripts", async () => {
    const frames = `<html><head><title>T</title><base href="https://a.example/b/"></head><frameset cols="1,2"><frame name="m" src="menu.html"><frame src=main.html><noframes><body>Old</body></noframes></frameset></html>`;
    expect((await read(page(frames))).output).toBe("[frame](https://a.example/b/menu.html)\n\n[frame](https://a.example/b/main.html)\n\nOld");
    const app =
      "<html><head><title>My app</title></head><body><noscript>Switch JavaScript on</noscript><div id=root></div><script src=/main.js></script></body></html>";
    expect((await read(page(app))).output).toBe(
      '# My app\n\n(The page has no text of its own: scripts make it, and they are not run. format "html" gives its source.)',
    );
  });

  test("leaves out characters that nobody sees", async () => {
    const secret = [..."run it"].map((letter) => String.fromCodePoint(0xe0000 + letter.charCodeAt(0))).join("");
    for (const format of ["markdown", "text"])
      expect((await read(page(`<p>ot\u200bter${secret} &#x202e;is می\u200cخواهم</p>`), { format })).output).toBe("otter is می\u200cخواهم");
  });

  test("finds the article of a page in a script without spaces", async () => {
    const prose = `<p>${"カワウソは川に住む動物です。北の川で暮らし、魚を食べます。".repeat(8)}</p>`.repeat(4);
    const menu = `<div class="menu">${"<div>One two three four</div>".repeat(20)}</div>`;
    const { output } = await read(page(`<html><head><title>カワウソ</title></head><body>${menu}<article>${prose}</article></body></html>`));
    expect(output).toMatch(/^# カワウソ\n\nカワウソは/);
    expect(output).toContain(SIGN);
  });

  test("takes the article out of a page, with its title, and says so", async () => {
    const article = `${paragraphs(4)}<table><thead><tr><th>A</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table><pre><code class="language-js">let a;</code></pre>`;
    const { output } = await read(page(newspaper(article)));
    expect(output).toMatch(/^# Otters at rest\n\nOtters hold hands/);
    expect(output).toContain("| A |\n| --- |\n| 1 |");
    expect(output).toContain("```js\nlet a;\n```");
    expect(output.endsWith(`\n\n${SIGN}`)).toBe(true);
    expect(output).not.toMatch(/cookies|Sport|Beavers|Copyright/);
    const text = (await read(page(newspaper(article)), { format: "text" })).output;
    expect(text).toMatch(/^Otters at rest\n\nOtters hold hands/);
    expect(text.endsWith(`let a;\n\n${SIGN}`)).toBe(true);
    expect(text).not.toMatch(/cookies|Sport|Beavers|Copyright/);
    expect((await read(page(newspaper(article)), { format: "html" })).output).toBe(newspaper(article));
  });

  test("loses no heading of an article, and nothing of its title", async () => {
    const method = (name: string) => `<section><h4 class="code-header">fn ${name}()</h4></section><p>${sentence.repeat(2)}</p>`;
    const { output } = await read(
      page(newspaper(paragraphs(2) + ["swim", "dive", "sleep"].map(method).join(""), "<title>Re-exports &amp; more - The book</title>")),
    );
    expect(output).toMatch(/^# Re-exports & more - The book\n[\s\S]*#### fn swim\(\)[\s\S]*#### fn dive\(\)[\s\S]*#### fn sleep\(\)/);
    expect(output).toContain(SIGN);
    const lost = `<div class="sidebar">${Array.from({ length: 9 }, (_, index) => `<h2>Part ${index}</h2>`).join("")}</div>`;
    expect((await read(page(newspaper(paragraphs(4) + lost)))).output).toMatch(/We use cookies[\s\S]*## Part 8/);
  });

  test("takes a long page of documentation apart without losing its parts", async () => {
    const part = (index: number) =>
      `<section><h2>Part ${index}</h2><p>About <code>part${index}</code>.</p><pre><code class="language-js">f(${index});</code></pre></section>`;
    const { output } = await read(
      page(
        `<!doctype html><html><head><title>T</title></head><body><div><main>${Array.from({ length: 600 }, (_, index) => part(index)).join("")}</main></div></body></html>`,
      ),
    );
    expect([output.match(/^## Part \d+$/gm)?.length, output.match(/^About `part\d+`\.$/gm)?.length, output.match(/^```js\nf\(\d+\);\n```$/gm)?.length]).toEqual(
      [600, 600, 600],
    );
  });

  test("gives the whole of a page that is no article, or of which the article is a small part", async () => {
    const list = newspaper(`<ul>${Array.from({ length: 40 }, (_, index) => `<li><a href="/${index}">Story ${index}</a></li>`).join("")}</ul>`);
    expect((await read(page(list))).output).toMatch(/We use cookies[\s\S]*\[Story 39\]\([\s\S]*Copyright/);
    const comments = `<div class="comments">${"<div>Me too, I like them as well as others do.</div>".repeat(200)}</div>`;
    const { output } = await read(page(newspaper(paragraphs(4)).replace("</main>", `</main>${comments}`)));
    expect(output).toMatch(/We use cookies[\s\S]*Otters hold hands[\s\S]*Me too[\s\S]*Copyright/);
    expect(output).not.toContain("is left out");
    expect((await read(page(`<title>T</title>${paragraphs(3)}<frameset>`))).output).toContain("Otters hold hands");
  });

  test("says where links and pictures lead, whatever they start from", async () => {
    const links = `<p>${sentence}<a href="more.html">more</a> <a href="//cdn.example/x">cdn</a> <a href="#note">note</a> <a href="javascript:x()">script</a>
      <a href="mailto:a@b.example">mail</a> <img src="pic.png" alt="An otter"> <img src="data:image/png;base64,${"A".repeat(200)}" alt="dot"></p>`;
    const server = await serve(({ path }) => (path === "/old" ? { status: 302, headers: { location: "/new/place" } } : page(links)));
    const { output } = (await (await toolOf()).run({ url: `${server.origin}/old` }, context)) as ToolResult;
    const at = `${server.origin}/new`;
    for (const text of [
      `[more](${at}/more.html)`,
      "[cdn](http://cdn.example/x)",
      " note script ",
      "[mail](mailto:a@b.example)",
      `![An otter](${at}/pic.png) dot`,
    ])
      expect(output).toContain(text);
    const based = await read(page(newspaper(`${paragraphs(4)}${links}`, '<title>T</title><base href="https://site.example/news/">')));
    expect(based.output).toContain("[more](https://site.example/news/more.html)");
    expect(based.output).toContain("![An otter](https://site.example/news/pic.png)");
    expect(based.output).not.toContain("base64");
  });

  test("keeps long tables and lists whole, and says where a page was too long", async () => {
    const row = (index: number) => `<tr><td>${index}</td><td><a href="/${index}">x</a></td></tr>`;
    const rows = Array.from({ length: 2_000 }, (_, index) => row(index)).join("");
    const { output } = await read(
      page(`<h1>Hi</h1><table><thead><tr><th>A</th><th>B</th></tr></thead>${rows}</table><ul>${"<li>item</li>".repeat(3_000)}</ul><p>end</p>`),
    );
    expect(output).toMatch(/^# Hi\n\n\| A \| B \|\n\| --- \| --- \|\n\| 0 \|/);
    expect([output.match(/^\| \d+ \| \[x\]/gm)?.length, output.match(/---/g)?.length, output.match(/^- +item$/gm)?.length]).toEqual([2_000, 2, 3_000]);
    expect(output).toMatch(/item\n\nend$/);
    const long = await read(page("<p>word</p>".repeat(40_000)));
    expect(long.output).toMatch(/word\n\n\(The page is longer: only its first part is read\. format "html" gives all of it\.\)$/);
  });

  test("gives the words of a page, or its HTML", async () => {
    const html = "<head><title>T</title></head><p>One<br>two</p><script>x</script><ul><li>a &lt;b&gt; &#233;</li><li>c</li></ul>";
    expect((await read(page(html), { format: "text" })).output).toBe("One\ntwo\na <b> é\nc");
    expect((await read(page(html), { format: "html" })).output).toBe(html);
    const open = "<ul><li>1<ul><li>2<p>3<p>4</ul></ul>";
    expect((await read(page(open), { format: "text" })).output.split(/\n+/)).toEqual(["1", "2", "3", "4"]);
  });

  test("gives the words of a page with all its entities, one line a block", async () => {
    const html = "<p>caf&eacute; &Eacute;&szlig; &rarr; 5 < 6 && 7 > 3</p><dl><dt>Otter<dd>swims</dl><b>a</b><div>b</div><h2>c</h2>&unknown;";
    expect((await read(page(html), { format: "text" })).output.split(/\n+/)).toEqual([
      "café Éß → 5 < 6 && 7 > 3",
      "Otter",
      "swims",
      "a",
      "b",
      "c",
      "&unknown;",
    ]);
  });

  test.each([
    ["text/html", "# No HTML\n\n| a |\nx<y>z &amp;"],
    ["application/octet-stream", "made of text\n"],
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
    ["of windows-1252", page(Buffer.from("caf\xe9", "latin1"), "text/plain; charset=windows-1252")],
    ["of an XML declaration", page(Buffer.from('<?xml version="1.0" encoding="ISO-8859-1"?><html><p>caf\xe9</p></html>', "latin1"), "text/html")],
    ["of a big-endian mark", page(Buffer.from("\uFEFFcafé", "utf16le").swap16(), "text/plain")],
    ["of a header that says UTF-16", page(Buffer.from("café", "utf16le"), "text/plain; charset=utf-16le")],
    ["that a meta tag cannot be in", page('<meta charset="utf-16"><p>café</p>', "text/html")],
    ["of a UTF-8 mark", page("\uFEFFcafé", "text/plain")],
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

  test.each([
    ["text/plain", "%PDF-1.7\n\u0000"],
    ["text/html", "\x89PNG\r\n\x1a\n\u0000"],
    ["application/octet-stream", "\x8f\xfe\xfd"],
  ])("tells what is binary, though its type is %s", async (type, bytes) => {
    const { output } = await read(page(Buffer.from(bytes, "latin1"), type));
    expect(output).toMatch(/\/page is binary \(\d+ bytes\), not text\. It was not read\.$/);
  });

  test("attaches a picture for a model that takes it", async () => {
    const png = Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(20)]);
    const ask = async (accepts: boolean | undefined, body: Uint8Array = png) => {
      const { origin } = await serve([page(body, "image/png")]);
      return (await (await toolOf()).run({ url: `${origin}/a/otter.png` }, { ...context, accepts: () => accepts })) as ToolResult;
    };
    for (const accepts of [true, undefined]) {
      const { output, attachments } = await ask(accepts);
      expect(output).toMatch(/otter\.png is image\/png \(28 bytes\)\. It is attached\.$/);
      expect(attachments).toEqual([{ mediaType: "image/png", data: png.toString("base64"), filename: "otter.png" }]);
    }
    expect((await ask(false)).output).toContain("It was not read.");
    expect((await ask(true, Buffer.from("<html>"))).attachments).toBeUndefined();
    await expect(ask(true, Buffer.concat([png, Buffer.alloc(6 << 20)]))).rejects.toMatchObject({
      message: expect.stringContaining("longer than 5242880 bytes"),
    });
  });

  test("has each redirect judged like a call, before it is followed", async () => {
    const server = await serve(({ path }) =>
      path === "/private" ? page("secret") : { status: 302, headers: { location: path === "/a" ? "/b" : "/private" } },
    );
    const judged: unknown[] = [];
    const permit = async (input: any) => {
      judged.push(input);
      if (input.url.endsWith("/private")) throw new AgentError("PERMISSION_DENIED", { reason: "a rule." });
    };
    const fetched = Promise.resolve((await toolOf()).run({ url: `${server.origin}/a`, format: "text" }, { ...context, permit } as never));
    await expect(fetched).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    expect(judged).toEqual(["/b", "/private"].map((path) => ({ url: `${server.origin}${path}`, format: "text" })));
    expect(server.requests.map(({ path }) => path)).toEqual(["/a", "/b"]);
  });

  test("says where a transfer breaks: a body that is shorter than it said, a slow one, a damaged one", async () => {
    const plain = { "content-type": "text/plain" };
    await expect(read({ raw: ["abc", { delayMs: 50 }, "DROP"], headers: { ...plain, "content-length": "100" } })).rejects.toMatchObject({
      message: expect.stringContaining("closed in the middle"),
    });
    const drip = Array.from({ length: 600 }, () => ["a", { delayMs: 100 }] as const).flat();
    const start = performance.now();
    await expect(read({ raw: drip, headers: plain }, { timeout: 1 })).rejects.toMatchObject({ message: expect.stringContaining("longer than 1 s") });
    // All of it would come in a minute.
    expect(performance.now() - start).toBeLessThan(20_000);
    await expect(read({ body: "no gzip", headers: { ...plain, "content-encoding": "gzip" } })).rejects.toMatchObject({
      message: expect.stringContaining("damaged"),
    });
  });

  const text = { "content-type": "text/plain" };
  test.each<[string, Reply, string]>([
    [
      "a page",
      { status: 404, body: "<head><title>T</title></head><h1>Not here</h1><script>x()</script><p>Try the <a href='/new'>new place</a>.</p>" },
      "404 Not Found: Not here Try the new place.",
    ],
    ["JSON", { status: 400, body: { error: "v is missing" } }, '400 Bad Request: {"error":"v is missing"}.'],
    ["a wait", { status: 429, headers: { ...text, "retry-after": "7" }, body: "slow\ndown" }, "429 Too Many Requests, retry after 7 s: slow down."],
    ["too much", { status: 500, headers: text, body: "x".repeat(100_000) }, `500 Internal Server Error: ${"x".repeat(1_000)}…`],
    ["what never ends", { status: 503, headers: text, raw: ["wait", "HANG"] }, "503 Service Unavailable: wait."],
    ["a broken body", { status: 502, headers: text, raw: ["a proxy", { delayMs: 50 }, "DROP"] }, "502 Bad Gateway: a proxy."],
    ["nothing", { status: 403, body: "" }, "403 Forbidden."],
    ["bytes", { status: 404, headers: { "content-type": "image/png" }, body: "PNG" }, "404 Not Found."],
    ["a redirect to nowhere", { status: 302, body: "<p>Sorry</p>" }, "302 Found: Sorry."],
  ])("reports the status of a page that cannot be had, and what the server says: %s", async (_, reply, said) => {
    const { origin } = await serve([reply]);
    await expect((await toolOf()).run({ url: `${origin}/page` }, context)).rejects.toMatchObject({
      code: "FETCH_FAILED",
      message: `${origin}/page could not be fetched: the server answered ${said}`,
    });
  });

  test("follows a redirect to an address that is not ASCII", async () => {
    const server = await serve(({ path }) =>
      path === "/old" ? { status: 302, headers: { location: Buffer.from("/café").toString("latin1") } } : page(`<p>${path}</p>`),
    );
    const { output } = (await (await toolOf()).run({ url: `${server.origin}/old` }, context)) as ToolResult;
    expect(output).toBe("/caf%C3%A9");
  });

  test("does not take the beginning of a compressed page for the whole", async () => {
    const gzip = gzipSync("otter ".repeat(1_000));
    const headers = { ...text, "content-encoding": "gzip" };
    await expect(read({ body: gzip.subarray(0, 30), headers })).rejects.toMatchObject({
      message: expect.stringContaining("its compressed body ends too early"),
    });
    expect((await read({ body: "", headers })).output).toMatch(/ is empty\.$/);
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
    ["a link with a million spaces", `<a href="/x">a${"&nbsp;".repeat(150_000)}b</a>`],
    ["frames that never close", "<frame src=".repeat(90_000)],
    ["code that never closes", "<pre>".repeat(200_000)],
    ["a megabyte of words", "<p>some words here</p>".repeat(50_000)],
  ])("lives through a page with %s", async (_, html) => {
    expect(await cpuMsOf(() => read(page(html)))).toBeLessThan(10_000);
  });

  const links = (count: number) => Array.from({ length: count }, (_, index) => `<a href="/p/${index}">link ${index}</a> `).join("");
  const rows = (count: number) => `<table>${"<tr><td>a</td><td>b</td></tr>".repeat(count)}</table>`;
  const prose = `<p>${"Some words, with commas, and more of them to score, and a few to spare. ".repeat(4)}</p>`;
  test.each([
    ["1 MB of <div>s", "<div>".repeat(200_000)],
    ["1 MB of closed <div>s", "<div>x</div>".repeat(87_000)],
    ["30,000 links", links(30_000)],
    ["a table of 30,000 rows", rows(30_000)],
    ["a tag of 60,000 attributes", `<div ${Array.from({ length: 60_000 }, (_, index) => `a${index}=b`).join(" ")}>x</div>`],
    ["an article of 2,500 paragraphs, nested", `${"<div>".repeat(20)}${prose.repeat(2_500)}${"</div>".repeat(20)}`],
    ["an article with 2,500 links", `<article>${prose.repeat(20)}${links(2_500)}</article>`],
    ["an article with a table of 1,000 rows", `<article>${prose.repeat(20)}${rows(1_000)}</article>`],
  ])("lets others work meanwhile: %s", async (_, html) => {
    await read(page(prose.repeat(3)));
    // Of processor time between two turns of the loop: about 300 ms, whatever else the machine does.
    let [longest, last] = [0, cpuMs()];
    const look = () => {
      longest = Math.max(longest, cpuMs() - last);
      last = cpuMs();
    };
    const timer = setInterval(look, 5);
    await read(page(html));
    clearInterval(timer);
    look();
    expect(longest).toBeLessThan(1_500);
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
