import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { makeEventsSchema } from "../cli/events-schema.ts";
import { configSchema } from "../core/config-schema.ts";
import { ERRORS } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import type { Provider } from "../core/provider.ts";
import { createRegistry } from "../core/registry.ts";
import { builtins } from "../plugins/index.ts";

/**
 * Writes the files that are made from the code: `node --import tsx scripts/generate.ts`. With `--check` it writes
 * nothing and ends with 1 when a file is not what the code says.
 */
const GENERATED: { path: string; make(): string | Promise<string> }[] = [
  { path: "config.schema.json", make: makeConfigSchema },
  { path: "docs/errors.md", make: makeErrorPage },
  { path: "docs/events.schema.json", make: makeEventsSchema },
  { path: "docs/providers.md", make: makeProviderPage },
];

function makeConfigSchema(): string {
  const schema = z.toJSONSchema(configSchema, { io: "input", target: "draft-7", unrepresentable: "any" });
  return `${JSON.stringify({ title: "Configuration of agent-runtime", description: "agent.json, opencode.json, .agentrc and package.json#agent.", ...schema }, null, 2)}\n`;
}

function makeErrorPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { message, hint, recovery, exit }]) => `| \`${code}\` | ${cell(message)} | ${cell(hint)} | ${recovery} | ${exit} |`,
  );
  return `# Errors

Every error has a code, and the code decides what is done about it. This page is made from the table in \`core/errors.ts\`.

- **retry**: the same model is asked again, then the next of the chain. **fallback**: the next of the chain at once.
- **tell-model**: the text is given to the model as the result of its call, and the run goes on. **stop**: the run ends.
- **exit** is the exit code of the command when a run ends with this error. Names in braces stand for the facts of the case.

| code | what happened | way out | recovery | exit |
|---|---|---|---|---|
${rows.join("\n")}
`;
}

async function makeProviderPage(): Promise<string> {
  const refuse = () => Promise.reject(new Error("A provider describes itself without help."));
  const context = {
    cwd: "/",
    packageDirs: [],
    config: {},
    dataDir: refuse,
    lasting: <T>(make: () => T) => make(),
    fetch: refuse,
    startProcess: refuse,
    openStore: refuse,
    lock: refuse,
    ask: refuse,
    embed: refuse,
    redact: (text: string) => text,
    reload: async () => false,
    extensions: () => [],
    report: () => {},
    log: silentLog,
  };
  const entries = builtins.filter(({ provides }) => provides?.providers !== undefined).map((plugin) => ({ plugin }));
  const registry = await createRegistry(entries, { contextOf: ({ options = {} }) => ({ ...context, options }), report: refuse });
  const providers = (await Promise.all(registry.providerIds().map((id) => registry.provider(id)))).filter((provider) => provider !== undefined);
  return `# Providers

What is known of the providers that are built in: ${providers.length} of them, all of which take part in a [fallback chain](routing.md), stream, and call tools where the model can. This page is made from what each plugin says of itself.

- **key**: the variables that may hold it, the first that is set counts; a key of the configuration or of \`auth.json\` comes before them.
- **default**: the model that is taken when this is the only provider with a key, and since when.
- **free**: the ending of an id that means the same model for nothing. Free models have stricter limits, so a 429 is nothing unusual: it is waited for, or fallen over.
- **prompt cache**: \`marks\` are set in the request, a \`key\` names the session, and \`by itself\` needs neither. Where it differs by model, those it holds for are named.
- **pages**: where keys, credits, models and the state of the service are found; an error names the one that helps.

| provider | key | default | free | prompt cache | pages |
|---|---|---|---|---|---|
${providers.map(describeProvider).join("\n")}

Any other OpenAI-compatible address, and any installed AI SDK package, is a provider of the [configuration](configuration.md).

**Embeddings** (texts into vectors, for plugins such as \`memory\`) are asked at \`POST …/embeddings\` of \`openrouter\` and of every OpenAI-compatible address, local servers included: \`openai/text-embedding-3-small\`, \`ollama/nomic-embed-text\`. AI SDK packages bring theirs. Key, headers, retries, limits and what a refusal means are those of answers. Which services have such models, their pages say; there is no fallback to another one, for its vectors would mean something else.
`;
}

function describeProvider(provider: Provider): string {
  const { id, name, env = [], keyless, defaultModel, freeSuffix, pages = {} } = provider;
  const key = keyless ? "none" : env.map((variable) => `\`${variable}\``).join(", ");
  const taken = defaultModel === undefined ? "" : `\`${defaultModel.id}\` (${defaultModel.date})`;
  const links = Object.entries(pages).map(([what, url]) => `[${what}](${url})`);
  return `| \`${id}\`${name === undefined || name === id ? "" : ` ${name}`} | ${key} | ${taken} | ${freeSuffix === undefined ? "" : `\`${freeSuffix}\``} | ${describeCache(provider)} | ${links.join(", ")} |`;
}

/** Vendors whose models a provider may treat each in its own way. */
const VENDORS = ["anthropic/claude-sonnet-4", "google/gemini-2.5-pro", "openai/gpt-5", "deepseek/deepseek-chat"];

function describeCache({ id, cachePolicy }: Provider): string {
  const words = { breakpoints: "marks", key: "key", none: "nothing" };
  const kinds = VENDORS.map((model) => [model.split("/")[0], words[cachePolicy?.(model).kind ?? "none"]] as const);
  const all = new Set(kinds.map(([, kind]) => kind));
  if (id === "demo") return "";
  return all.size === 1
    ? [...all].join()
    : [...all].map((kind) => `${kind}: ${kinds.flatMap(([vendor, own]) => (own === kind ? [vendor] : [])).join(", ")}`).join("; ");
}

const cell = (text: string): string => text.replace(/[|<]/g, (character) => (character === "|" ? "\\|" : "&lt;"));

const isCheck = process.argv.includes("--check");
for (const { path, make } of GENERATED) {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url));
  const text = await make();
  if ((await readFile(file, "utf8").catch(() => undefined)) === text) continue;
  if (isCheck) {
    console.error(`${path} is out of date: node --import tsx scripts/generate.ts`);
    process.exitCode = 1;
  } else {
    await writeFile(file, text);
    console.log(`wrote ${path}`);
  }
}
