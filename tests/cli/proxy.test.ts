import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { makeCertificate } from "../fixtures/certificate.ts";
import { startProxy, type TestProxy } from "../fixtures/proxy.ts";
import { isBuilt, JSON_OUT, MODEL, makeHome, ofType, readAll, removeHomes, runCommand } from "./command.ts";

const certificate = makeCertificate(["api.test", "127.0.0.1"]);
const chunk = (delta: object, finish: string | null = null) =>
  `data: ${JSON.stringify({ id: "gen-1", object: "chat.completion.chunk", created: 1, model: "mock", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const bodies: string[] = [];
/** Of the next requests; then it says hello. One with HANG at its end stays open. */
const answers: string[] = [];
const server = createServer(certificate, (request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    bodies.push(body);
    response.writeHead(200, { "content-type": "text/event-stream" });
    const answer = answers.shift() ?? `${chunk({ role: "assistant", content: "Hello." })}${chunk({}, "stop")}data: [DONE]\n\n`;
    if (answer.endsWith("HANG")) response.write(answer.slice(0, -4));
    else response.end(answer);
  });
});
const open: TestProxy[] = [];

beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve())));
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));
afterEach(async () => {
  for (const proxy of open.splice(0)) await proxy.close();
  bodies.length = 0;
  removeHomes();
});

async function proxyTo(options: Omit<Parameters<typeof startProxy>[0], "to"> & { to?: number } = {}): Promise<TestProxy> {
  const proxy = await startProxy({ to: (server.address() as AddressInfo).port, ...options });
  open.push(proxy);
  return proxy;
}

function ask(env: Record<string, string>, args: string[] = [], onSpawn: (child: ChildProcess) => void = () => {}) {
  const home = makeHome();
  const ca = join(home, "ca.pem");
  writeFileSync(ca, certificate.cert);
  return runCommand({
    args: [...MODEL, "-p", "Hi", ...(args.length === 0 ? ["-q", "--max-retries", "0"] : args)],
    home,
    onSpawn,
    env: { OPENROUTER_BASE_URL: "https://api.test/v1", NODE_EXTRA_CA_CERTS: ca, ...env },
  });
}

describe.skipIf(!isBuilt)("a proxy", () => {
  test("is asked for a tunnel to an https host, and sees nothing of what goes through", async () => {
    const proxy = await proxyTo();
    const { code, stdout } = await ask({ HTTPS_PROXY: `http://me:p%40ss@127.0.0.1:${proxy.port}` });
    expect([code, stdout]).toEqual([0, "Hello.\n"]);
    expect(proxy.asked.map(({ line }) => line)).toEqual(["CONNECT api.test:443"]);
    expect(proxy.asked[0]?.headers["proxy-authorization"]).toBe(`Basic ${Buffer.from("me:p@ss").toString("base64")}`);
    expect(proxy.asked[0]?.headers.authorization).toBeUndefined();
    expect(bodies).toHaveLength(1);
  });

  test("is asked once for several requests: the tunnel is kept", async () => {
    const proxy = await proxyTo();
    answers.push(
      `${chunk({ tool_calls: [{ index: 0, id: "a", type: "function", function: { name: "bash", arguments: '{"command":"env; echo $HTTPS_PROXY"}' } }] })}${chunk({}, "tool_calls")}data: [DONE]\n\n`,
    );
    const address = `http://me:s3cret-w0rd@127.0.0.1:${proxy.port}`;
    const { code, stdout, stderr, home } = await ask({ HTTPS_PROXY: address, https_proxy: address }, [...JSON_OUT, "--verbose", "--record", "tape"]);
    expect([code, bodies.length, proxy.asked.length]).toEqual([0, 2, 1]);
    const login = Buffer.from("me:s3cret-w0rd").toString("base64");
    for (const text of [stdout, stderr, bodies.join(), readAll(home)]) for (const secret of ["s3cret-w0rd", login]) expect(text).not.toContain(secret);
  });

  test("that closes in the middle of an answer cuts it; the answer is asked for again", async () => {
    const proxy = await proxyTo();
    answers.push(`${chunk({ role: "assistant", content: "Void. ".repeat(20) })}HANG`);
    const watch = (child: ChildProcess) => child.stdout?.on("data", (text: string) => text.includes("Void.") && text.includes("text_delta") && proxy.cut());
    const run = await ask({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` }, [...JSON_OUT, "--stream", "--max-retries", "1"], watch);
    expect([run.code, proxy.asked.length]).toEqual([0, 2]);
    expect(ofType(run, "retry")).toMatchObject([{ error: { code: "STREAM_CUT" } }]);
    expect(ofType(run, "result")).toMatchObject([{ text: "Hello." }]);
  });

  test.each([
    ["me:s3cret%2Dw0rd", "me:s3cret-w0rd"],
    ["s3cret-w0rd", "s3cret-w0rd:"],
  ])("that repeats what it was told gives the login %s away nowhere", async (written, sent) => {
    const proxy = await proxyTo({ echoes: true });
    const env = { HTTP_PROXY: `http://${written}@127.0.0.1:${proxy.port}`, OPENROUTER_BASE_URL: "http://api.test/v1" };
    const { code, stdout, stderr, home } = await ask(env, [...JSON_OUT, "--verbose", "--record", "tape"]);
    const login = Buffer.from(sent).toString("base64");
    expect([code, proxy.asked[0]?.headers["proxy-authorization"]]).toEqual([1, `Basic ${login}`]);
    for (const text of [stdout, stderr, readAll(home)]) for (const secret of ["s3cret-w0rd", "s3cret%2Dw0rd", login]) expect(text).not.toContain(secret);
  });

  test("may speak TLS itself", async () => {
    const proxy = await proxyTo({ tls: certificate });
    expect((await ask({ https_proxy: `https://127.0.0.1:${proxy.port}` })).code).toBe(0);
    expect(proxy.asked).toHaveLength(1);
  });

  test("forwards what goes to an http host", async () => {
    const { startServer } = await import("../fixtures/server.ts");
    const plain = await startServer([{ text: "Plain." }]);
    const proxy = await proxyTo({ to: plain.port });
    const { code, stdout } = await ask({ HTTP_PROXY: `http://127.0.0.1:${proxy.port}`, OPENROUTER_BASE_URL: "http://api.test/v1" });
    await plain.close();
    expect([code, stdout]).toEqual([0, "Plain.\n"]);
    expect(proxy.asked[0]?.line).toBe("POST http://api.test/v1/chat/completions");
    expect(plain.requests[0]?.headers.host).toBe("api.test");
  });

  test("is not asked for this machine", async () => {
    const proxy = await proxyTo();
    const { code } = await ask({
      HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`,
      OPENROUTER_BASE_URL: `https://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    });
    expect([code, proxy.asked.length]).toEqual([0, 0]);
  });

  test.each([
    ["407", { refuse: 407 }, "407"],
    ["403", { refuse: 403 }, "403"],
  ])("that refuses with %s is named, and it is no refused key", async (_, options, said) => {
    const proxy = await proxyTo(options);
    const { code, stderr } = await ask({ HTTPS_PROXY: `http://me:s3cret@127.0.0.1:${proxy.port}` });
    expect(code).toBe(4);
    expect(stderr).toContain("NETWORK_FAILED");
    expect(stderr).toContain(`the proxy 127.0.0.1:${proxy.port} refused the connection: ${said}`);
    expect(stderr).not.toContain("s3cret");
  });

  test("that wants a password for an http host is named, too", async () => {
    const proxy = await proxyTo({ refuse: 407 });
    const { code, stderr } = await ask({ HTTP_PROXY: `http://127.0.0.1:${proxy.port}`, OPENROUTER_BASE_URL: "http://api.test/v1" });
    expect([code, stderr.includes("refused the connection: 407")]).toEqual([4, true]);
  });

  test("that is not there is named instead of the host", async () => {
    const proxy = await startProxy({ to: 1 });
    await proxy.close();
    const { code, stderr } = await ask({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` });
    expect(code).toBe(4);
    expect(stderr).toContain(`nothing listens at the proxy 127.0.0.1:${proxy.port}`);
  });

  test("that never answers is given up within the limit for a connection", async () => {
    const proxy = await proxyTo({ hangs: true });
    const config = JSON.stringify({ provider: { openrouter: { options: { connectTimeout: 300 } } } });
    const { code, stderr, ms } = await ask({ HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, AGENT_CONFIG_CONTENT: config });
    expect([code, stderr.includes("no connection within 0.3 s")]).toEqual([4, true]);
    // It would wait for ever.
    expect(ms).toBeLessThan(30_000);
  });

  test("of a kind that is not spoken ends the run before anything is sent", async () => {
    const { code, stderr } = await ask({ HTTPS_PROXY: "socks5://127.0.0.1:1" });
    expect([code, stderr.includes("HTTPS_PROXY: a proxy is spoken to by http or https, not by socks5.")]).toEqual([2, true]);
  });
});

describe.skipIf(!isBuilt)("certificates", () => {
  const url = () => `https://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;

  test("of an authority that NODE_EXTRA_CA_CERTS names are taken", async () => {
    expect((await ask({ OPENROUTER_BASE_URL: url() })).code).toBe(0);
  });

  test("of an unknown one end the run, and the hint names the way out", async () => {
    const { code, stderr } = await ask({ OPENROUTER_BASE_URL: url(), NODE_EXTRA_CA_CERTS: "" });
    expect(code).toBe(4);
    expect(stderr).toContain("TLS_FAILED");
    expect(stderr).toContain("NODE_EXTRA_CA_CERTS");
    expect(bodies).toEqual([]);
  });
});
