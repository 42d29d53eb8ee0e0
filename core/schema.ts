import type { ErrorObject, ValidateFunction } from "ajv";
import { toJSONSchema } from "zod";
import { errorMessage } from "./errors.ts";
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
  const fault = findSchemaFault(schema);
  if (fault !== undefined) throw new TypeError(fault);
  if (isZod(schema)) return toJSONSchema(schema as never, { io: "input", target: "draft-7", unrepresentable: "any" }) as JsonSchema;
  return schema["~standard"].jsonSchema?.input({ target: "draft-07" }) ?? {};
}

/** Zod 3 has the same vendor, and no way to JSON Schema. */
const isZod = (schema: StandardSchema): boolean => schema["~standard"].vendor === "zod" && "_zod" in schema;

/** Why no JSON Schema can be made of this, or undefined. Makes none, so it costs nothing at the start. */
export function findSchemaFault(schema: StandardSchema | JsonSchema): string | undefined {
  if (!isStandardSchema(schema) || isZod(schema) || schema["~standard"].jsonSchema !== undefined) return undefined;
  const { vendor } = schema["~standard"];
  return `a schema of "${vendor}"${vendor === "zod" ? " 3" : ""} cannot be given as JSON Schema; use the z of agent-runtime, zod 4, or write JSON Schema.`;
}

/**
 * Checks a value against a schema of any kind. A JSON Schema (2020-12, or draft 7 where it says so or is none of 2020-12)
 * fills in and converts nothing. Throws a TypeError when it is no schema, or refers to something that is not in it.
 */
export async function check(schema: StandardSchema | JsonSchema, value: unknown): Promise<Checked> {
  if (!isStandardSchema(schema)) return checkJson(await compileOnce(schema), value);
  const result = await schema["~standard"].validate(value);
  if (result.issues === undefined) return { value: result.value };
  return { reason: result.issues.map(describeIssue).join("; ") };
}

function describeIssue(issue: { message: string; path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined }): string {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}

const compiled = new WeakMap<object, ValidateFunction>();

async function compileOnce(schema: JsonSchema): Promise<ValidateFunction> {
  const known = compiled.get(schema) ?? (await compile(schema));
  compiled.set(schema, known);
  return known;
}

/** Unknown keywords and formats are left out of account, as the specification has it. */
const LENIENT = { strict: false, allErrors: true, validateFormats: false, logger: false } as const;

async function compile(schema: JsonSchema): Promise<ValidateFunction> {
  // Without `$async`, which would make every answer a promise, and so true.
  const { $schema, $async, ...rest } = schema;
  const drafts = /draft-0\d/.test(String($schema)) ? [loadDraft7] : [loadDraft2020, loadDraft7];
  let fault: unknown;
  for (const load of drafts) {
    const Draft = await load();
    try {
      return new Draft(LENIENT).compile(rest);
    } catch (error) {
      fault ??= error;
    }
  }
  throw new TypeError(`This JSON Schema cannot be used: ${errorMessage(fault)}`);
}

const loadDraft7 = async () => (await import("ajv")).Ajv;
const loadDraft2020 = async () => (await import("ajv/dist/2020.js")).Ajv2020;

function checkJson(validate: ValidateFunction, value: unknown): Checked {
  try {
    return validate(value) ? { value } : { reason: (validate.errors ?? []).map(describeError).join("; ") };
  } catch {
    throw new TypeError("This JSON Schema cannot be used: it refers to itself without end.");
  }
}

function describeError({ instancePath, message, params }: ErrorObject): string {
  const path = instancePath.split("/").slice(1).map(decodePointer).join(".");
  const detail = params.additionalProperty ?? params.allowedValues?.map((allowed: unknown) => JSON.stringify(allowed)).join(", ");
  return `${path === "" ? "" : `${path}: `}${message}${detail === undefined ? "" : ` (${detail})`}`;
}

/** RFC 6901. */
const decodePointer = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~");
