import { z } from "zod";

/*
 * The shape of a configuration file: opencode's names, and ours beside them. No defaults and no transforms live here, so
 * that what is valid in a file is exactly what the program sees. Each description is the text that editors show.
 */

const text = z.string();
const flag = z.boolean();
const texts = z.array(text);
const textOrList = z.union([text, texts]);
const anyMap = z.record(text, z.unknown());
const textMap = z.record(text, text);
const switches = z.record(text, flag);
const count = z.number().int().nonnegative();
const ratio = z.number().min(0).max(1);
const waitMs = z.union([z.number().positive(), z.literal(false)]);
const ignored = z.unknown();

// Shared: each instance costs a start some microseconds.
const optionalText = text.optional();
const optionalFlag = flag.optional();
const optionalTexts = texts.optional();
const optionalCount = count.optional();
const optionalAnyMap = anyMap.optional();
const optionalTextMap = textMap.optional();
const optionalTextOrList = textOrList.optional();

const action = z.enum(["allow", "ask", "deny"]);
const permission = z.union([action, z.record(text, z.union([action, z.record(text, action)]))]);

const providerOptions = z.looseObject({
  apiKey: z
    .union([text, z.literal(false)])
    .optional()
    .describe("Key of this provider; false sends none. Better: {env:NAME} or {file:path}."),
  baseURL: text.optional().describe("Address of the interface, for example http://127.0.0.1:8080/v1."),
  headers: z
    .record(text, z.union([text, z.literal(false)]))
    .optional()
    .describe("Headers of every request; false leaves out one that is sent by default."),
  timeout: waitMs.optional().describe("ms for a whole request; none by default."),
  connectTimeout: waitMs.optional().describe("ms until the connection stands; false: no limit."),
  headerTimeout: waitMs.optional().describe("ms until the headers of the answer have come; false: no limit."),
  reasoningTag: text.optional().describe("A tag whose text in the answer is the model's reasoning, for example think."),
  setCacheKey: flag.optional().describe("OpenAI-compatible endpoints: send prompt_cache_key, one for each session. On for openai."),
  chunkTimeout: waitMs.optional().describe("ms between two pieces of a streamed answer; false: no limit."),
  requestsPerMinute: z
    .union([z.number().int().positive(), z.literal(false)])
    .optional()
    .describe("Requests that are sent in any minute to one provider; false: no limit. 20 for free models of openrouter.ai."),
  contentTimeout: waitMs.optional().describe("ms between two pieces of an answer that are more than comments; false: no limit."),
});

const model = z.object({
  id: text.optional().describe("The id that is sent, where it differs."),
  name: optionalText,
  family: optionalText,
  release_date: optionalText,
  status: optionalText,
  attachment: optionalFlag,
  reasoning: optionalFlag,
  temperature: optionalFlag,
  tool_call: optionalFlag,
  interleaved: z.unknown().optional(),
  cost: z
    .looseObject({ input: z.number(), output: z.number(), cache_read: z.number(), cache_write: z.number() })
    .partial()
    .optional()
    .describe("USD per million tokens."),
  limit: z.object({ context: optionalCount, input: optionalCount, output: optionalCount }).optional().describe("Tokens."),
  modalities: z.object({ input: optionalTexts, output: optionalTexts }).optional(),
  provider: z.object({ npm: optionalText, api: optionalText }).optional(),
  options: optionalAnyMap,
  headers: optionalTextMap,
  variants: z.record(text, anyMap).optional(),
  fallback: textOrList.optional().describe("The next models of the chain when this one is asked."),
});

const provider = z.object({
  npm: text.optional().describe("Name of an installed AI SDK provider package."),
  name: optionalText,
  id: optionalText,
  api: text.optional().describe("Base URL where options.baseURL is not set."),
  env: texts.optional().describe("Environment variables that may hold the key; the first that is set counts."),
  options: providerOptions.optional(),
  models: z.record(text, model).optional(),
  whitelist: texts.optional().describe("Only these models."),
  blacklist: texts.optional().describe("Not these models."),
  default_model: text.optional().describe("Model that --provider NAME takes when --model is not given."),
});

const agent = z.object({
  model: optionalTextOrList,
  fallback: optionalTextOrList,
  variant: optionalText,
  temperature: z.number().optional(),
  top_p: ratio.optional(),
  prompt: text.optional().describe("System prompt of this profile."),
  description: text.optional().describe("When to use it; the model reads this in the task tool."),
  mode: z.enum(["primary", "subagent", "all"]).optional(),
  steps: optionalCount,
  maxSteps: count.optional().describe("Older name of steps."),
  permission: permission.optional(),
  disable: optionalFlag,
  tools: switches.optional(),
  hidden: optionalFlag,
  color: optionalText,
  options: anyMap.optional().describe("Options for the provider; unknown keys of a profile are put here."),
});

const command = z.object({
  template: text.describe("The prompt; $ARGUMENTS and $1… are replaced."),
  description: optionalText,
  agent: optionalText,
  model: optionalText,
  variant: optionalText,
  subtask: optionalFlag,
});

const oauth = z.union([z.literal(false), anyMap]);
const mcpServer = z.object({
  type: z.enum(["local", "remote"]).optional(),
  command: texts.optional().describe("Program and arguments of a local server."),
  cwd: optionalText,
  environment: textMap.optional().describe("Variables of a local server, beside those that are allow-listed."),
  url: text.optional().describe("Address of a remote server."),
  headers: optionalTextMap,
  oauth: oauth.optional(),
  enabled: optionalFlag,
  timeout: z.union([z.number().positive(), anyMap]).optional().describe("ms to start, or { startup, call, total }."),
});

const pluginSpec = z.union([text, z.tuple([text, anyMap])]);

/** Built once, when this module is first needed. */
export const configSchema = z.object({
  $schema: optionalText,
  model: textOrList.optional().describe("provider/model; a list, or a,b, is a fallback chain."),
  fallback: textOrList.optional().describe("The next models of the chain."),
  small_model: text.optional().describe("Model for titles and summaries."),
  default_agent: text.optional().describe("Profile used when --agent is not given."),
  alias: textMap.optional().describe("Short names of models: name → provider/model."),
  provider: z.record(text, provider).optional(),
  disabled_providers: optionalTexts,
  enabled_providers: texts.optional().describe("Only these providers."),
  agent: z.record(text, agent).optional().describe("Profiles by name."),
  mode: z.record(text, agent).optional().describe("Older name of agent."),
  command: z.record(text, command).optional(),
  permission: permission.optional().describe("allow, ask or deny, or a map of tools and patterns; the last match counts."),
  permissionMode: z.enum(["auto", "ask", "plan", "readonly", "yolo"]).optional(),
  sandbox: z
    .union([
      flag,
      z.enum(["auto", "on", "off"]),
      z.object({
        enabled: z
          .union([flag, z.literal("auto")])
          .optional()
          .describe("auto: where bubblewrap works, but in permission mode yolo; true: no command runs without; false: off."),
        network: flag.optional().describe("false: commands have no network. In the modes plan and readonly they never have."),
        write: texts.optional().describe("Further paths that commands may write, relative to the workspace; ~ is the home."),
      }),
    ])
    .optional()
    .describe("What keeps commands and servers in bounds; a word or a switch is short for { enabled }."),
  tools: switches.optional().describe("Tools on or off by name; * is a wildcard."),
  plugin: z.array(pluginSpec).optional().describe("Plugins: a name, a path, or [name, options]."),
  mcp: z.record(text, mcpServer).optional(),
  instructions: texts.optional().describe("Files, globs or URLs whose text joins the system prompt."),
  systemPrompt: text.optional().describe("Replaces the system prompt."),
  appendSystem: text.optional().describe("Follows the system prompt."),
  outputFormat: z.enum(["auto", "text", "json", "stream-json"]).optional(),
  limits: z
    .object({
      steps: optionalCount,
      costUsd: z.number().nonnegative().optional(),
      tokens: optionalCount,
      timeoutSeconds: z.number().nonnegative().optional(),
      freeOnly: optionalFlag.describe("Only models that cost nothing are asked."),
    })
    .optional()
    .describe("Limits of one prompt."),
  retry: z
    .object({
      timeoutSeconds: z.number().nonnegative().optional(),
      maxRetries: optionalCount,
      fallbackOnAuth: flag.optional().describe("Ask the next model when a key is refused; false by default."),
    })
    .optional()
    .describe("Budget of retries on one model, and what may be fallen over."),
  temperature: z.number().min(0).optional(),
  topP: ratio.optional(),
  stop: optionalTextOrList,
  seed: z.number().int().optional(),
  maxOutputTokens: z.number().int().positive().optional(),
  compaction: z
    .object({ auto: optionalFlag, prune: optionalFlag, tail_turns: optionalCount, preserve_recent_tokens: optionalCount, reserved: optionalCount })
    .optional()
    .describe("When the conversation grows too long. Token counts."),
  cache: z
    .object({ ttlSeconds: z.number().nonnegative().optional(), maxBytes: optionalCount })
    .optional()
    .describe("The response cache of --cache: how long an answer is kept (86400 s), and bytes of all together (100 MiB)."),
  tool_output: z.object({ max_lines: optionalCount, max_bytes: optionalCount }).optional().describe("How much of a tool's output the model gets."),
  toolOutput: z
    .object({ ratio: z.number().min(1).optional() })
    .optional()
    .describe("How many times shorter long outputs of commands and other tools are made; off by default."),
  window: z
    .object({
      messages: z.number().int().positive().optional(),
      tokens: z.number().int().positive().optional(),
      warnTokens: z.union([count, z.literal(false)]).optional(),
    })
    .optional()
    .describe(
      "How much of the conversation one request holds: messages and estimated tokens; off by default. warnTokens (50000): a larger request is warned of.",
    ),
  attachment: z
    .object({
      image: z.object({ auto_resize: optionalFlag, max_width: optionalCount, max_height: optionalCount, max_base64_bytes: optionalCount }).optional(),
    })
    .optional(),
  skills: z.union([texts, z.object({ paths: optionalTexts, urls: optionalTexts })]).optional(),
  references: optionalAnyMap,
  reference: optionalAnyMap,
  formatter: z.union([flag, z.record(text, anyMap)]).optional(),
  lsp: z.union([flag, z.record(text, anyMap)]).optional(),
  snapshot: optionalFlag,
  shell: text.optional().describe("Shell of the bash tool."),
  subagent_depth: optionalCount,
  experimental: optionalAnyMap,
  username: optionalText,
  logLevel: optionalText,
  share: ignored.optional().describe("Accepted and ignored: nothing is ever shared."),
  autoshare: ignored.optional().describe("Accepted and ignored."),
  autoupdate: ignored.optional().describe("Accepted and ignored."),
  server: ignored.optional().describe("Accepted and ignored."),
  watcher: ignored.optional().describe("Accepted and ignored."),
  theme: ignored.optional().describe("Accepted and ignored."),
  keybinds: ignored.optional().describe("Accepted and ignored."),
  tui: ignored.optional().describe("Accepted and ignored."),
  layout: ignored.optional().describe("Accepted and ignored."),
  enterprise: ignored.optional().describe("Accepted and ignored."),
});

/** A configuration: of one file, or all of them merged. Every key may be absent. */
export type Config = z.infer<typeof configSchema>;
export type AgentProfile = NonNullable<Config["agent"]>[string];
export type ProviderConfig = NonNullable<Config["provider"]>[string];
export type PermissionConfig = NonNullable<Config["permission"]>;
export type PluginSpec = NonNullable<Config["plugin"]>[number];
