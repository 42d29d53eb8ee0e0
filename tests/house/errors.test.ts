import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseArgs } from "../../cli/args.ts";
import { authCommand } from "../../cli/commands/auth.ts";
import { cacheCommand } from "../../cli/commands/cache.ts";
import { configCommand } from "../../cli/commands/config.ts";
import { memoryCommand } from "../../cli/commands/memory.ts";
import { sessionCommand } from "../../cli/commands/session.ts";
import { trustCommand } from "../../cli/commands/trust.ts";
import { AgentError, ERRORS, type ErrorCode, errorMessage, toAgentError } from "../../core/errors.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const codes = Object.keys(ERRORS) as ErrorCode[];

/** All program text below these folders but that of the given files. */
function textOf(folders: string[], without: string[] = []): string {
  const files = folders.flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)));
  return files
    .filter((name) => /\.(ts|mjs|json)$/.test(name) && !without.includes(name))
    .map((name) => readFileSync(join(root, name), "utf8"))
    .join("\n");
}

const program = textOf(["core", "plugins", "cli"], ["core/errors.ts"]);
const tests = textOf(["tests"]);
const named = (code: string, text: string) => new RegExp(`\\b${code}\\b`).test(text);

/** The longest piece of its message that is the same in every case. */
const wordsOf = (code: ErrorCode) => ERRORS[code].message.split(/\{\w+\}/).reduce((longest, piece) => (piece.length > longest.length ? piece : longest), "");

describe("every error", () => {
  test("stands in docs/errors.md with its exit code", () => {
    const page = readFileSync(join(root, "docs/errors.md"), "utf8");
    expect(codes.filter((code) => !new RegExp(`^\\| \`${code}\` .*\\| ${ERRORS[code].recovery} +\\| ${ERRORS[code].exit} +\\|$`, "m").test(page))).toEqual([]);
    const documented = [...page.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code);
    expect(documented).toEqual(codes);
  });

  test("is thrown somewhere", () => expect(codes.filter((code) => !named(code, program))).toEqual([]));

  test("is named in some test, by its code or by its words", () => {
    expect(codes.filter((code) => !named(code, tests) && !(wordsOf(code).length > 8 && tests.includes(wordsOf(code))))).toEqual([]);
  });

  test("has an exit code of the contract and a recovery that fits it", () => {
    for (const code of codes) {
      const { exit, recovery } = ERRORS[code];
      expect([1, 2, 3, 4, 5, 6, 7, 130, 141], code).toContain(exit);
      // What a recording lacks is no provider's fault, but another model of the chain may be in it.
      if (recovery === "fallback" && code !== "RECORDING_MISSING") expect(exit, code).toBe(4);
      if (exit === 4) expect(["retry", "fallback"], code).toContain(recovery);
    }
  });

  test("says the fact as a sentence, and its way out has its facts from the same data", () => {
    for (const code of codes) {
      const { message, hint } = ERRORS[code];
      expect(message, code).not.toBe("");
      expect(`${message}${hint}`, code).not.toMatch(/\s{2,}|\n|\bplease\b|\boops\b/i);
    }
  });
});

describe("what a way out names", () => {
  const help = parseArgs(["--help"], {});
  const helpText = help.kind === "help" ? help.text : "";
  const usage = [authCommand, cacheCommand, configCommand, memoryCommand, sessionCommand, trustCommand].flatMap((command) => command.usage);
  // The table, and the texts that the runtime adds to it.
  const texts = [...codes.map((code) => ERRORS[code].hint), readFileSync(join(root, "core/provider-advice.ts"), "utf8")];

  test("is an option of the agent, or of the command before it", () => {
    const named = texts.flatMap((text) => [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => option));
    const exists = (option: string) => [helpText, ...usage].some((known) => new RegExp(`${option}(?![\\w-])`).test(known));
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((option) => !exists(option))).toEqual([]);
  });

  test("is a command that there is", () => {
    const named = texts.flatMap((text) => [...text.matchAll(/\bagent ((?:[a-z]+ ?)+)/g)].map(([, words]) => (words as string).trim()));
    const exists = (words: string) => usage.some((known) => known === words || known.startsWith(`${words} `) || words.startsWith(`${known} `));
    expect(named).toEqual(expect.arrayContaining(["session list", "trust"]));
    expect(named.filter((words) => !exists(words))).toEqual([]);
  });
});

test("every code that the program names in a new AgentError is in the table", () => {
  const thrown = [...program.matchAll(/new AgentError\(\s*"(\w+)"/g)].map(([, code]) => code as string);
  expect([...new Set(thrown)].filter((code) => !Object.hasOwn(ERRORS, code))).toEqual([]);
});

describe("the text of an error", () => {
  test("is filled from its data, with nothing where an optional fact is missing", () => {
    const error = new AgentError("MODEL_NOT_FOUND", { id: "z/m", provider: "z", known: "demo" });
    expect([error.message, error.hint]).toEqual(['There is no provider "z" for the model z/m.', "Known providers: demo."]);
    expect(error.text).toBe(`${error.message}\n${error.hint}`);
    expect(new AgentError("PERMISSION_DENIED", { reason: "no" }).text).toBe("Denied: no");
  });

  test("is not filled a second time by what stands in the data", () => {
    expect(new AgentError("TOOL_FAILED", { tool: "x", reason: "{tool} {secret} $& $1" }).message).toBe("x failed: {tool} {secret} $& $1");
  });

  test("is the message of whatever was thrown, never [object Object]", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect([new Error("a"), "b", { message: "c" }, { d: 1 }, undefined, null, 7n].map(errorMessage)).toEqual([
      "a",
      "b",
      "c",
      '{"d":1}',
      "undefined",
      "null",
      "7",
    ]);
    expect(errorMessage(circle)).not.toBe("");
    expect(errorMessage(new TypeError())).toBe("TypeError");
  });
});

test("an error of the table stays what it is, and anything else is an internal one, exit code 1", () => {
  const error = new AgentError("INPUT_EMPTY");
  expect(toAgentError(error)).toBe(error);
  const cause = new Error("slip");
  expect(toAgentError(cause)).toMatchObject({ code: "INTERNAL", exit: 1, message: "Something went wrong inside: slip", cause });
});

test("an interruption carries the exit code of its signal", () => {
  expect([new AgentError("INTERRUPTED").exit, new AgentError("INTERRUPTED", { exit: 129 }).exit, new AgentError("OUTPUT_CLOSED").exit]).toEqual([
    130, 129, 141,
  ]);
});
