import { AgentError, z } from "agent-runtime";
import { codeMode } from "./code-mode.ts";
import type { Mode } from "./mode.ts";

const name = z.string().trim().min(1).max(100);
const meanings = z.array(z.strictObject({ name, when: z.string() })).min(1);
const prompts = z.strictObject({ role: z.string(), record: z.string(), skip: z.string(), summary: z.string(), style: z.string() });

/** What a plugin brings: all but the name may come from the mode that it extends. */
export const modeSchema = z.strictObject({
  name,
  extends: name.optional(),
  types: meanings.optional(),
  concepts: meanings.optional(),
  prompts: prompts.partial().optional(),
});

type Brought = z.output<typeof modeSchema>;

const refuse = (reason: string): AgentError => new AgentError("OPTION_INVALID", { option: "mode", reason });

/**
 * The mode of a name, with what it takes over from those that it extends. `brought`: what plugins bring for the extension
 * point "memory.mode". Throws OPTION_INVALID for a name that there is not, one that stands there twice, and a circle.
 */
export function findMode(wanted: string, brought: readonly unknown[]): Mode {
  const known = new Map<string, Brought>([[codeMode.name, codeMode as Brought]]);
  for (const [index, value] of brought.entries()) {
    const mode = readMode(value, index);
    if (known.has(mode.name))
      throw refuse(`the mode "${mode.name}" is there twice: ${mode.name === codeMode.name ? "that name is built in" : "two plugins bring it"}.`);
    known.set(mode.name, mode);
  }
  return complete(wanted, known, []);
}

function readMode(value: unknown, index: number): Brought {
  const parsed = modeSchema.safeParse(value);
  if (parsed.success) {
    const twice = [parsed.data.types, parsed.data.concepts].map((list) => findTwice(list ?? [])).find((each) => each !== undefined);
    if (twice !== undefined) throw refuse(`the mode "${parsed.data.name}" has "${twice}" twice.`);
    return parsed.data;
  }
  const given = (value as { name?: unknown } | null | undefined)?.name;
  const label = typeof given === "string" && given !== "" ? `"${given}"` : `${index + 1} of those that plugins bring`;
  const [issue] = parsed.error.issues;
  const at = issue?.path.join(".") ?? "";
  throw refuse(`the mode ${label} cannot be used: ${at === "" ? "" : `${at}: `}${issue?.message ?? "it has another shape"}.`);
}

const findTwice = (list: readonly { name: string }[]): string | undefined =>
  list.map((each) => each.name).find((each, index, names) => names.indexOf(each) !== index);

function complete(wanted: string, known: ReadonlyMap<string, Brought>, children: readonly string[]): Mode {
  if (children.includes(wanted)) throw refuse(`the modes extend each other in a circle: ${[...children, wanted].join(" → ")}.`);
  const mode = known.get(wanted);
  const names = [...known.keys()].sort().join(", ");
  if (mode === undefined) {
    const child = children.at(-1);
    throw refuse(
      child === undefined
        ? `there is no mode "${wanted}". Use one of: ${names}.`
        : `the mode "${child}" extends "${wanted}", which there is not. There are: ${names}.`,
    );
  }
  if (mode === (codeMode as Brought)) return codeMode;
  const parent = complete(mode.extends ?? codeMode.name, known, [...children, wanted]);
  return {
    name: mode.name,
    extends: parent.name,
    types: mode.types ?? parent.types,
    concepts: mode.concepts ?? parent.concepts,
    prompts: { ...parent.prompts, ...mode.prompts },
  };
}
