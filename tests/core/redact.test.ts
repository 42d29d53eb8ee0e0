import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRedactor } from "../../core/redact.ts";

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
    ["AWS", "id=AKIAIOSFODNN7EXAMPLE", "id=[redacted]"],
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
  ];
  test.each(ordinary)("and what does not is left alone: %s", (text) => expect(none.redact(text)).toBe(text));
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

  test("redacting twice changes nothing more", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(SECRET, "ghp_0123456789abcdefghijABCDEFGHIJ012345", " ", "x", "://u:pw1@h", "Bearer ")), (pieces) => {
        const once = known.redact(pieces.join(" "));
        expect(known.redact(once)).toBe(once);
      }),
    );
  });

  test("a hostile text costs no more than its length", () => {
    for (const piece of ["eyJ", "eyJ-", "sk-", "-----BEGIN PRIVATE KEY", "://a:", "Bearer a", "-", "gh_"]) {
      const startedAt = performance.now();
      known.redact(piece.repeat(500_000 / piece.length));
      expect(performance.now() - startedAt).toBeLessThan(2000);
    }
  });
});
