import { AgentError } from "agent-runtime";
import type { Command, CommanderError } from "commander";
import { type CommandNeeds, invalid } from "./command-needs.ts";
import { readMoment } from "./moment.ts";

/** Runs one action; the words are those after `agent memory`. Resolves to the exit code; throws AgentErrors. */
export async function runCommand(words: string[], needs: CommandNeeds): Promise<number> {
  // Options come behind their action: whoever judges a command by its first word must not be led astray.
  if (words[0]?.startsWith("-") && words[0] !== "--help" && words[0] !== "-h") throw invalid(words[0], "name an action first, as in agent memory list --json.");
  const { Command, CommanderError } = await import("commander");
  let exitCode = 0;
  const program = new Command("agent memory").description("What the agent remembers of its sessions in this project.").helpCommand(false).exitOverride();
  program.configureOutput({ writeOut: needs.write, writeErr() {}, outputError() {} }).configureHelp({ helpWidth: 100 });
  const run: Run = async (work) => {
    exitCode = await work();
  };
  for (const add of [addFinding, addSaving, addForgetting, addTransfer, addWork, addCare]) add(program, { needs, run });
  try {
    await program.parseAsync(words.length === 0 ? ["list"] : words, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw translate(error, words[0] ?? "");
  }
  return exitCode;
}

type Run = (work: () => Promise<number>) => Promise<void>;

interface Adding {
  needs: CommandNeeds;
  run: Run;
}

type Values = Record<string, never>;

/** Options that most of them take. */
const shared = (command: Command): Command =>
  command
    .option("--project <id>", "another project by its id or the name of its folder; * for all of them where that makes sense")
    .option("--json", "for machines");

function filtered(command: Command, needs: CommandNeeds): Command {
  const time = (edge: "since" | "until") => (text: string) => {
    const moment = readMoment(text, edge, needs.now());
    if (moment === undefined) throw invalid(`--${edge}`, `"${text}" is no time: write 2026-05-01, 2026-05, 7d or an ISO time.`);
    return moment;
  };
  return command
    .option("--type <type>", "bugfix, decision, discovery, summary, …")
    .option("--concept <concept>", "gotcha, how-it-works, …")
    .option("--file <path>", "about this file, or what lies below this folder")
    .option("--session <id>", "of this session")
    .option("--since <when>", "2026-05-01, 2026-05, 7d, an ISO time", time("since"))
    .option("--until <when>", "the same", time("until"))
    .option("--trust <trust>", "trusted or untrusted", readTrust);
}

function readTrust(text: string): string {
  if (text !== "trusted" && text !== "untrusted") throw invalid("--trust", "write trusted or untrusted.");
  return text;
}

const readCount = (option: string) => (text: string) => {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1) throw invalid(option, `"${text}" is no whole number above 0.`);
  return count;
};

const readPositive = (option: string) => (text: string) => {
  const number = Number(text);
  if (text.trim() === "" || !(number > 0)) throw invalid(option, `"${text}" is no number above 0.`);
  return number;
};

function readShare(text: string): number {
  const share = Number(text);
  if (text.trim() === "" || !(share >= 0 && share <= 1)) throw invalid("--importance", "write a number from 0 to 1.");
  return share;
}

const each = (value: string, before: string[] = []): string[] => [...before, value];

const FOUND = 20;
const limited = (command: Command): Command => command.option("--limit <n>", "at most so many", readCount("--limit"), FOUND);

function addFinding(program: Command, { needs, run }: Adding): void {
  const find = () => import("./command-find.ts");
  limited(filtered(shared(program.command("search").description("find what fits best")), needs))
    .argument("<words...>", 'words, "a phrase", AND, OR, NOT, title:word, file:path; -- before a word that begins with -')
    .action((words: string[], options: Values) => run(async () => (await find()).search(words.join(" "), options as never, needs)));
  limited(filtered(shared(program.command("list").description("the newest")), needs)).action((options: Values) =>
    run(async () => (await find()).list(options as never, needs)),
  );
  shared(program.command("show").description("all that is known of one"))
    .argument("<id>", "id, or the beginning of one")
    .action((id: string, options: Values) => run(async () => (await find()).show(id, options, needs)));
}

const described = (command: Command): Command =>
  command
    .option("--title <text>")
    .option("--subtitle <text>")
    .option("--type <type>")
    .option("--fact <text>", "may be given several times", each)
    .option("--concept <name>", "may be given several times", each)
    .option("--file <path>", "may be given several times", each)
    .option("--importance <number>", "0 to 1", readShare)
    .option("--trust <trust>", "trusted or untrusted", readTrust)
    .option("--project <id>", "another project");

function addSaving(program: Command, { needs, run }: Adding): void {
  const change = () => import("./command-change.ts");
  described(program.command("save").description("keep a text"))
    .option("--json", "for machines")
    .argument("<text...>", "the text; - reads it from stdin")
    .action((words: string[], options: Values) => run(async () => (await change()).save(words, options, needs)));
  described(program.command("edit").description("change one"))
    .option("--narrative <text>")
    .option("--json [-]", "for machines; with - the changes come from stdin, as JSON")
    .argument("[id]", "id, or the beginning of one")
    .action((id: string | undefined, { json, ...options }: Values & { json?: string | boolean }) => {
      // `--json ID`: the id is not meant as its value.
      const found = id ?? (typeof json === "string" && json !== "-" ? json : undefined);
      if (found === undefined) throw invalid("memory edit", "it takes the ID of an observation.");
      return run(async () => (await change()).edit(found, { ...options, json: json !== undefined, stdin: json === "-" }, needs));
    });
}

function addForgetting(program: Command, { needs, run }: Adding): void {
  shared(program.command("forget").description("remove everywhere and for good: by ids, by where it comes from, by what it says"))
    .option("--source <source>", "a tool, a URL or the beginning of one, a path, a command, a file that was imported")
    .option("--session <id>", "all of a session")
    .option("--match <text>", "in which these words stand")
    .option("--dry-run", "only show what would go")
    .argument("[ids...]")
    .action((ids: string[], options: Values) => run(async () => (await import("./command-change.ts")).forget(ids, options, needs)));
}

function addTransfer(program: Command, { needs, run }: Adding): void {
  const transfer = () => import("./command-transfer.ts");
  filtered(shared(program.command("export").description("all of it, or what fits, as JSON or Markdown")), needs)
    .option("--format <format>", "json or markdown; by the name of the file without it")
    .option("--force", "overwrite a file")
    .argument("[file]", "stdout without one")
    .action((file: string | undefined, options: Values) => run(async () => (await transfer()).exportMemory(file, options, needs)));
  shared(program.command("import").description("take in an export, a JSON array of entries, claude-mem's database or export, or notes such as CLAUDE.md"))
    .option("--skip-bad", "leave out entries that cannot be used")
    .option("--untrusted", "mark all of it as text from outside")
    .option("--from-project <name>", "of claude-mem: only this project")
    .option("--prompts", "of claude-mem: what was asked, too")
    .option("--dry-run", "only say what would be imported")
    .argument("<file>", "- reads stdin")
    .action((file: string, options: Values) => run(async () => (await transfer()).importMemory(file, options, needs)));
}

function addWork(program: Command, { needs, run }: Adding): void {
  const care = () => import("./command-care.ts");
  shared(program.command("queue").description("what waits to be remembered, and what was given up")).action((options: Values) =>
    run(async () => (await care()).queue(options, needs)),
  );
  shared(program.command("work").description("remember now what waits"))
    .option("--limit <n>", "pieces of work", readCount("--limit"))
    .option("--timeout <seconds>", "at most so long", readPositive("--timeout"))
    .action((options: Values) => run(async () => (await care()).work(options, needs)));
  shared(program.command("retry").description("give another try to what was given up"))
    .argument("[ids...]", "all without one")
    .action((ids: string[], options: Values) => run(async () => (await care()).retry(ids, options, needs)));
}

function addCare(program: Command, { needs, run }: Adding): void {
  const care = () => import("./command-care.ts");
  const simple = {
    stats: "how much there is, and how it does",
    compact: "rewrite the files without what is out of date",
    reindex: "build the search index anew",
  };
  for (const [name, description] of Object.entries(simple)) {
    shared(program.command(name).description(description)).action((options: Values) =>
      run(async () => (await care())[name as keyof typeof simple](options, needs)),
    );
  }
  shared(program.command("consolidate").description("merge near-duplicates, link what is out of date; nothing is deleted"))
    .option("--dry-run", "only say what would be done")
    .option("--undo <id>", "take apart again what this one took in; they stay apart from then on")
    .action((options: Values) => run(async () => (await care()).consolidate(options, needs)));
}

function translate(error: CommanderError, action: string): AgentError {
  const text = error.message.replace(/^error: /, "");
  const suggestion = /Did you mean [^?]*\?/.exec(text)?.[0];
  const hint = suggestion === undefined ? "" : `${suggestion} `;
  const see = `See agent memory ${error.code === "commander.unknownCommand" ? "" : `${action} `}--help. `;
  const [, kind, name] = /unknown (option|command) '([^']*)'/.exec(text) ?? [];
  if (name !== undefined)
    return new AgentError("OPTION_UNKNOWN", { what: kind === "command" ? "memory command" : "option", name, suggestion: `${hint}${see}` });
  return invalid(`memory ${action}`.trim(), `${text.replace(/\.?$/, ".")} ${see.trim()}`);
}
