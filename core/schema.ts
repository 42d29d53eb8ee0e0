import { fromJSONSchema, toJSONSchema } from "zod";
import type { JsonSchema } from "./tool.ts";

/** The Standard Schema interface (standardschema.dev, version 1), as far as it is used here; zod 4 schemas have it. */
export interface StandardSchema<Input = any, Output = any> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    /** Standard JSON Schema, where the library has it. */
    readonly jsonSchema?: { readonly input: (options: { target: string }) => Record<string, unknown> } | undefined;
  };
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<{ readonly message: string; readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined }> };

/** The value as the schema gives it, or the reason why it does not fit, in one line that names the place. */
export type Checked = { value: unknown; reason?: undefined } | { reason: string };

const isStandardSchema = (schema: StandardSchema | JsonSchema): schema is StandardSchema => "~standard" in schema;

const toJsonSchemaOnce = new WeakMap<object, JsonSchema>();

/** The JSON Schema (draft 7) of a schema of any kind; made once for each. */
export async function toJsonSchema(schema: StandardSchema | JsonSchema): Promise<JsonSchema> {
  if (!isStandardSchema(schema)) return schema;
  const known = toJsonSchemaOnce.get(schema);
  if (known !== undefined) return known;
  const made = await makeJsonSchema(schema);
  delete made.$schema;
  toJsonSchemaOnce.set(schema, made);
  return made;
}

async function makeJsonSchema(schema: StandardSchema): Promise<JsonSchema> {
  if (schema["~standard"].vendor === "zod") {
    return toJSONSchema(schema as never, { io: "input", target: "draft-7", unrepresentable: "any" }) as JsonSchema;
  }
  const { jsonSchema } = schema["~standard"];
  if (jsonSchema === undefined)
    throw new TypeError(`A schema of "${schema["~standard"].vendor}" cannot be given as JSON Schema; use zod or write JSON Schema.`);
  return jsonSchema.input({ target: "draft-07" });
}

const standardOnce = new WeakMap<object, StandardSchema>();

/** Checks a value against a schema of any kind. JSON Schema is checked by zod's reading of it. */
export async function check(schema: StandardSchema | JsonSchema, value: unknown): Promise<Checked> {
  const standard = isStandardSchema(schema) ? schema : await fromJsonSchema(schema);
  const result = await standard["~standard"].validate(value);
  if (result.issues === undefined) return { value: result.value };
  return { reason: result.issues.map(describeIssue).join("; ") };
}

async function fromJsonSchema(schema: JsonSchema): Promise<StandardSchema> {
  const known = standardOnce.get(schema);
  if (known !== undefined) return known;
  const made = fromJSONSchema(schema as never) as StandardSchema;
  standardOnce.set(schema, made);
  return made;
}

function describeIssue(issue: { message: string; path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined }): string {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}
