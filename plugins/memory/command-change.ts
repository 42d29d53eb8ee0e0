import { AgentError, z } from "agent-runtime";
import { type CommandNeeds, findObservation, formatRows, invalid, withMemories, withMemory, writeJson } from "./command-needs.ts";
import { cleanObservation, titleOf } from "./entry.ts";
import type { Forgetting, Memory } from "./memory.ts";
import { EMPTY_CONTENT, type Observation, observationId, summarySchema, TRUST } from "./observation.ts";

interface Shared {
  project?: string | undefined;
  json?: boolean | undefined;
}

/** What a person says of an observation; a list replaces the one before. */
export interface ChangeOptions {
  title?: string | undefined;
  subtitle?: string | undefined;
  type?: string | undefined;
  narrative?: string | undefined;
  importance?: number | undefined;
  trust?: string | undefined;
  fact?: string[] | undefined;
  concept?: string[] | undefined;
  file?: string[] | undefined;
}

/** Session of what a person saves. */
const SAVE_SESSION = "save";
/** Nobody types a note that does not matter. */
const SAVE_IMPORTANCE = 0.7;

/** `agent memory save TEXT`. */
export async function save(words: string[], options: ChangeOptions & Shared, needs: CommandNeeds): Promise<number> {
  const text = (words.length === 1 && words[0] === "-" ? await needs.readStdin() : words.join(" ")).trim();
  if (text === "") throw invalid("memory save", "there is nothing to save: give a TEXT, or - for stdin.");
  const said: Observation = {
    ...EMPTY_CONTENT,
    ...{ id: "", title: options.title ?? "", narrative: text, importance: SAVE_IMPORTANCE },
    ...{ sessionId: SAVE_SESSION, prompt: 0, createdAt: needs.now(), source: { kind: "save" }, trust: "trusted", by: "person" },
    ...readChanges(options),
  };
  const kept = cleanObservation(said, needs.clean);
  const titled = { ...kept, title: kept.title || titleOf(kept.narrative) };
  if (titled.title === "") throw invalid("memory save", "nothing is left of the text when what is private is taken out.");
  const observation = { ...titled, id: observationId(titled) };
  return withMemory(options.project, needs, async (memory) => {
    const { ids, added } = await memory.add([observation]);
    const id = ids[0] as string;
    if (options.json) writeJson(needs, { id, added: added > 0, project: memory.project });
    else needs.write(added > 0 ? `Saved as ${id}.\n` : `Known already as ${id}.\n`);
    return 0;
  });
}

function readChanges({ title, subtitle, type, narrative, importance, trust, fact, concept, file }: ChangeOptions): Partial<Observation> {
  if (trust !== undefined && !TRUST.some((known) => known === trust)) throw invalid("--trust", `write ${TRUST.join(" or ")}.`);
  const changes = { title, subtitle, type, narrative, importance, trust: trust as Observation["trust"], facts: fact, concepts: concept, filesRead: file };
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

const texts = z.array(z.string());
const changesSchema = z
  .strictObject({
    ...{ type: z.string().min(1), title: z.string(), subtitle: z.string(), narrative: z.string(), facts: texts, concepts: texts, symbols: texts },
    ...{ filesRead: texts, filesModified: texts, importance: z.number().min(0).max(1), trust: z.enum(TRUST), createdAt: z.number(), summary: summarySchema },
  })
  .partial();

/** `agent memory edit ID`: changes what it says; its id stays. `--json -` takes the changes from stdin. */
export async function edit(id: string, options: ChangeOptions & Shared & { stdin?: boolean | undefined }, needs: CommandNeeds): Promise<number> {
  const changes = { ...(options.stdin && (await readJsonChanges(needs))), ...readChanges(options) };
  if (Object.keys(changes).length === 0)
    throw invalid("memory edit", "say what to change: --title, --type, --narrative, --fact, --importance, …, or --json -.");
  return withMemory(options.project, needs, async (memory) => {
    const before = await findObservation(id, memory);
    const changed = cleanObservation({ ...before, ...changes }, needs.clean);
    if (changed.title === "" && changed.narrative === "") throw invalid("memory edit", "it would have neither a title nor a narrative.");
    await memory.change([changed]);
    if (options.json || options.stdin) writeJson(needs, changed);
    else needs.write(`Changed ${changed.id}.\n`);
    return 0;
  });
}

async function readJsonChanges(needs: CommandNeeds): Promise<Partial<Observation>> {
  const text = await needs.readStdin();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new AgentError("OPTION_INVALID", { option: "--json -", reason: `stdin is no JSON: ${(error as Error).message}` }, { cause: error });
  }
  const read = changesSchema.safeParse(value);
  if (read.success) return Object.fromEntries(Object.entries(read.data).filter(([, item]) => item !== undefined));
  throw invalid("--json -", z.prettifyError(read.error).replaceAll("\n", " "));
}

export interface ForgetOptions extends Shared, Omit<Forgetting, "ids"> {
  dryRun?: boolean | undefined;
}

/** `agent memory forget`: removes everywhere, for good. */
export async function forget(ids: string[], options: ForgetOptions, needs: CommandNeeds): Promise<number> {
  const { source, session, match, dryRun = false, project, json } = options;
  for (const [name, value] of Object.entries({ source, session, match })) if (value?.trim() === "") throw invalid(`--${name}`, "it needs a value.");
  if (ids.length === 0 && source === undefined && session === undefined && match === undefined)
    throw invalid("memory forget", "say what: ids, --source, --session or --match; --dry-run shows it first.");
  const results = await withMemories(project, needs, (memory) => forgetIn(memory, { ids, source, session, match, dryRun }, needs, json));
  if (json)
    writeJson(needs, { observations: results.flatMap((result) => result.observations), others: results.reduce((sum, { others }) => sum + others, 0), dryRun });
  return 0;
}

async function forgetIn(memory: Memory, what: Forgetting & { dryRun: boolean }, needs: CommandNeeds, json: boolean | undefined) {
  const { ids = [], dryRun, ...rest } = what;
  const found: string[] = [];
  // All are looked for before any is gone.
  for (const id of ids) found.push((await findObservation(id, memory)).id);
  const forgetting = { ...rest, ...(found.length > 0 && { ids: found }) };
  const planned = json ? [] : await memory.get((await memory.forget(forgetting, { dryRun: true })).observations);
  const forgotten = await memory.forget(forgetting, { dryRun });
  if (!json) {
    const count = forgotten.observations.length;
    needs.write(formatRows(planned.map((observation) => ({ observation }))));
    needs.write(`${dryRun ? "Would forget" : "Forgot"} ${count} ${count === 1 ? "observation" : "observations"} and ${forgotten.others} other records.\n`);
  }
  return forgotten;
}
