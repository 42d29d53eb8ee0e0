import { cleanShort } from "./clean.ts";
import { isObject } from "./connection.ts";

/** What of a schema is told to the model. Anything else a server writes there is not. */
const TEXTS = ["description", "title", "format", "pattern", "$comment"] as const;
const NUMBERS = [
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
];
const LISTS = ["anyOf", "oneOf", "allOf", "prefixItems"];
const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"];
const [DEEPEST, MOST_NODES, MOST_VALUES, LONGEST_TEXT, MOST_TEXT] = [16, 2_000, 200, 1_024, 32 * 1024];
const PROPERTY = /^[^\p{C}\p{Z}]{1,64}$/u;

interface Reading {
  root: Record<string, unknown>;
  /** References on the way here: one of them again would have no end. */
  way: readonly string[];
  depth: number;
  /** Of the whole schema. */
  budget: { nodes: number };
}

/**
 * The schema of a tool's input as the model is told it: an object, references resolved, and bounded in size and depth. It
 * describes and does not decide: no pattern of a server is ever matched here, and no code is made of it.
 */
export function readSchema(given: unknown): Record<string, unknown> {
  if (!isObject(given)) return { type: "object" };
  const schema = { ...readNode(given, { root: given, way: [], depth: 0, budget: { nodes: MOST_NODES } }), type: "object" };
  return JSON.stringify(schema).length <= MOST_TEXT ? schema : { type: "object", ...requiredOf(given) };
}

function readNode(node: unknown, reading: Reading): Record<string, unknown> {
  if (!isObject(node) || reading.depth > DEEPEST || --reading.budget.nodes < 0) return {};
  const { $ref } = node;
  if (typeof $ref === "string") return readReference($ref, node, reading);
  const inner = { ...reading, depth: reading.depth + 1 };
  const read = (value: unknown) => readNode(value, inner);
  const made: Record<string, unknown> = { ...typeOf(node), ...requiredOf(node) };
  for (const key of TEXTS) if (typeof node[key] === "string") made[key] = cleanShort(node[key], LONGEST_TEXT);
  for (const key of NUMBERS) if (typeof node[key] === "number") made[key] = node[key];
  for (const key of LISTS) if (Array.isArray(node[key]) && node[key].length > 0) made[key] = node[key].slice(0, MOST_VALUES).map(read);
  if (isObject(node.properties)) made.properties = readProperties(node.properties, read);
  if (isObject(node.items)) made.items = read(node.items);
  if (typeof node.additionalProperties === "boolean") made.additionalProperties = node.additionalProperties;
  else if (isObject(node.additionalProperties)) made.additionalProperties = read(node.additionalProperties);
  if (Array.isArray(node.enum)) made.enum = node.enum.slice(0, MOST_VALUES).map(readValue);
  for (const key of ["const", "default"]) if (key in node && isPlain(node[key])) made[key] = readValue(node[key]);
  return made;
}

/** Within this schema; one that leads in circles, nowhere or elsewhere allows anything. */
function readReference($ref: string, { description }: Record<string, unknown>, reading: Reading): Record<string, unknown> {
  const own = typeof description === "string" ? { description: cleanShort(description, LONGEST_TEXT) } : {};
  if ($ref !== "#" && !$ref.startsWith("#/")) return own;
  if (reading.way.includes($ref)) return own;
  const names = $ref.split("/").slice(1);
  const target = names.reduce<unknown>((at, name) => {
    const key = name.replaceAll("~1", "/").replaceAll("~0", "~");
    return typeof at === "object" && at !== null && Object.hasOwn(at, key) ? (at as Record<string, unknown>)[key] : undefined;
  }, reading.root);
  return { ...readNode(target, { ...reading, way: [...reading.way, $ref], depth: reading.depth + 1 }), ...own };
}

const readProperties = (properties: Record<string, unknown>, read: (value: unknown) => unknown): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(properties)
      .filter(([name]) => PROPERTY.test(name) && name !== "__proto__")
      .slice(0, MOST_VALUES)
      .map(([name, value]) => [name, read(value)]),
  );

function typeOf({ type }: Record<string, unknown>): { type?: unknown } {
  const types = [type].flat().filter((each) => TYPES.includes(each as string));
  return types.length === 0 ? {} : { type: types.length === 1 ? types[0] : types };
}

/** Names that the input must have. */
export function requiredOf({ required }: Record<string, unknown>): { required?: string[] } {
  const names = Array.isArray(required) ? required.filter((name): name is string => typeof name === "string" && PROPERTY.test(name)) : [];
  return names.length === 0 ? {} : { required: names.slice(0, MOST_VALUES) };
}

const isPlain = (value: unknown): boolean => value === null || ["string", "number", "boolean"].includes(typeof value);
const readValue = (value: unknown): unknown => (typeof value === "string" ? cleanShort(value, LONGEST_TEXT) : isPlain(value) ? value : null);
