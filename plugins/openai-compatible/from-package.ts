import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { AgentError, type EmbeddingModel, type Fetch, type LanguageModel, type Provider, provider } from "agent-runtime";

/** What an AI SDK provider package makes. */
type PackageProvider = ((modelId: string) => LanguageModel) & {
  languageModel?(modelId: string): LanguageModel;
  embeddingModel?(modelId: string): EmbeddingModel;
  /** What it was called before. */
  textEmbeddingModel?(modelId: string): EmbeddingModel;
};

export interface PackageSource {
  /** Name of the provider in the configuration. */
  id: string;
  /** Name of an installed package, or a `file://` URL. */
  npm: string;
  /** Where packages are looked for, after the agent's own. */
  packageDirs: readonly string[];
  /** The workspace: what only it has must be trusted. */
  cwd: string;
  keyless: boolean;
  env: string[] | undefined;
  /** The id that is sent, for those that differ. */
  toApiId(modelId: string): string;
}

/** A provider of any AI SDK package: its first `create…` export gets the name, the options and the HTTP client. */
export function fromPackage({ id, npm, keyless, env, toApiId, ...places }: PackageSource): Provider {
  const make = async (options: object, fetch: Fetch): Promise<PackageProvider> => {
    const module = await importPackage(npm, id, places);
    const create = Object.entries(module).find(([name, value]) => name.startsWith("create") && typeof value === "function")?.[1] as
      | ((options: object) => PackageProvider)
      | undefined;
    if (create === undefined) throw new AgentError("PLUGIN_BROKEN", { spec: `${npm} of provider.${id}.npm`, reason: "it exports no create… function." });
    const made = create({ name: id, ...options, fetch });
    if (typeof made !== "function" && typeof (made as PackageProvider | undefined)?.languageModel !== "function")
      throw new AgentError("PLUGIN_BROKEN", { spec: `${npm} of provider.${id}.npm`, reason: "what it makes is no provider." });
    return made;
  };
  return provider({
    id,
    keyless,
    ...(env && { env }),
    async create(options, { fetch }) {
      const made = await make(options, fetch);
      return (modelId) => made.languageModel?.(toApiId(modelId)) ?? made(toApiId(modelId));
    },
    async embeddings(options, { fetch }) {
      const made = await make(options, fetch);
      return (modelId) => {
        const model = made.embeddingModel?.(toApiId(modelId)) ?? made.textEmbeddingModel?.(toApiId(modelId));
        if (model === undefined) throw new AgentError("EMBEDDINGS_MISSING", { provider: id });
        return model;
      };
    },
    cachePolicy: () => POLICIES[npm] ?? { kind: "none" },
  });
}

/** Anthropic caches nothing that is not marked, and OpenAI likes a key; the other packages' services cache by themselves. */
const POLICIES: Record<string, ReturnType<NonNullable<Provider["cachePolicy"]>>> = {
  "@ai-sdk/anthropic": { kind: "breakpoints", providerOptions: { anthropic: { cacheControl: { type: "ephemeral" } } } },
  "@ai-sdk/openai": { kind: "key", optionsFor: (key) => ({ openai: { promptCacheKey: key } }) },
};

/** From the agent's own packages, else from those of the directories or of one above them. */
async function importPackage(npm: string, id: string, { packageDirs, cwd }: Pick<PackageSource, "packageDirs" | "cwd">): Promise<Record<string, unknown>> {
  if (npm.startsWith("file://")) return import(npm);
  try {
    return await import(npm);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND" || !(error as Error).message.includes(`'${npm}'`)) throw broken(npm, id, error);
  }
  for (const directory of packageDirs) {
    const entry = await findEntry(npm, directory);
    if (entry !== undefined) return import(pathToFileURL(entry).href);
  }
  if ((await findEntry(npm, cwd)) !== undefined) throw new AgentError("UNTRUSTED", { what: `The package ${npm} of provider.${id}.npm` });
  throw new AgentError("PLUGIN_NOT_FOUND", { spec: `${npm} of provider.${id}.npm` });
}

const broken = (npm: string, id: string, error: unknown): AgentError =>
  new AgentError("PLUGIN_BROKEN", { spec: `${npm} of provider.${id}.npm`, reason: error instanceof Error ? error.message : String(error) }, { cause: error });

/** The file that `import "name"` means in a directory. Node can resolve names only from where its own module lies. */
async function findEntry(npm: string, directory: string): Promise<string | undefined> {
  const folder = join(directory, "node_modules", npm);
  const text = await readFile(join(folder, "package.json"), "utf8").catch(() => undefined);
  if (text !== undefined) {
    const { exports, module, main } = JSON.parse(text) as { exports?: unknown; module?: string; main?: string };
    return join(folder, entryOf(exports) ?? module ?? main ?? "index.js");
  }
  const parent = dirname(directory);
  return parent === directory ? undefined : findEntry(npm, parent);
}

function entryOf(exports: unknown): string | undefined {
  if (typeof exports === "string") return exports;
  if (typeof exports !== "object" || exports === null) return undefined;
  const conditions = exports as Record<string, unknown>;
  for (const name of [".", "node", "import", "default"]) {
    const found = entryOf(conditions[name]);
    if (found !== undefined) return found;
  }
  return undefined;
}
