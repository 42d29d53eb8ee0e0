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
    await expect(toJsonSchema(mute)).rejects.toThrow('A schema of "mute" cannot be given as JSON Schema');
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

  test("cannot be checked against a schema that is none", async () => {
    await expect(check({ type: "strin" }, "x")).rejects.toThrow("strin");
  });
});
