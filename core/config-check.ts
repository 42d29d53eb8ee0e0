import type { z } from "zod";
import type { Tree } from "./config-files.ts";
import type { Config } from "./config-schema.ts";

type Path = readonly PropertyKey[];
type Schema = z.core.$ZodType;
type Issue = z.core.$ZodIssue;

export interface ConfigFault {
  /** Dotted key; "" is the whole configuration. */
  key: string;
  /** `model: expected a string or a list of strings, got a number` */
  reason: string;
}

export type CheckedConfig = { config: Config; unknown: string[][]; fault?: undefined } | { fault: ConfigFault };

/** The schema is built when the first configuration needs it: a start that only names its models does not wait for it. */
const loadSchema = async () => (await import("./config-schema.ts")).configSchema;

/** Checks one configuration against the schema. Unknown keys are left out and named in `unknown`, as paths. */
export async function checkConfig(value: Tree): Promise<CheckedConfig> {
  if (hasModelsOnly(value)) return { config: value, unknown: [] };
  const configSchema = await loadSchema();
  const result = configSchema.safeParse(value, { jitless: true } as z.core.ParseContext<z.core.$ZodIssue>);
  if (result.success) return { config: result.data, unknown: findUnknown(value, result.data, []) };
  const path = deepestPath(result.error.issues[0]!);
  const key = path.join(".");
  return {
    fault: { key, reason: `${key === "" ? "" : `${key}: `}${describeFault(value, schemaAt(configSchema, path), { path, issue: result.error.issues[0]! })}` },
  };
}

const hasModelsOnly = (value: Tree): boolean =>
  Object.entries(value).every(
    ([key, item]) => item === undefined || ((key === "model" || key === "fallback") && [item].flat().every((id) => typeof id === "string")),
  );

/** The known key that an unknown one was probably meant to be; "" where none is near. Letters that are only in another order are nearest. */
export async function suggestKey(path: string[]): Promise<string> {
  const { distance } = await import("fastest-levenshtein");
  const name = path.at(-1)!.toLowerCase();
  const measure = (key: string) => (sortLetters(key) === sortLetters(name) ? 0 : distance(name, key.toLowerCase()));
  const known = await knownConfigKeys(path.slice(0, -1));
  const near = known.map((key) => ({ key, steps: measure(key) })).sort((a, b) => a.steps - b.steps)[0];
  return near !== undefined && near.steps <= Math.max(1, Math.floor(name.length / 3)) ? near.key : "";
}

const sortLetters = (text: string): string => [...text.toLowerCase()].sort().join("");

/** Names of the keys that a configuration, or a place in it, may have. */
export const knownConfigKeys = async (path: Path = []): Promise<string[]> => knownKeys(schemaAt(await loadSchema(), path));

function findUnknown(given: unknown, kept: unknown, path: string[]): string[][] {
  if (Array.isArray(given)) return given.flatMap((item, index) => findUnknown(item, Array.isArray(kept) ? kept[index] : undefined, [...path, String(index)]));
  if (typeof given !== "object" || given === null || typeof kept !== "object" || kept === null || given === kept) return [];
  return Object.keys(given).flatMap((key) => (key in kept ? findUnknown((given as Tree)[key], (kept as Tree)[key], [...path, key]) : [[...path, key]]));
}

/** Where a union failed: in the branch that came furthest. */
function deepestPath(issue: Issue): Path {
  if (issue.code !== "invalid_union") return issue.path;
  const inner = issue.errors.flatMap((branch) => branch.slice(0, 1).map(deepestPath)).sort((a, b) => b.length - a.length)[0] ?? [];
  return [...issue.path, ...inner];
}

function describeFault(value: unknown, schema: Schema | undefined, { path, issue }: { path: Path; issue: Issue }): string {
  const found = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
  const expected = schema === undefined ? "something else" : describeSchema(schema);
  if (issue.code === "too_small") return `must be at least ${issue.minimum}, got ${JSON.stringify(found)}`;
  if (issue.code === "too_big") return `must be at most ${issue.maximum}, got ${JSON.stringify(found)}`;
  const isChoice = expected.includes('"') && typeof found === "string";
  return `expected ${expected}, got ${isChoice ? JSON.stringify(found).slice(0, 60) : describeValue(found)}`;
}

function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "boolean" ? String(value) : `a ${typeof value}`;
}

function describeSchema(schema: Schema): string {
  const def = (schema as z.core.$ZodTypes)._zod.def;
  switch (def.type) {
    case "optional":
      return describeSchema(def.innerType);
    case "string":
      return "a string";
    case "number":
      return "format" in def || def.checks?.some((check) => check._zod.def.check === "number_format") ? "a whole number" : "a number";
    case "boolean":
      return "true or false";
    case "enum":
      return `one of ${Object.values(def.entries)
        .map((entry) => JSON.stringify(entry))
        .join(", ")}`;
    case "literal":
      return def.values.map((entry) => JSON.stringify(entry)).join(" or ");
    case "array":
      return `a list of ${describeSchema(def.element) === "a string" ? "strings" : `(${describeSchema(def.element)})`}`;
    case "tuple":
      return `a list [${def.items.map(describeSchema).join(", ")}]`;
    case "union":
      return def.options.map(describeSchema).join(" or ");
    default:
      return "an object";
  }
}

/** The schema of a place; of a union, the branch that has such a place. */
function schemaAt(schema: Schema | undefined, path: Path): Schema | undefined {
  if (schema === undefined) return undefined;
  const def = (schema as z.core.$ZodTypes)._zod.def;
  if (def.type === "optional") return schemaAt(def.innerType, path);
  const [key, ...rest] = path;
  if (key === undefined) return schema;
  if (def.type === "object") return schemaAt(def.shape[String(key)] ?? def.catchall, rest);
  if (def.type === "record") return schemaAt(def.valueType, rest);
  if (def.type === "array") return schemaAt(def.element, rest);
  if (def.type === "tuple") return schemaAt(def.items[Number(key)], rest);
  if (def.type === "union") return def.options.map((option) => schemaAt(option, path)).find((found) => found !== undefined);
  return undefined;
}

function knownKeys(schema: Schema | undefined): string[] {
  if (schema === undefined) return [];
  const def = (schema as z.core.$ZodTypes)._zod.def;
  if (def.type === "object") return Object.keys(def.shape);
  return def.type === "union" ? def.options.flatMap(knownKeys) : [];
}
