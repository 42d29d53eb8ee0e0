import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRedactor } from "../../core/redact.ts";
import { cpuMsOf } from "../fixtures/timing.ts";

const SECRET = 'sk-or-v1-CANARY7f3a9c00/+"quoted" ümlaut';
const known = createRedactor([SECRET]);

const spellings: [string, string][] = [
  ["plain", SECRET],
  ["JSON-escaped", JSON.stringify({ key: SECRET })],
  ["URL-encoded", encodeURIComponent(SECRET)],
  ["URL-encoded with small letters", encodeURIComponent(SECRET).replace(/%../g, (code) => code.toLowerCase())],
  ["base64", Buffer.from(SECRET).toString("base64")],
  ["base64 after one byte", Buffer.from(`:${SECRET}:`).toString("base64")],
  ["base64 after two bytes", Buffer.from(`u:${SECRET}`).toString("base64")],
  ["base64url", Buffer.from(`u:${SECRET}`).toString("base64url")],
  ["doubly JSON-escaped", JSON.stringify(JSON.stringify({ key: SECRET }))],
  ["JSON-escaped in ASCII", JSON.stringify(SECRET).replace("ü", "\\u00fc")],
  ["twice URL-encoded", encodeURIComponent(encodeURIComponent(SECRET))],
  ["form", new URLSearchParams({ key: SECRET }).toString()],
  ["HTML", SECRET.replaceAll('"', "&quot;")],
  ["hex", Buffer.from(SECRET).toString("hex")],
  ["large hex", Buffer.from(SECRET).toString("hex").toUpperCase()],
  ["bytewise", Buffer.from(SECRET).toString("latin1")],
];

describe("a known secret", () => {
  test.each(spellings)("is replaced in its %s form", (_, text) => {
    const safe = known.redact(`before ${text} after`);
    expect(safe).toContain("[redacted]");
    expect(safe).not.toContain("CANARY");
    expect(safe).not.toContain(Buffer.from(SECRET).toString("base64").slice(4, 20));
    expect(safe.startsWith("before ") && safe.endsWith(" after")).toBe(true);
  });

  test("leaves no end behind when a shorter one begins like it", () => {
    expect(createRedactor(["abcdefgh", "abcdefgh-and-more"]).redact("x abcdefgh-and-more y")).toBe("x [redacted] y");
  });

  test("can be added later", () => {
    const redactor = createRedactor();
    expect(redactor.redact("hunter2-hunter2")).toBe("hunter2-hunter2");
    redactor.add("hunter2-hunter2");
    expect(redactor.redact("hunter2-hunter2")).toBe("[redacted]");
  });

  test("leaves no end behind when something that looks like a key begins before it", () => {
    expect(known.redact(`Bearer ${SECRET}`)).toBe("Bearer [redacted]");
    expect(known.redact(`https://ada:${SECRET}@host/`)).toBe("https://ada:[redacted]@host/");
  });

  test("of less than 8 characters is ignored", () => {
    expect(createRedactor(["token", ""]).redact("a token of thanks")).toBe("a token of thanks");
  });
});

describe("what looks like a key", () => {
  const none = createRedactor();
  const keys: [string, string, string][] = [
    ["OpenAI", "key sk-proj-abc123DEF456ghi789 end", "key [redacted] end"],
    ["OpenRouter", "sk-or-v1-0123456789abcdef0123456789abcdef", "[redacted]"],
    ["Anthropic", "sk-ant-api03-AbCdEf0123456789-_x", "[redacted]"],
    ["GitHub", "ghp_0123456789abcdefghijABCDEFGHIJ012345, gho_0123456789abcdefghij", "[redacted], [redacted]"],
    ["GitHub, fine-grained", "github_pat_11ABCDEFG0123456789_abcdefghij", "[redacted]"],
    ["AWS", "id=AKIAIOSFODNN7EXAMPLE ASIAIOSFODNN7EXAMPLE", "id=[redacted] [redacted]"],
    ["Google", `key=AIza${"Sy0-_".repeat(7)}&q`, "key=[redacted]&q"],
    ["npm", `//r/:_authToken=npm_${"a1B2".repeat(9)}`, "//r/:_authToken=[redacted]"],
    ["GitLab", "glpat-abcDEF123456_-xyz789", "[redacted]"],
    ["Stripe", `sk_${"live"}_4eC39HqLyjWDarjtT1zdp7dc and rk_${"test"}_4eC39HqLyjWDarjtT1zdp7dc`, "[redacted] and [redacted]"],
    ["Hugging Face", `hf_${"AbCd".repeat(9)}`, "[redacted]"],
    ["Slack", "xoxb-1234567890-abcdefghij", "[redacted]"],
    ["JWT", "t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "t=[redacted]"],
    ["PEM", "a\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----\nb", "a\n[redacted]\nb"],
    ["PEM that is cut", "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7", "[redacted]"],
    ["password of a URL", "https://ada:s3cret@example.org/x", "https://ada:[redacted]@example.org/x"],
    ["bearer token", "Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer [redacted]"],
  ];
  test.each(keys)("is replaced: %s", (_, text, safe) => expect(none.redact(text)).toBe(safe));

  const ordinary = [
    "sk-learn-documentation-of-everything",
    "the risk-assessment-2024-of-something",
    "git@github.com:acme/project.git and https://example.org:8080/a@b",
    "bearer of good tidings",
    "eyJ is how base64 of a JSON object begins",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "a ghp_short one",
    "postgres://user:password@localhost/db and `http://${user}:${password}@${host}`, http://$USER:$PASSWORD@h, ftp://u:****@h",
    "npm_config_registry_and_more_of_it_than_that and npm_package_name",
    "disk-usage-2024-01-01-of-everything, task-1234567890123456",
    "sk_live_ is how it begins; AKIA too, and AIza, and glpat-",
    "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301 sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
  ];
  test.each(ordinary)("and what does not is left alone: %s", (text) => expect(none.redact(text)).toBe(text));
});

describe("text and code of every day", () => {
  const folders = ["core", "cli", "plugins", "docs", "examples", "scripts", "bench"];
  const files = folders.flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => ({ folder, entry })));
  const sources = files.filter(({ entry }) => entry.isFile()).map(({ entry }) => join(entry.parentPath, entry.name));

  test("stay as they are: the sources and the docs of this repository", () => {
    const none = createRedactor();
    const changed = [...sources, "README.md", "CHANGELOG.md", "AGENTS.md", "config.schema.json"].filter((file) => {
      const text = readFileSync(file, "utf8").replaceAll("sk-or-v1-bench-0000000000", "");
      return none.redact(text) !== text;
    });
    expect(changed).toEqual([]);
  });
});

describe("a text that comes in pieces", () => {
  const stream = (pieces: string[], redactor = known) => {
    const safe = redactor.stream();
    return [...pieces.map((piece) => safe.push(piece)), safe.end()];
  };
  const PEM = `-----BEGIN RSA PRIVATE KEY-----\n${"MIIEpAIBAAKCAQEA7bq9\n".repeat(400)}-----END RSA PRIVATE KEY-----\n`;

  test.each([...spellings, ["an unknown key", "xoxb-1234567890-abcdefghij"], ["a private key", PEM]] as [
    string,
    string,
  ][])("has no secret in it wherever it is cut: %s", (_, text) => {
    const whole = `before ${text}\nafter\n`;
    const expected = known.redact(whole);
    for (let size = 1; size < Math.min(60, whole.length); size += 3) {
      const pieces = whole.match(new RegExp(`[\\s\\S]{1,${text.length > 1000 ? size * 50 : size}}`, "g")) as string[];
      expect(stream(pieces).join(""), String(size)).toBe(expected);
    }
  });

  test("is shown at once where nothing in it can be the beginning of a secret", () => {
    const safe = known.stream();
    expect(safe.push("ready> ")).toBe("ready> ");
    expect(safe.push("done")).toBe("done");
    expect(safe.push(" and sk")).toBe(" and ");
    expect(safe.push("ill")).toBe("skill");
    expect(safe.push(" a line\n")).toBe(" a line\n");
  });

  test("does not take the end of a word for the beginning of a key", () => {
    expect(stream(["the ri", "sk-assessment-2024-of-something"]).join("")).toBe("the risk-assessment-2024-of-something");
  });

  test("goes on after a private key that never ends", () => {
    const text = `-----BEGIN PRIVATE KEY-----\n${"lorem ipsum dolor sit amet\n".repeat(3000)}the end\n`;
    expect(stream(text.match(/[\s\S]{1,1000}/g) as string[]).join("")).toMatch(/^\[redacted\][\s\S]*the end\n$/);
  });
});

describe("what is broken into lines", () => {
  const key = `sk-or-v1-${"0123456789abcdef".repeat(4)}`;
  const redactor = createRedactor([key]);
  const wrap = (text: string, width: number, end = "\n") => text.match(new RegExp(`.{1,${width}}`, "g"))!.join(end);
  const encoded: [string, string][] = [0, 1, 2, 40].flatMap((offset) => {
    const bytes = Buffer.from("p".repeat(offset) + key + "q".repeat(50));
    return [
      [`base64 at ${offset}`, wrap(bytes.toString("base64"), 76)],
      [`base64 with CRLF at ${offset}`, wrap(bytes.toString("base64"), 64, "\r\n")],
      [`hex at ${offset}`, wrap(bytes.toString("hex"), 60)],
    ];
  });
  const plain = encoded.map(([name, text]) => [name, text] as const);

  test.each(plain)("is still found: %s", (_, text) => {
    for (const safe of [redactor.redact(`before:\n${text}\nafter\n`), chunked(`before:\n${text}\nafter\n`, 7)]) {
      expect(safe).toMatch(/^before:\n[\s\S]*\[redacted\][\s\S]*\nafter\n$/);
      for (const part of [Buffer.from(key).toString("base64").slice(8, 24), Buffer.from(key).toString("hex").slice(20, 40)]) expect(safe).not.toContain(part);
    }
  });

  function chunked(text: string, size: number): string {
    const safe = redactor.stream();
    return (text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) as string[]).map((piece) => safe.push(piece)).join("") + safe.end();
  }
});

describe("values", () => {
  test("are redacted at any depth, keys too", () => {
    const value = { list: [1, { note: `x ${SECRET}` }], [SECRET]: null };
    expect(known.redactValue(value)).toEqual({ list: [1, { note: "x [redacted]" }], "[redacted]": null });
  });

  test("are the same object where nothing changed", () => {
    const value = { a: [{ b: "c" }], d: null, e: new Uint8Array(2), f: undefined };
    expect(known.redactValue(value)).toBe(value);
  });

  test("keep the parts that did not change", () => {
    const quiet = { a: "b" };
    expect(known.redactValue({ quiet, loud: SECRET }).quiet).toBe(quiet);
  });
});

describe("for all texts", () => {
  const printable = fc.string({ unit: "grapheme", minLength: 8, maxLength: 60 }).filter((text) => Buffer.byteLength(text) >= 8);

  test("no secret survives, wherever it stands and however it is spelt", () => {
    fc.assert(
      fc.property(printable, fc.string(), fc.string(), fc.integer({ min: 0, max: 2 }), (secret, before, after, offset) => {
        const { redact } = createRedactor([secret]);
        const encoded = Buffer.concat([Buffer.alloc(offset, 1), Buffer.from(secret), Buffer.alloc(3)]).toString("base64");
        for (const spelling of [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]) {
          // The mark itself may, by chance, be part of the secret; it is not one.
          expect(redact(before + spelling + after).replaceAll("[redacted]", "")).not.toContain(spelling);
        }
        expect(redact(encoded)).toContain("[redacted]");
      }),
      { numRuns: 300 },
    );
  });

  const secretOf = fc.string({ unit: "grapheme", minLength: 8, maxLength: 40 }).filter((text) => text.length >= 8 && !text.includes("[redacted]"));
  const forms: ((secret: string) => string)[] = [
    (secret) => secret,
    (secret) => JSON.stringify(JSON.stringify(secret)).slice(3, -3),
    encodeURIComponent,
    (secret) => Buffer.from(secret).toString("hex"),
    (secret) => Buffer.from(`x${secret}yz`).toString("base64url"),
    (secret) => Buffer.from(secret).toString("latin1"),
  ];

  test("no known secret survives in any pieces", () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(
        fc.array(secretOf, { minLength: 1, maxLength: 4 }),
        fc.array(fc.string({ maxLength: 60 }), { minLength: 1 }),
        cuts,
        fc.nat(),
        (secrets, around, sizes, pick) => {
          const redactor = createRedactor(secrets);
          const secret = secrets[pick % secrets.length] as string;
          const form = forms[pick % forms.length]!(secret);
          const text = around.join(form) + form;
          const safe = redactor.stream();
          let shown = "";
          for (let at = 0, cut = 0; at < text.length; cut++) shown += safe.push(text.slice(at, (at += sizes[cut % sizes.length] as number)));
          shown += safe.end();
          const left = shown.split("[redacted]");
          for (const part of left) expect(createRedactor(secrets).redactKnown(part)).toBe(part);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("a text without any is given back as it is", () => {
    const redactor = createRedactor(Array.from({ length: 50 }, (_, index) => `unlikely-secret-${index}-of-many`));
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), fc.integer({ min: 1, max: 50 }), (text, size) => {
        expect(redactor.redactKnown(text)).toBe(text);
        const safe = redactor.stream();
        let shown = "";
        for (let at = 0; at < text.length; at += size) shown += safe.push(text.slice(at, at + size));
        expect(shown + safe.end()).toBe(redactor.redact(text));
      }),
      { numRuns: 300 },
    );
  });

  test("redacting twice changes nothing more", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(SECRET, "ghp_0123456789abcdefghijABCDEFGHIJ012345", " ", "x", "://u:pw1@h", "Bearer ")), (pieces) => {
        const once = known.redact(pieces.join(" "));
        expect(known.redact(once)).toBe(once);
      }),
    );
  });

  test("a hostile text costs no more than its length", async () => {
    const short = [
      "eyJ",
      "eyJ-",
      "sk-",
      "-----BEGIN PRIVATE KEY",
      "://a:",
      "Bearer a",
      "-",
      "gh_",
      "AKIA",
      "@",
      "://x",
      "bearer",
      "QUJD\n",
      "npm_",
      "x",
      SECRET.slice(0, -1),
    ];
    for (const piece of [...short, `${"QUJD".repeat(20)}\n`, `${"x".repeat(100_000)}\n`, `${"x".repeat(3_000)}plain\n`]) {
      const text = piece.repeat(Math.ceil(500_000 / piece.length));
      const ms = await cpuMsOf(() => {
        known.redact(text);
        const stream = known.stream();
        for (let at = 0; at < text.length; at += 16_384) stream.push(text.slice(at, at + 16_384));
        stream.end();
      });
      expect(ms, piece.slice(0, 20)).toBeLessThan(3000);
    }
  });
});

describe("the strict way", () => {
  const strict = (text: string) => createRedactor().redact(text, { strict: true });
  const WORD = "w8FWC0y0MbtYrOvyZFCm2AmbuQjQRCUqlxMI5w87zmIM";

  test.each([
    ["password=hunter2xyz", "password=[redacted]"],
    ['{"db": {"password": "correcthorse"}}', '{"db": {"password": "[redacted]"}}'],
    ['"{\\"clientSecret\\":\\"a1b2c3d4e5\\"}"', '"{\\"clientSecret\\":\\"[redacted]\\"}"'],
    ["PASSWORD=Xy!kQz", "PASSWORD=[redacted]"],
    ["db_password: tr0ub4dor", "db_password: [redacted]"],
    ["export API_TOKEN='tk12345678'", "export API_TOKEN='[redacted]'"],
    ["the password is hunter2xyz", "the password is [redacted]"],
    ["tool --api-key abc12345 -v", "tool --api-key [redacted] -v"],
    ["machine h login me password letMeIn", "machine h login me password [redacted]"],
    ["aws_secret_access_key = abCD1234/efGH5678+ijKL", "aws_secret_access_key = [redacted]"],
    ["Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted]"],
    ["x-api-key: 0123456789abcdef", "x-api-key: [redacted]"],
    ["Cookie: session=abc; theme=dark\nnext", "Cookie: [redacted]\nnext"],
    ["https://x.example/a?sig=a1b2c3d4e5&x=1", "https://x.example/a?sig=[redacted]&x=1"],
    ["curl -u admin:s3cretword https://x", "curl -u admin:[redacted] https://x"],
    ["https://hooks.slack.com/services/T00000000/B00000000/abcdefgh", "https://hooks.slack.com/services/[redacted]"],
    ["//registry.npmjs.org/:_authToken=0a1b2c3d-e5f6", "//registry.npmjs.org/:_authToken=[redacted]"],
    [`the thing is ${WORD}.`, "the thing is [redacted]."],
    [`https://x.example/f/${WORD}/raw`, "https://x.example/f/[redacted]/raw"],
  ])("makes of %s: %s", (text, safe) => {
    expect(strict(text)).toBe(safe);
    expect(strict(safe)).toBe(safe);
  });

  test.each([
    "password: string, token?: string | null, apiKey = options.apiKey",
    "const token = getToken2(x); if (password === other) return process.env.DB_PASSWORD1",
    "max_tokens: 200000, token: 4096, --max-tokens 20000, --token FILE",
    "PASSWORD=$DB_PASS2 SECRET=${SECRET1} token=<your token 1>",
    "the token: refresh happens every 15 minutes; passwords are hashed with sha256",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b, 123e4567-e89b-12d3-a456-426614174000, obs_4f1c2a9be07d3355",
    "createOpenAICompatibleProviderWithRetryAndFallback2Handler in src/components/ButtonV2/IconSVGWithTooltip3.test.tsx",
    "https://a.example/c?page=12345678&sort=asc",
  ])("leaves alone what is no secret: %s", (text) => expect(strict(text)).toBe(text));

  test("leaves JSON as JSON", () => {
    const value = { password: 12345678, pin: 1234, command: 'curl -u "admin:s3cretword" -H "Authorization: Basic dXNlcjpwYXNz" x; sshpass -p "pw12345"' };
    const safe = JSON.parse(strict(JSON.stringify(value)));
    expect(safe).toEqual({
      ...{ password: "[redacted]", pin: 1234 },
      command: 'curl -u "admin:[redacted]" -H "Authorization: Basic [redacted]" x; sshpass -p "[redacted]"',
    });
  });

  test("costs no more than the length of a hostile text", () => {
    for (const piece of ["password= ", `password${" ".repeat(99)}`, "aB3", "a/", "cookie: a=", "?key=", "authorization: ", "--token", '"', "login a "]) {
      const text = piece.repeat(Math.ceil(500_000 / piece.length));
      const startedAt = performance.now();
      strict(text);
      expect(performance.now() - startedAt, piece).toBeLessThan(3000);
    }
  });
});
