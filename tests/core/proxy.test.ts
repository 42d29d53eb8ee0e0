import { afterEach, describe, expect, test } from "vitest";
import { createGuardedFetch } from "../../core/http.ts";
import { findProxy } from "../../core/proxy.ts";
import { startProxy } from "../fixtures/proxy.ts";
import { startServer } from "../fixtures/server.ts";

const ANY = { HTTPS_PROXY: "http://proxy.test:3128", HTTP_PROXY: "http://plain.test" };
const hostOf = (url: string, env: Record<string, string>) => {
  const proxy = findProxy(new URL(url), env);
  return proxy && `${proxy.protocol}//${proxy.hostname}:${proxy.port}`;
};

describe("the proxy that the environment names", () => {
  test.each([
    ["https://a.test/", ANY, "http://proxy.test:3128"],
    ["http://a.test/", ANY, "http://plain.test:80"],
    ["https://a.test/", { ALL_PROXY: "https://all.test" }, "https://all.test:443"],
    ["http://a.test/", { all_proxy: "all.test:8080" }, "http://all.test:8080"],
    ["https://a.test/", { https_proxy: "http://small.test", HTTPS_PROXY: "http://capitals.test" }, "http://small.test:80"],
    ["https://a.test/", { https_proxy: "", HTTPS_PROXY: "http://capitals.test" }, undefined],
    ["https://a.test/", { HTTP_PROXY: "http://plain.test" }, undefined],
    ["https://a.test/", { HTTPS_PROXY: "  " }, undefined],
    ["https://a.test/", { HTTPS_PROXY: "http://[::1]:3128" }, "http://::1:3128"],
    ["https://a.test/", {}, undefined],
  ] as const)("for %s with %o is %s", (url, env, expected) => {
    expect(hostOf(url, env as Record<string, string>)).toBe(expected);
  });

  test.each([
    ["*", "https://a.test/", true],
    ["a.test", "https://a.test/", true],
    ["a.test", "https://b.a.test/", true],
    ["a.test", "https://ba.test/", false],
    [".a.test", "https://a.test/", true],
    ["*.a.test", "https://b.a.test/", true],
    ["A.Test", "https://a.test/", true],
    ["b.test, a.test", "https://a.test/", true],
    ["b.test a.test", "https://a.test/", true],
    ["a.test:443", "https://a.test/", true],
    ["a.test:8443", "https://a.test/", false],
    ["a.test:8443", "https://a.test:8443/", true],
    ["10.0.0.0/8", "https://10.1.2.3/", true],
    ["10.0.0.0/8", "https://11.1.2.3/", false],
    ["10.0.0.0/99", "https://10.1.2.3/", false],
    ["fd00::/8", "https://[fd00::1]/", true],
    ["[fd00::1]:443", "https://[fd00::1]/", true],
    ["192.0.2.1", "https://192.0.2.1/", true],
    ["", "https://a.test/", false],
    [",", "https://a.test/", false],
  ])("NO_PROXY=%s and %s: exempt %s", (list, url, isExempt) => {
    expect(hostOf(url, { ...ANY, NO_PROXY: list }) === undefined).toBe(isExempt);
  });

  test.each([
    "http://localhost:11434/",
    "https://x.localhost/",
    "http://127.0.0.1/",
    "http://127.9.9.9:1/",
    "http://[::1]:8080/",
  ])("%s is this machine and asked directly", (url) => {
    expect(hostOf(url, ANY)).toBeUndefined();
  });

  test("has its user and password from the address, with what is escaped in them", () => {
    const proxy = findProxy(new URL("https://a.test"), { HTTPS_PROXY: "http://me:p%40ss@proxy.test" });
    expect(proxy?.authorization).toBe(`Basic ${Buffer.from("me:p@ss").toString("base64")}`);
  });

  test.each([
    "socks5://me:s3cret@proxy.test:1080",
    "http://",
    "http://me:s3cret@",
    "%",
    "http://me:s3cret%zz@proxy.test",
  ])("%s is refused without being repeated", (address) => {
    let error: any;
    try {
      findProxy(new URL("https://a.test"), { ALL_PROXY: address });
    } catch (thrown) {
      error = thrown;
    }
    expect(error?.code).toBe("OPTION_INVALID");
    expect(error.message).toContain("ALL_PROXY");
    expect(error.message).not.toContain("s3cret");
  });
});

describe("what tools fetch through a proxy", () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  async function prepare(address: string, answer: { refuse?: number; accept?: string } = {}) {
    const server = await startServer([{ body: "Hello.", headers: { "content-type": "text/plain" } }]);
    const proxy = await startProxy({ to: server.port, ...answer });
    open.push(server, proxy);
    const fetch = createGuardedFetch({ env: { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` }, resolve: async () => [{ address, family: 4 }] });
    return { server, proxy, fetch };
  }

  test("is asked for by the address that was checked, so the proxy cannot be led elsewhere", async () => {
    const { server, proxy, fetch } = await prepare("93.184.215.14");
    expect(await (await fetch("http://site.test/page")).text()).toBe("Hello.");
    expect(proxy.asked.map(({ line }) => line)).toEqual(["CONNECT 93.184.215.14:80"]);
    expect([server.requests[0]?.headers.host, server.requests[0]?.url]).toEqual(["site.test", "/page"]);
  });

  test.each(["200 OK", "201 Created", "204 No Content", "200 OK\r\ncontent-length: 5"])("comes through a tunnel that is opened with %j", async (accept) => {
    const { fetch } = await prepare("93.184.215.14", { accept });
    expect(await (await fetch("http://site.test/page")).text()).toBe("Hello.");
  });

  test("is refused where the address is private, before the proxy is asked", async () => {
    const { proxy, fetch } = await prepare("10.0.0.1");
    await expect(fetch("http://site.test/")).rejects.toMatchObject({ code: "URL_REFUSED" });
    expect(proxy.asked).toEqual([]);
  });

  test("is checked anew at each redirect, before the proxy is asked for it", async () => {
    const server = await startServer([
      { status: 302, headers: { location: "http://next.test/a" } },
      { status: 302, headers: { location: "http://inner.test/b" } },
    ]);
    const proxy = await startProxy({ to: server.port });
    open.push(server, proxy);
    const addresses: Record<string, string> = { "site.test": "93.184.215.14", "next.test": "93.184.215.15", "inner.test": "169.254.169.254" };
    const env = { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` };
    const fetch = createGuardedFetch({ env, resolve: async (name) => [{ address: addresses[name]!, family: 4 }] });
    await expect(fetch("http://site.test/")).rejects.toMatchObject({ code: "URL_REFUSED" });
    expect(proxy.asked.map(({ line }) => line)).toEqual(["CONNECT 93.184.215.14:80", "CONNECT 93.184.215.15:80"]);
  });

  test.each([302, 403])("fails with what the proxy says: %i", async (refuse) => {
    const { fetch } = await prepare("93.184.215.14", { refuse });
    await expect(fetch("http://site.test/")).rejects.toMatchObject({
      code: "FETCH_FAILED",
      message: expect.stringContaining(`refused the connection: ${refuse}`),
    });
  });
});
