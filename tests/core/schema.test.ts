import { describe, expect, test } from "vitest";
import { z } from "zod";
import { check, type StandardSchema, toJsonSchema } from "../../core/schema.ts";

const foreign: StandardSchema<string, number> = {
  "~standard": {
    version: 1,
    vendor: "other",
    validate: async (value) => (typeof value === "string" ? { value: value.length } : { issues: [{ message: "not text", path: ["a", { key: 0 }] }] }),
    jsonSchema: { input: () => ({ $schema: "x", type: "string" }) },
  },
};

describe("JSON Schema", () => {
  test("of a zod schema describes what goes in, without $schema, and is made once", async () => {
    const schema = z.object({ path: z.string().describe("where"), limit: z.number().default(5) });
    const made = await toJsonSchema(schema);
    expect(made).toMatchObject({ type: "object", properties: { path: { type: "string", description: "where" } }, required: ["path"] });
    expect(made).not.toHaveProperty("$schema");
    expect(await toJsonSchema(schema)).toBe(made);
  });

  test("is passed through as it is", async () => {
    const schema = { type: "object", properties: {} };
    expect(await toJsonSchema(schema)).toBe(schema);
  });

  test("of another library is its own, and one that gives none is refused by name", async () => {
    expect(await toJsonSchema(foreign)).toEqual({ type: "string" });
    const mute = { "~standard": { version: 1 as const, vendor: "mute", validate: (value: unknown) => ({ value }) } };
    await expect(toJsonSchema(mute)).rejects.toThrow('a schema of "mute" cannot be given as JSON Schema');
  });
});

describe("a value", () => {
  test("comes back as the schema gives it", async () => {
    expect(await check(z.object({ n: z.coerce.number().default(1) }), { n: "2" })).toEqual({ value: { n: 2 } });
    expect(await check(foreign, "four")).toEqual({ value: 4 });
  });

  test("that does not fit gets one line that names each place", async () => {
    const { reason } = (await check(z.object({ a: z.object({ b: z.number() }), c: z.string() }), { a: { b: "x" } })) as { reason: string };
    expect(reason).toMatch(/^a\.b: .*; c: /);
    expect(reason).not.toContain("\n");
    expect(await check(foreign, 1)).toEqual({ reason: "a.0: not text" });
  });

  test("is checked against JSON Schema, too", async () => {
    const schema = { type: "object", properties: { n: { type: "integer", minimum: 1 } }, required: ["n"], additionalProperties: false };
    expect(await check(schema, { n: 3 })).toEqual({ value: { n: 3 } });
    for (const value of [{}, { n: 0 }, { n: 1.5 }, { n: 1, m: 2 }, null, "n"]) expect(await check(schema, value)).toHaveProperty("reason");
  });

  test("is checked against every keyword of JSON Schema, and each fault is named with its place", async () => {
    const schema = {
      type: "object",
      properties: { n: { type: "integer" }, "a/b": { type: "object", properties: { c: { enum: ["x", 1] } } }, u: { $ref: "#/$defs/u" } },
      $defs: { u: { type: "string", pattern: "^u" } },
      if: { properties: { n: { const: 5 } }, required: ["n"] },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { required: ["u"] },
      not: { required: ["z"] },
      unevaluatedProperties: false,
    };
    expect(await check(schema, { n: 5, u: "u1" })).toEqual({ value: { n: 5, u: "u1" } });
    const reasons: [unknown, RegExp][] = [
      [{ n: 5 }, /^must have required property 'u'/],
      [{ n: "x", "a/b": { c: "y" } }, /^n: must be integer; a\/b\.c: must be equal to one of the allowed values \("x", 1\)$/],
      [{ u: "v" }, /^u: must match pattern/],
      [{ z: 1 }, /must NOT be valid/],
      [{ n: 1, m: 1 }, /must NOT have unevaluated properties/],
    ];
    for (const [value, reason] of reasons) expect(await check(schema, value)).toEqual({ reason: expect.stringMatching(reason) });
    expect(await check({ type: "object", additionalProperties: false }, { m: 1 })).toEqual({ reason: "must NOT have additional properties (m)" });
  });

  test("is read by the draft that the schema names or is written in", async () => {
    const items = [{ type: "string" }];
    for (const schema of [{ $schema: "http://json-schema.org/draft-07/schema#", items }, { items }, { prefixItems: items }]) {
      expect(await check(schema, ["x"])).toEqual({ value: ["x"] });
      expect(await check(schema, [5])).toEqual({ reason: "0: must be string" });
    }
  });

  test("cannot pass by a schema that asks for an asynchronous check", async () => {
    expect(await check({ $async: true, type: "string" }, 5)).toEqual({ reason: "must be string" });
  });

  test("cannot be checked against a schema that is none, or refers to nothing or to itself alone", async () => {
    await expect(check({ type: "strin" }, "x")).rejects.toThrow(/cannot be used: schema is invalid/);
    await expect(check({ $ref: "https://example.com/other.json" }, "x")).rejects.toThrow(
      "cannot be used: can't resolve reference https://example.com/other.json",
    );
    await expect(check({ $ref: "#" }, "x")).rejects.toThrow("cannot be used");
  });
});
