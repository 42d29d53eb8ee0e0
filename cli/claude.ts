import { AgentError, type Runtime } from "agent-runtime";
import { Conversation } from "./conversation.ts";
import { toJsonLine } from "./json-line.ts";
import { CLAUDE_MODES, PERMISSION_MODES, type PermissionMode } from "./options.ts";
import type { Output, OutputOptions } from "./output.ts";
import { type ClaudeFacts, ClaudeProjection, createClaudeOutput } from "./output-claude.ts";
import type { Session } from "./run.ts";

/** The other end of stdin where it sends frames. `getSession` may be called once the first frame is read. */
export function openConversation(getSession: () => Session): Conversation {
  return new Conversation({
    write(line) {
      const { host, redact } = getSession();
      host.streams.write(`${redact(toJsonLine(line))}\n`);
    },
    redact: (text) => getSession().redact(text),
    describe: () => describe(getSession()),
    servers: () => describeServers(getSession()),
    readMode: (word) => readMode(word, getSession()),
  });
}

interface ClaudeOutputOptions extends OutputOptions {
  /** Undefined where it could not be started. */
  runtime: Runtime | undefined;
  /** The mode of this prompt, where it has one of its own. */
  mode: PermissionMode | undefined;
}

/** Output in Claude Code's format; what it counts lasts as long as the command. */
export async function openClaudeOutput(session: Session, { runtime, mode, ...options }: ClaudeOutputOptions): Promise<Output> {
  const facts = runtime && (await readFacts(runtime, session, mode));
  session.claude ??= new ClaudeProjection({ partial: options.stream, askedInput: (id) => toFields(session.conversation?.asker.find(id)?.input) });
  session.claude.facts = facts;
  return createClaudeOutput(session.claude, options);
}

const toFields = (input: unknown): Record<string, unknown> =>
  typeof input === "object" && input !== null && !Array.isArray(input) ? (input as Record<string, unknown>) : { input };

async function readFacts({ cwd, config, tools, toolSources }: Runtime, session: Session, mode: PermissionMode | undefined): Promise<ClaudeFacts> {
  // First: servers are started by who asks for their tools.
  const names = await tools().catch(() => []);
  return {
    version: ownVersion(session),
    cwd,
    tools: names,
    servers: toolSources(),
    permissionMode: mode ?? config.permissionMode ?? "auto",
    agents: Object.keys(config.agent ?? {}),
    maxRetries: config.retry?.maxRetries ?? 5,
  };
}

const ownVersion = ({ host }: Session): string => `${host.readVersion?.() ?? "0.0.0"} (agent-runtime)`;

/** What the Agent SDK wants to know at its start. A runtime that cannot be started is told of by the first prompt. */
async function describe(session: Session): Promise<Record<string, unknown>> {
  const config = await session.runtime.then(
    ({ config }) => config,
    () => undefined,
  );
  const models = [config?.model ?? []].flat().flatMap((list) => list.split(","));
  return {
    commands: [],
    agents: Object.entries(config?.agent ?? {}).map(([name, profile]) => ({ name, description: profile?.description ?? "" })),
    output_style: "default",
    available_output_styles: ["default"],
    models: models.map((value) => ({ value, displayName: value, description: "" })),
    account: {},
    claude_code_version: ownVersion(session),
  };
}

async function describeServers({ runtime }: Session): Promise<object[]> {
  const sources = await runtime.then(
    (started) => started.toolSources(),
    () => [],
  );
  return sources.map(({ name, status, reason }) => ({ name, status, ...(reason !== undefined && { error: reason }) }));
}

/** A run that was started to read only stays so, and what passes every question must be asked for on the command line. */
async function readMode(word: unknown, { runtime, invocation }: Session): Promise<PermissionMode> {
  const before = (await runtime).config.permissionMode ?? "auto";
  const mode = toMode(word, invocation.asksPrompter ? "ask" : "auto");
  const refuse = (reason: string) => new AgentError("OPTION_INVALID", { option: "set_permission_mode", reason });
  if (mode === undefined) throw refuse(`${String(word).slice(0, 40)} is no mode.`);
  if (before === "readonly" && mode !== "readonly") throw refuse("this run was started to read only.");
  if (mode === "yolo" && before !== "yolo" && !invocation.allowsBypass)
    throw refuse("it needs --permission-mode yolo, or --allow-dangerously-skip-permissions.");
  return mode;
}

function toMode(word: unknown, usual: PermissionMode): PermissionMode | undefined {
  if (word === "default") return usual;
  return PERMISSION_MODES.find((mode) => mode === word) ?? (typeof word === "string" && Object.hasOwn(CLAUDE_MODES, word) ? CLAUDE_MODES[word] : undefined);
}
