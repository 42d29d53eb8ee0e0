import { spawnSync } from "node:child_process";
import { request } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, createServer, type Server, type Socket } from "node:net";
import { brotliCompressSync, createGzip, deflateSync, gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import { createFetch, createGuardedFetch, type GuardTarget } from "../../core/http.ts";
import { exchange, readRequest } from "../../core/http-exchange.ts";
import { makeCertificate } from "../fixtures/certificate.ts";
import { type Reply, type Script, startServer, type TestServer } from "../fixtures/server.ts";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function serve(script: Script): Promise<TestServer> {
  const server = await startServer(script);
  open.push(server);
  return server;
}

/** A server below HTTP, for what no HTTP server does. */
async function serveSockets(onSocket: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push({
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}/`;
}

const failure = async (promise: Promise<unknown>): Promise<AgentError> => {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AgentError);
  return error as AgentError;
};

const until = async (condition: () => boolean, ms = 45_000): Promise<void> => {
  for (const end = Date.now() + ms; !condition() && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
};

describe("the one HTTP client", () => {
  test("answers with what the AI SDK and tools read of a response", async () => {
    const { origin, requests } = await serve([{ body: { a: "é" }, headers: { "X-One": "1", "set-cookie": ["a=1", "b=2"] } }]);
    const response = await createFetch()(`${origin}/path?q=1`, { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"b":2}' });
    expect([response.ok, response.status, response.statusText, response.url, response.redirected]).toEqual([true, 200, "OK", `${origin}/path?q=1`, false]);
    expect(response.headers.get("X-ONE")).toBe("1");
    expect(Object.fromEntries(response.headers)["set-cookie"]).toBe("a=1, b=2");
    expect(await response.json()).toEqual({ a: "é" });
    expect(requests[0]).toMatchObject({ method: "POST", url: "/path?q=1", body: { b: 2 } });
    expect(requests[0]?.headers["content-length"]).toBe("7");
  });

  test("keeps a connection for the next request", async () => {
    const server = await serve([{ body: { a: 1 } }]);
    const fetch = createFetch();
    for (let i = 0; i < 3; i++) await (await fetch(server.origin, { method: "POST", body: "{}" })).text();
    expect(server.connections()).toBe(1);
  });

  test("opens a new connection when the kept one was closed meanwhile", async () => {
    let count = 0;
    const url = await serveSockets((socket) => {
      const isFirst = ++count === 1;
      let seen = 0;
      socket.on("data", () => {
        if (isFirst && ++seen === 2) return socket.destroy();
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      });
    });
    const fetch = createFetch();
    expect(await (await fetch(url)).text()).toBe("ok");
    expect(await (await fetch(url)).text()).toBe("ok");
    expect(count).toBe(2);
  });

  test("never sends again by itself what the server may have begun to do", async () => {
    let requests = 0;
    const url = await serveSockets((socket) => {
      socket.on("data", () => {
        if (++requests === 2) return socket.destroy();
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      });
    });
    const fetch = createFetch();
    await (await fetch(url, { method: "POST", body: "1" })).text();
    expect((await failure(fetch(url, { method: "POST", body: "2" }))).code).toBe("NETWORK_FAILED");
    expect(requests).toBe(2);
  });

  test("gives the status of an error whose body is cut", async () => {
    const url = await serveSockets((socket) => {
      socket.on("data", () => socket.end("HTTP/1.1 401 Unauthorized\r\ncontent-length: 500\r\n\r\nno key"));
    });
    const response = await createFetch()(url, { method: "POST", body: "{}" });
    expect([response.status, await response.text()]).toEqual([401, "no key"]);
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
  ])("undoes %s", async (encoding, compress) => {
    const { origin } = await serve([{ body: compress(Buffer.from("é".repeat(5000))), headers: { "content-encoding": encoding } }]);
    expect(await (await createFetch()(origin)).text()).toBe("é".repeat(5000));
  });

  test("passes the pieces of a compressed stream on as they come", async () => {
    const gzip = createGzip();
    const whole: Buffer[] = [];
    gzip.on("data", (piece: Buffer) => whole.push(piece));
    gzip.write("data: 1\n\n");
    await new Promise<void>((resolve) => gzip.flush(resolve));
    const { origin } = await serve([{ raw: [...whole, "HANG"], headers: { "content-encoding": "gzip" } }]);
    const response = await createFetch()(origin);
    const reader = response.body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe("data: 1\n\n");
    await reader.cancel();
  });

  test("reports a compressed body that is damaged", async () => {
    const { origin } = await serve([{ body: Buffer.from("this is no gzip at all"), headers: { "content-encoding": "gzip" } }]);
    expect((await failure((await createFetch()(origin)).text())).code).toBe("STREAM_CUT");
  });

  test("says what kept it from connecting, with the host and without the path", async () => {
    const { origin, close } = await startServer([{}]);
    await close();
    const error = await failure(createFetch()(`${origin}/secret?key=1`));
    expect(error.code).toBe("NETWORK_FAILED");
    expect(error.data.cause).toBe("ECONNREFUSED");
    expect(error.message).toContain("nothing listens at 127.0.0.1:");
    expect(error.message).not.toContain("secret");
  });

  test("says that a host is not known", async () => {
    const error = await failure(createFetch()("http://nobody.invalid/"));
    expect(error.code).toBe("NETWORK_FAILED");
    expect(["ENOTFOUND", "EAI_AGAIN"]).toContain(error.data.cause);
  });

  test("reports a connection that is accepted and closed", async () => {
    const url = await serveSockets((socket) => socket.destroy());
    expect((await failure(createFetch()(url))).data.cause).toBe("ECONNRESET");
  });

  test("reports a body that is cut, also behind a Content-Length", async () => {
    const { origin } = await serve([{ raw: ["data: 1\n\n", { delayMs: 20 }, "DROP"] }]);
    const error = await failure((await createFetch()(origin)).text());
    expect([error.code, error.data.cause]).toEqual(["STREAM_CUT", "ECONNRESET"]);
    const url = await serveSockets((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"));
    expect((await failure((await createFetch()(url)).text())).code).toBe("STREAM_CUT");
  });

  test("gives up when no connection stands in time", async () => {
    // TLS to a server that never answers it: the connection is open, the handshake is not.
    const url = await serveSockets(() => {});
    const error = await failure(createFetch({ connectTimeoutMs: 100 })(url.replace("http:", "https:")));
    expect([error.code, error.data.stage]).toEqual(["PROVIDER_TIMEOUT", "connect"]);
  });

  test("gives up when no headers come in time, and closes the connection", async () => {
    const server = await serve([{ delayMs: 60_000 }]);
    const start = performance.now();
    const error = await failure(createFetch({ headersTimeoutMs: 150 })(server.origin, { method: "POST", body: "{}" }));
    expect([error.code, error.data.stage]).toEqual(["PROVIDER_TIMEOUT", "headers"]);
    expect(performance.now() - start).toBeLessThan(30_000);
    await until(() => server.requests[0]!.closed);
  });

  test("gives up when the body stalls, but never while its reader is slow", async () => {
    const server = await serve([{ raw: ["data: 1\n\n", "HANG"] }, { raw: [Buffer.alloc(2_000_000, 97)] }]);
    const fetch = createFetch({ chunkTimeoutMs: 1000 });
    const error = await failure((await fetch(server.origin)).text());
    expect([error.code, error.data.stage]).toEqual(["PROVIDER_TIMEOUT", "stall"]);
    await until(() => server.requests[0]!.closed);
    const reader = (await fetch(server.origin)).body!.getReader();
    let size = (await reader.read()).value!.length;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    for (let read = await reader.read(); !read.done; read = await reader.read()) size += read.value.length;
    expect(size).toBe(2_000_000);
  });

  test("takes comments for life but not for content", async () => {
    const comments = Array.from({ length: 200 }, () => [": OPENROUTER PROCESSING\n\n", { delayMs: 20 }] as const).flat();
    const { origin } = await serve([{ raw: comments }, { raw: [...comments.slice(0, 200), "data: 1\n\n"] }]);
    const start = performance.now();
    const error = await failure((await createFetch({ chunkTimeoutMs: 1000, contentTimeoutMs: 2500 })(origin)).text());
    expect(error.data.stage).toBe("stall");
    expect(performance.now() - start).toBeGreaterThan(2400);
    expect(await (await createFetch({ chunkTimeoutMs: 1000 })(origin)).text()).toContain("data: 1");
  });

  test("takes a comment for one though it comes byte by byte", async () => {
    const comment = Array.from(": PROCESSING data: 1\n\n", (letter) => [letter, { delayMs: 5 }] as const).flat();
    const { origin } = await serve([{ raw: Array(20).fill(comment).flat() }]);
    const error = await failure((await createFetch({ chunkTimeoutMs: 2000, contentTimeoutMs: 300 })(origin)).text());
    expect([error.code, error.data.stage]).toEqual(["PROVIDER_TIMEOUT", "stall"]);
  });

  test.each<[string, Reply]>([
    ["before the headers", { delayMs: 60_000 }],
    ["in the body", { raw: ["data: 1\n\n", "HANG"] }],
  ])("ends with the signal's reason %s and closes the connection", async (_, reply) => {
    const server = await serve([reply]);
    const controller = new AbortController();
    const reason = new Error("enough");
    const answer = createFetch()(server.origin, { signal: controller.signal }).then((response) => response.text());
    await until(() => server.requests.length === 1);
    setTimeout(() => controller.abort(reason), 30);
    await expect(answer).rejects.toBe(reason);
    await until(() => server.requests[0]!.closed);
    await expect(createFetch()(server.origin, { signal: controller.signal })).rejects.toBe(reason);
  });

  test("closes the connection when the body is no longer wanted", async () => {
    const server = await serve([{ raw: ["data: 1\n\n", "HANG"] }]);
    const response = await createFetch()(server.origin);
    await response.body!.cancel();
    await until(() => server.requests[0]!.closed);
  });

  test("reads only as fast as its reader", async () => {
    let sent = 0;
    const piece = Buffer.alloc(64 * 1024, 97);
    const url = await serveSockets((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n");
      const push = () => {
        while (sent < 1024 && socket.write(piece)) sent++;
      };
      socket.on("drain", push);
      push();
    });
    const response = await createFetch()(url);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(sent).toBeLessThan(512);
    await response.body!.cancel();
  });

  test("follows redirects and tells another origin nothing of who asks", async () => {
    const target = await serve([{ body: { there: true } }]);
    const server = await serve((request) =>
      request.path === "/a" ? { status: 302, headers: { location: "/b" } } : { status: 307, headers: { location: `${target.origin}/c` } },
    );
    const response = await createFetch()(`${server.origin}/a`, { headers: { Authorization: "Bearer key", "X-Key": "1", Accept: "text/plain" } });
    expect([await response.json(), response.redirected, response.url]).toEqual([{ there: true }, true, `${target.origin}/c`]);
    expect(server.requests[1]?.headers.authorization).toBe("Bearer key");
    expect(target.requests[0]?.headers).toMatchObject({ accept: "text/plain" });
    expect(target.requests[0]?.headers).not.toHaveProperty("authorization");
    expect(target.requests[0]?.headers).not.toHaveProperty("x-key");
  });

  test("never loads the built-in fetch", () => {
    const script = `
      import { createServer } from "node:http";
      const names = ["fetch", "Headers", "Response", "Request", "FormData"];
      const touched = [];
      for (const name of names) { const real = Object.getOwnPropertyDescriptor(globalThis, name); Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); return real.get ? real.get.call(globalThis) : real.value; } }); }
      const { createFetch } = await import(${JSON.stringify(new URL("../../core/http.ts", import.meta.url).href)});
      const server = createServer((request, response) => response.end("ok")).listen(0, "127.0.0.1", async () => {
        await (await createFetch()("http://127.0.0.1:" + server.address().port, { method: "POST", body: "{}" })).text();
        console.log(JSON.stringify(touched));
        server.close(); server.closeAllConnections();
      });`;
    const { stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      encoding: "utf8",
      cwd: new URL("../..", import.meta.url).pathname,
    });
    expect(stderr).toBe("");
    expect(stdout.trim()).toBe("[]");
  });
});

describe("the guarded fetch", () => {
  /** Public hosts and what they resolve to; every connection goes to the test server and is noted. */
  const world = (port: number, hosts: Record<string, string[]>) => {
    const connections: GuardTarget[] = [];
    const fetch = createGuardedFetch({
      resolve: async (hostname) => (hosts[hostname] ?? []).map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
      connect: (target) => {
        connections.push(target);
        return connect(port, "127.0.0.1");
      },
    });
    return { fetch, connections };
  };

  test("fetches a public host, connected to the address that was checked", async () => {
    const { port, requests } = await serve([{ body: "hello" }]);
    const { fetch, connections } = world(port, { "example.com": ["93.184.216.34"] });
    const response = await fetch("http://example.com/a");
    expect(await response.text()).toBe("hello");
    expect(connections).toMatchObject([{ hostname: "example.com", port: 80, addresses: [{ address: "93.184.216.34" }] }]);
    expect(requests[0]?.headers.host).toBe("example.com");
  });

  const REFUSED = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://localhost./",
    "http://x.localhost/",
    "http://0x7f.1/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[::7f00:1]/",
    "http://169.254.169.254/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[2002:7f00:1::]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://private.example/",
    "http://half.example/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "data:text/plain,a",
    "javascript:1",
    "http://a@example.com/",
    "http://:b@example.com/",
    "http://example.com:22/",
    "not a url",
  ];
  const HOSTS = { "example.com": ["93.184.216.34"], "private.example": ["10.1.2.3"], "half.example": ["93.184.216.34", "127.0.0.1"] };

  test.each(REFUSED)("refuses %s without a connection", async (url) => {
    const { port, requests } = await serve([{ body: "secret" }]);
    const { fetch, connections } = world(port, HOSTS);
    expect((await failure(fetch(url))).code).toBe("URL_REFUSED");
    expect([connections.length, requests.length]).toEqual([0, 0]);
  });

  test.each(REFUSED.filter((url) => URL.canParse(url)))("refuses a redirect to %s at that hop", async (url) => {
    const { port, requests } = await serve([{ status: 302, headers: { location: new URL(url).href } }]);
    const { fetch } = world(port, HOSTS);
    expect((await failure(fetch("http://example.com/"))).code).toBe("URL_REFUSED");
    expect(requests).toHaveLength(1);
  });

  test("is not moved by a second look-up", async () => {
    const { port, requests } = await serve([{ body: "secret" }]);
    let lookups = 0;
    const addresses: string[] = [];
    const fetch = createGuardedFetch({
      resolve: async () => [{ address: lookups++ === 0 ? "93.184.216.34" : "127.0.0.1", family: 4 }],
      connect: (target) => {
        addresses.push(...target.addresses.map(({ address }) => address));
        return connect(port, "127.0.0.1");
      },
    });
    await (await fetch("http://rebind.example/")).text();
    expect([lookups, addresses, requests.length]).toEqual([1, ["93.184.216.34"], 1]);
  });

  test.each([["127.0.0.1"], ["127.0.0.0/8"], ["localhost"]])("reaches this machine only where %s is allowed", async (entry) => {
    const { port } = await serve([{ body: "hello" }]);
    const url = entry === "localhost" ? `http://localhost:${port}/` : `http://127.0.0.1:${port}/`;
    expect((await failure(createGuardedFetch()(url))).code).toBe("URL_REFUSED");
    expect(await (await createGuardedFetch()(url, { allowPrivateHosts: [entry] })).text()).toBe("hello");
    expect(await (await createGuardedFetch({ allowPrivateHosts: [entry] })(url)).text()).toBe("hello");
  });

  test("follows five redirects and no more, and sends no credentials to another host", async () => {
    const { port, requests } = await serve((request) => {
      const hop = Number(request.path.slice(1));
      return hop === 0 ? { body: "there" } : { status: 302, headers: { location: `http://${hop % 2 ? "a" : "b"}.example/${hop - 1}` } };
    });
    const { fetch } = world(port, { "a.example": ["1.1.1.1"], "b.example": ["8.8.8.8"] });
    expect(await (await fetch("http://a.example/5", { headers: { cookie: "a=1", authorization: "Bearer x" } })).text()).toBe("there");
    expect(requests[0]?.headers.cookie).toBe("a=1");
    for (const request of requests.slice(2)) expect(request.headers).not.toHaveProperty("authorization");
    expect((await failure(fetch("http://a.example/6"))).message).toContain("redirects more than 5 times");
  });

  test("stops at the limit of bytes and at a bomb", async () => {
    const bomb = gzipSync(Buffer.alloc(20 * 1024 * 1024));
    const { port, requests } = await serve([
      { raw: Array.from({ length: 400 }, () => Buffer.alloc(65536)), headers: { "content-type": "text/plain" } },
      { body: bomb, headers: { "content-encoding": "gzip" } },
    ]);
    const { fetch } = world(port, HOSTS);
    const large = await failure((await fetch("http://example.com/")).text());
    expect([large.code, large.message.includes("longer than 5242880 bytes")]).toEqual(["FETCH_FAILED", true]);
    await until(() => requests[0]!.closed);
    expect((await failure((await fetch("http://example.com/", { maxBytes: 1e9 })).text())).message).toContain("100-fold");
  });

  test("has one time limit for the whole exchange", async () => {
    const drip = Array.from({ length: 100 }, () => ["a", { delayMs: 30 }] as const).flat();
    const { port } = await serve([{ raw: drip }, { delayMs: 60_000 }]);
    const { fetch } = world(port, HOSTS);
    for (let i = 0; i < 2; i++) {
      const error = await failure(fetch("http://example.com/", { timeoutMs: 200 }).then((response) => response.text()));
      expect([error.code, error.message.includes("longer than 0.2 s")]).toEqual(["FETCH_FAILED", true]);
    }
  });

  test("ends with the signal's reason, also while a name is looked up", async () => {
    const reason = new Error("enough");
    const fetch = createGuardedFetch({ resolve: () => new Promise(() => {}) });
    await expect(fetch("http://slow.example/", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 20);
    await expect(fetch("http://slow.example/", { signal: controller.signal })).rejects.toBe(reason);
  });

  test("says that a host is not known", async () => {
    const { fetch } = world(1, {});
    expect((await failure(fetch("http://nobody.example/"))).message).toContain("the host nobody.example is not known");
  });

  test("reports a refused connection as a fetch that failed", async () => {
    const { port, close } = await startServer([{}]);
    await close();
    const { fetch } = world(port, HOSTS);
    expect((await failure(fetch("http://example.com/"))).code).toBe("FETCH_FAILED");
  });
});

describe("a server that cannot be reached says why", () => {
  /** One exchange whose look-up of the name ends like this. */
  const lookUp = (code: string) => {
    const lookup = (_host: string, _options: object, done: (error: Error, address: string) => void) =>
      done(Object.assign(new Error(`getaddrinfo ${code} api.example`), { code, syscall: "getaddrinfo" }), "");
    const never = Number.POSITIVE_INFINITY;
    return exchange({
      ...readRequest("http://api.example/v1"),
      signal: undefined,
      limits: { connectTimeoutMs: never, headersTimeoutMs: never, chunkTimeoutMs: never, contentTimeoutMs: never },
      open: (url, options) => request(url, { ...options, lookup }),
      toError: ({ stage, reason, code: found }) => new AgentError("NETWORK_FAILED", { model: "m", reason, stage, cause: found }),
    });
  };

  test.each([
    ["ENOTFOUND", "the host api.example is not known (ENOTFOUND)."],
    ["EAI_AGAIN", "the host api.example could not be looked up (EAI_AGAIN)."],
    ["EAI_FAIL", "the host api.example could not be looked up (EAI_FAIL)."],
    ["ESERVFAIL", "the host api.example could not be looked up (ESERVFAIL)."],
  ])("where its name is not found: %s", async (code, reason) => {
    expect((await failure(lookUp(code))).data).toMatchObject({ stage: "dns", cause: code, reason });
  });

  test("where nothing listens, and where it hangs up", async () => {
    const refused = await failure(createFetch()("http://127.0.0.1:1/"));
    expect(refused).toMatchObject({
      code: "NETWORK_FAILED",
      data: { stage: "network", cause: "ECONNREFUSED", reason: "nothing listens at 127.0.0.1:1 (ECONNREFUSED)." },
    });
    const url = await serveSockets((socket) => socket.destroy());
    const reset = await failure(createFetch()(url));
    expect(reset).toMatchObject({
      code: "NETWORK_FAILED",
      data: { stage: "network", cause: "ECONNRESET", reason: expect.stringContaining("closed the connection") },
    });
  });

  test("where nobody knows its certificate, and where it does not speak TLS", async () => {
    const server = createTlsServer(makeCertificate(["127.0.0.1"]), (_request, response) => response.end("ok"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    open.push({ close: () => new Promise((resolve) => server.close(() => resolve())) });
    const host = `127.0.0.1:${(server.address() as { port: number }).port}`;
    const unknown = await failure(createFetch()(`https://${host}/`));
    expect(unknown).toMatchObject({ code: "TLS_FAILED", data: { stage: "tls", cause: "DEPTH_ZERO_SELF_SIGNED_CERT" } });
    expect(unknown.message).toContain(`no secure connection to ${host}: self-signed certificate`);
    const { port } = await serve([{ text: "plain" }]);
    expect((await failure(createFetch()(`https://127.0.0.1:${port}/`))).message).toContain("the server does not speak TLS");
  });
});
