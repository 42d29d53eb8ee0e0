import { gzipSync } from "node:zlib";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { startProxy, type TestProxy } from "../fixtures/proxy.ts";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";
import { CANARY, expectUnharmed, makeAttackWorld, sentinelOf } from "./attack-world.ts";
import { isBuilt, removeHomes, until } from "./command.ts";
import { type Call, runTools, startPages, statesOf } from "./tool-runs.ts";

const open: (TestServer | TestProxy)[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});
afterAll(removeHomes);

const opened = async <T extends TestServer | TestProxy>(starting: Promise<T>): Promise<T> => {
  const started = await starting;
  open.push(started);
  return started;
};

/** Every private address but those of this machine, and those that only look public. A request that got through would end at the proxy. */
const PRIVATE = [
  ...["169.254.169.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "198.18.0.1", "192.0.0.1", "192.0.2.1", "203.0.113.1"],
  ...["224.0.0.1", "240.0.0.1", "255.255.255.255", "0.1.2.3", "0xa9.254.169.254", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "10.1", "192.168.257"],
  ...["[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[::]", "[2001:db8::1]", "[2001::1]", "[100::1]", "[64:ff9b:1::a00:1]"],
  ...[
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a00:1]",
    "[::ffff:0:a00:1]",
    "[::10.0.0.1]",
    "[0:0:0:0:0:ffff:c0a8:1]",
  ],
  ...["①⑥⑨.②⑤④.①⑥⑨.②⑤④", "169。254。169。254", "169.254.169.254.", "example.com@169.254.169.254", "169.254.169.254:80", "169.254.169.254:443", "10.0.0.1:8080"],
];

/** This machine, in every spelling. */
const LOOPBACK = [
  ...["127.0.0.1", "127.0.0.1.", "127.1", "127.255.255.254", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "0", "0.0.0.0"],
  ...["localhost", "localhost.", "LOCALHOST", "a.localhost", "a.b.localhost.", "loc%61lhost", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "ｌｏｃａｌｈｏｓｔ"],
  ...[
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "x@127.0.0.1",
    "x:y@[::1]",
  ],
];

const SCHEMES = [
  ...["file:///etc/passwd", "FILE:/etc/passwd", "ftp://127.0.0.1/", "data:text/plain,x", "javascript:1", "gopher://127.0.0.1/", "blob:http://127.0.0.1/x"],
  ...[
    "ws://127.0.0.1/",
    "unix:/run/x.sock",
    "http+unix://%2Frun%2Fx.sock/",
    "view-source:http://127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1",
    "\\\\127.0.0.1\\x",
    "",
  ],
];

const fetching = (...urls: string[]): Call[] => urls.map((url) => ["webfetch", { url }]);
const allow = (...hosts: string[]) => ["--plugin", JSON.stringify(["web", { allowPrivateHosts: hosts }])];
const allowLocal = allow("127.0.0.1");
const isRefusal = (text: string): boolean => / is refused: |is not a URL/.test(text);
const to = (location: string, status = 302): Reply => ({ status, headers: { location } });
const proxied = ({ port }: TestProxy): Record<string, string> => ({ HTTP_PROXY: `http://127.0.0.1:${port}`, HTTPS_PROXY: `http://127.0.0.1:${port}` });

describe.skipIf(!isBuilt)("webfetch", { timeout: 180_000 }, () => {
  test("reaches no private address in any spelling, directly or through a proxy, and no other scheme", async () => {
    const home = makeAttackWorld();
    const sentinel = sentinelOf(home);
    const server = await opened(startPages({}));
    const proxy = await opened(startProxy({ to: server.port }));
    const urls = [
      ...PRIVATE.flatMap((host) => [`http://${host}/x`, `https://${host}/x`]),
      ...LOOPBACK.map((host) => `http://${host}:${server.port}/x`),
      ...SCHEMES,
    ];
    const run = await runTools(fetching(...urls), { home, env: proxied(proxy) });
    expect(run.outputs.flatMap((text, index) => (isRefusal(text) ? [] : `${urls[index]}: ${text}`))).toEqual([]);
    expect([run.code, server.connections(), proxy.asked]).toEqual([0, 0, []]);
    expectUnharmed(run, sentinel);
  });

  test("is led to none by a redirect, however many there were before", async () => {
    const inner = await opened(startPages({ "/x": { body: CANARY } }));
    const targets = [...PRIVATE.map((host) => `http://${host}/x`), ...LOOPBACK.map((host) => `http://${host}:${inner.port}/x`)];
    const others = ["file:///etc/passwd", "ftp://x/", "data:text/plain,x", "javascript:1", "//[::1]:9/x", "\\\\[::1]:9\\x"];
    const pages = Object.fromEntries([...targets, ...others].map((target, index) => [`/to/${index}`, to(Buffer.from(target).toString("latin1"))]));
    const server = await opened(
      startPages({
        ...pages,
        "/far": to("/far/1", 307),
        "/far/1": to("/far/2", 308),
        "/far/2": to("/far/3", 303),
        "/far/3": to("/to/0", 301),
        "/around": to("/around"),
      }),
    );
    const proxy = await opened(startProxy({ to: inner.port }));
    const paths = [...Object.keys(pages), "/far", "/around"];
    const run = await runTools(fetching(...paths.map((path) => `${server.origin}${path}`)), { args: allow(`127.0.0.1:${server.port}`), env: proxied(proxy) });
    expect(
      run.outputs.filter((text) => !isRefusal(text) && !text.includes("redirects more than 5 times") && !/could not be fetched: it redirects/.test(text)),
    ).toEqual([]);
    expect(statesOf(run).every((state) => state === "webfetch:error")).toBe(true);
    expect([run.code, inner.connections(), proxy.asked]).toEqual([0, 0, []]);
  });

  test("asks a proxy for the address that was checked, never for a name, and follows no redirect from there to a private host", async () => {
    const server = await opened(
      startServer(({ path, url }) =>
        path === "/go" ? to(new URL(url, "http://x").searchParams.get("to") ?? "") : { body: "public", headers: { "content-type": "text/plain" } },
      ),
    );
    const proxy = await opened(startProxy({ to: server.port }));
    const inner = await opened(startPages({ "/x": { body: CANARY } }));
    const via = (target: string) => `http://93.184.216.34/go?to=${encodeURIComponent(target)}`;
    const urls = [
      "http://93.184.216.34/x",
      "http://1572395042:8080/x",
      ...["http://10.0.0.1/x", "http://169.254.169.254/x", `http://localhost:${inner.port}/x`, `http://127.0.0.1:${inner.port}/x`].map(via),
    ];
    const run = await runTools(fetching(...urls), { env: { ...proxied(proxy), NO_PROXY: "10.0.0.0/8" } });
    expect(run.outputs.slice(0, 2)).toEqual(["public", "public"]);
    expect(run.outputs.slice(2).filter((text) => !isRefusal(text))).toEqual([]);
    expect(proxy.asked.map(({ line }) => line).sort()).toEqual([...Array.from({ length: 5 }, () => "CONNECT 93.184.216.34:80"), "CONNECT 93.184.216.34:8080"]);
    expect([inner.connections(), proxy.asked.some(({ headers }) => "authorization" in headers || "cookie" in headers)]).toEqual([0, false]);
  });

  test("keeps to the ports of the web, where no option names the host", async () => {
    const proxy = await opened(startProxy({ to: 9 }));
    const ports = [
      "http://93.184.216.34:22/",
      "http://93.184.216.34:25/",
      "https://93.184.216.34:6379/",
      "http://93.184.216.34:65535/",
      "http://93.184.216.34:0/",
    ];
    const run = await runTools(fetching(...ports), { env: proxied(proxy) });
    expect(run.outputs.slice(0, 4)).toEqual(ports.slice(0, 4).map(() => expect.stringMatching(/the port \d+ is not one of 80, 443, 8080, 8443/)));
    expect(proxy.asked.filter(({ line }) => /:(22|25|6379|65535|0)$/.test(line))).toEqual([]);
  });

  test("tells another origin no cookie and no key, and keeps none", async () => {
    const second = await opened(startPages({ "/x": { body: "there", headers: { "content-type": "text/plain" } } }));
    const first = await opened(
      startServer(() => ({ status: 302, headers: { location: `${second.origin}/x`, "set-cookie": "id=1", "www-authenticate": "Basic" } })),
    );
    const run = await runTools(fetching(first.origin, first.origin), { args: allowLocal });
    expect(run.outputs).toEqual(["there", "there"]);
    for (const { headers } of [...first.requests, ...second.requests]) {
      expect(headers).not.toHaveProperty("authorization");
      expect(headers).not.toHaveProperty("cookie");
      expect(headers).not.toHaveProperty("referer");
    }
  });

  test("reads an allowed host, and what it redirects to on it", async () => {
    const server = await opened(
      startPages({
        "/page": { body: "<h1>Hi</h1><table><tr><th>A</th></tr><tr><td>1</td></tr></table><script>x</script>" },
        "/latin": { body: Buffer.from("caf\xe9 \x80", "latin1"), headers: { "content-type": "text/plain; charset=windows-1252" } },
        "/picture": { body: Buffer.from([0, 1]), headers: { "content-type": "image/png" } },
        "/near": to("/page"),
      }),
    );
    const paths = ["page", "latin", "picture", "near", "none"];
    const run = await runTools(fetching(...paths.map((path) => `${server.origin}/${path}`)), { args: allowLocal });
    expect(run.outputs).toEqual([
      "# Hi\n\n| A |\n| --- |\n| 1 |",
      "café €",
      expect.stringContaining("is image/png"),
      expect.stringContaining("# Hi"),
      expect.stringContaining("404"),
    ]);
  });

  test("stops at its limits of time, length, expansion and structure", async () => {
    const text = { headers: { "content-type": "text/plain" } };
    const zeros = Buffer.alloc(20 << 20);
    const server = await opened(
      startPages({
        "/slow": { raw: ["x", "HANG"], ...text },
        "/drip": { raw: Array.from({ length: 600 }, () => ["x", { delayMs: 100 }] as const).flat(), ...text },
        "/long": { raw: Array.from({ length: 7 }, () => "x".repeat(1 << 20)), ...text },
        "/bomb": { body: gzipSync(zeros), headers: { ...text.headers, "content-encoding": "gzip" } },
        "/bomb-in-bomb": { body: gzipSync(gzipSync(zeros)), headers: { ...text.headers, "content-encoding": "gzip, gzip" } },
        "/rows": { body: `<table>${"<tr><td>x".repeat(100_000)}` },
        "/nested": { body: "<blockquote>".repeat(100_000) },
      }),
    );
    const calls = ["slow", "drip", "long", "bomb", "bomb-in-bomb", "rows", "nested"].map((path, index): Call => {
      return ["webfetch", { url: `${server.origin}/${path}`, timeout: index < 2 ? 1 : 10 }];
    });
    const run = await runTools(calls, { args: allowLocal });
    expect(run.outputs.slice(0, 5)).toEqual([
      expect.stringContaining("longer than 1 s"),
      expect.stringContaining("longer than 1 s"),
      expect.stringContaining("longer than 5242880 bytes"),
      expect.stringContaining("100-fold"),
      expect.stringMatching(/-fold|longer than 5242880 bytes|compressed/),
    ]);
    expect(run.outputs[5]).toMatch(/^\| x \|\n\| --- \|\n\| x \|/);
    expect(run.ms).toBeLessThan(30_000);
    await until(() => server.requests.every(({ closed }) => closed));
  });
});
