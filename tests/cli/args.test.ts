import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "agent-runtime";
import { afterAll, describe, expect, test } from "vitest";
import { type CommandInvocation, parseArgs, type RunInvocation } from "../../cli/args.ts";

const folder = mkdtempSync(join(tmpdir(), "agent-args-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const run = (args: string[], env: Record<string, string> = {}) => {
  const invocation = parseArgs(args, env);
  expect(invocation.kind).toBe("run");
  return invocation as RunInvocation;
};
const refuse = (args: string[], env: Record<string, string> = {}): AgentError => {
  try {
    parseArgs(args, env);
  } catch (error) {
    expect(error).toBeInstanceOf(AgentError);
    expect((error as AgentError).exit).toBe(2);
    return error as AgentError;
  }
  throw new Error(`accepted: ${args.join(" ")}`);
};

describe("the prompt of the command line", () => {
  test("several words are one prompt, wherever the options stand", () => {
    expect(run(["fix", "the", "--model", "a/b", "tests"])).toMatchObject({
      prompt: "fix the tests",
      words: ["fix", "the", "tests"],
      runtime: { config: { model: "a/b" } },
    });
    expect(run(["query", "what is this?", "--provider", "openrouter", "--model", "vendor/model"])).toMatchObject({
      prompt: "what is this?",
      runtime: { provider: "openrouter" },
    });
    expect(run(["run", "x"]).prompt).toBe("x");
  });

  test("-p takes any text, also one that looks like an option or a command", () => {
    expect(run(["-p", "--help"]).prompt).toBe("--help");
    expect(run(["-p", "session"])).toMatchObject({ prompt: "session", words: [] });
    expect(run(["-p", ""]).prompt).toBe("");
  });

  test("-- ends the options, so a prompt may start with a dash or a command's name", () => {
    expect(run(["--", "--model", "is", "broken"]).prompt).toBe("--model is broken");
    expect(run(["-q", "--", "session", "list"]).prompt).toBe("session list");
    for (const word of ["-mopenrouter/acme/m", "-qmdemo/claude-3-opus", "-qmr"])
      expect(parseArgs([word, "session", "list"], {})).toMatchObject({ kind: "command", name: "session", words: ["list"] });
    expect(parseArgs(["-qm", "session", "trust"], {})).toMatchObject({ kind: "command", name: "trust" });
  });

  test("- joins stdin and is not a word", () => {
    expect(run(["-p", "sum up", "-"])).toMatchObject({ prompt: "sum up", joinStdin: true });
    expect(run(["-"])).toMatchObject({ joinStdin: true });
    expect(run(["-"]).prompt).toBeUndefined();
  });

  test("nothing at all means stdin", () => expect(run([]).prompt).toBeUndefined());
});

describe("commands", () => {
  test("get the words after their name untouched, and the options before it", () => {
    expect(parseArgs(["--cwd", folder, "session", "list", "--json", "--limit", "3"], {})).toMatchObject({
      kind: "command",
      name: "session",
      words: ["list", "--json", "--limit", "3"],
      runtime: { cwd: folder },
    } satisfies Partial<CommandInvocation>);
    expect(parseArgs(["config"], {})).toMatchObject({ kind: "command", name: "config", words: [] });
    expect(parseArgs(["session", "list", "--verbose", "--json"], {})).toMatchObject({ words: ["list", "--json"], log: { verbose: true } });
    const program = ["add", "x", "--", "y", "--verbose"];
    expect(parseArgs(["mcp", ...program], {})).toMatchObject({ words: program, log: { verbose: false } });
  });

  test("that are not built yet are refused and absent from the help", () => {
    const help = parseArgs(["--help"], {});
    expect(help.kind).toBe("help");
    for (const name of ["models", "init", "plugin", "doctor", "viewer"]) {
      expect(refuse([name]).code).toBe("NOT_AVAILABLE");
      expect(help).not.toHaveProperty("text", expect.stringMatching(new RegExp(`^ +${name}\\b`, "m")));
    }
  });

  test("a name that is the value of an option is no command", () => expect(run(["--title", "session", "hello"]).prompt).toBe("hello"));
});

describe("what is refused", () => {
  test("an unknown option, with the nearest one", () => {
    const error = refuse(["--modle", "openrouter/a/b", "-p", "hi"]);
    expect(error.message).toBe("unknown option '--modle'");
    expect(error.hint).toContain("Did you mean --model?");
    expect(refuse(["-Z"]).code).toBe("OPTION_UNKNOWN");
  });

  test("options and formats that are not built yet", () => {
    for (const args of [
      ["--variant", "high"],
      ["--permission-prompt-tool", "t"],
    ]) {
      expect(refuse([...args, "-p", "x"])).toMatchObject({ code: "NOT_AVAILABLE" });
    }
  });

  test("values that make no sense, naming the option", () => {
    const cases = [
      ["--max-steps", "x"],
      ["--max-steps", "0"],
      ["--max-steps", "1.5"],
      ["--max-steps", ""],
      ["--max-cost", "-1"],
      ["--max-cost", "NaN"],
      ["--max-tokens-total", "-5"],
      ["--timeout", "0"],
      ["--timeout", "Infinity"],
      ["--temperature", "hot"],
      ["--top-p", "2"],
      ["--seed", "1.2"],
      ["--max-output-tokens", "0"],
      ["--max-retries", "-1"],
      ["--permission-mode", "loose"],
      ["--output-format", "xml"],
      ["--cwd", "/nowhere/at/all"],
      ["--add-dir", "/nowhere"],
      ["--permission", "{"],
      ["--permission", "[1]"],
      ["--permission", "maybe"],
    ] as const;
    for (const [option, value] of cases) expect(refuse([option, value, "-p", "x"])).toMatchObject({ code: "OPTION_INVALID", data: { option } });
    expect(refuse(["-p"])).toMatchObject({ code: "OPTION_INVALID", data: { option: "--prompt" } });
    expect(refuse(["-p", "x"], { AGENT_READ_ONLY: "perhaps" })).toMatchObject({ code: "OPTION_INVALID", data: { option: "AGENT_READ_ONLY" } });
  });

  test("files that are not there", () => {
    for (const option of ["--file", "--system-file", "--append-system-file", "--output-schema", "--config"]) {
      expect(refuse([option, join(folder, "nothing"), "-p", "x"])).toMatchObject({
        code: "FILE_NOT_FOUND",
        data: { option, reason: "there is no such file." },
      });
    }
    expect(refuse(["--file", folder, "-p", "x"]).message).toContain("it is a directory.");
  });

  test("--fork without a session, and a session named twice over", () => {
    expect(refuse(["--fork", "-p", "x"]).code).toBe("OPTION_INVALID");
    expect(refuse(["-c", "-s", "ses_1", "-p", "x"]).code).toBe("OPTION_INVALID");
  });
});

describe("what the options become", () => {
  test("configuration, limits and ceilings of the runtime", () => {
    const { runtime } = run([
      "-m",
      "a/b,c/d",
      "--fallback",
      "e/f,g/h",
      "--fallback",
      "i/j",
      "--temperature",
      "0",
      "--stop",
      "A",
      "--stop",
      "B",
      "--retry-timeout",
      "0",
      "--max-retries",
      "2",
      "--max-steps",
      "3",
      "--max-cost",
      "0.5",
      "--max-tokens-total",
      "100",
      "--timeout",
      "1.5",
      "--tools",
      "read, grep",
      "--disable-tools",
      "bash",
      "--read-only",
      "--no-session",
      "--no-plugins",
      "--skip-broken-plugins",
      "--trust",
      "--plugin",
      "./x.ts",
      "--plugin",
      '["memory",{"a":1}]',
      "--permission",
      '{"bash":"deny"}',
      "-p",
      "x",
    ]);
    expect(runtime).toEqual({
      config: {
        model: "a/b,c/d",
        fallback: ["e/f", "g/h", "i/j"],
        temperature: 0,
        stop: ["A", "B"],
        retry: { timeoutSeconds: 0, maxRetries: 2 },
        permission: { bash: "deny" },
      },
      plugins: [join(process.cwd(), "x.ts"), ["memory", { a: 1 }]],
      configuredPlugins: false,
      skipBrokenPlugins: true,
      trust: true,
      persist: false,
      tools: ["read", "grep"],
      disableTools: ["bash"],
      readOnly: true,
      limits: { steps: 3, costUsd: 0.5, tokens: 100, timeoutMs: 1500 },
    });
  });

  test("texts from files, and a schema", () => {
    const system = file("system.md", "Be brief.");
    const schema = file("schema.json", '{"type":"object"}');
    const { runtime, request } = run(["--system-file", system, "--append-system", "And kind.", "--output-schema", schema, "-f", system, "-p", "x"]);
    expect(runtime.config).toEqual({ systemPrompt: "Be brief.", appendSystem: "And kind." });
    expect(request).toEqual({ outputSchema: { type: "object" }, files: [system] });
  });

  test("Claude Code's names", () => {
    const invocation = run([
      "-r",
      "ses_1",
      "--max-turns",
      "4",
      "--system-prompt",
      "S",
      "--append-system-prompt",
      "T",
      "--include-partial-messages",
      "--permission-mode",
      "bypassPermissions",
      "--allowedTools",
      "Bash(git:*),Read LS,BashOutput KillShell,KillBash",
      "--disallowedTools",
      "WebFetch,NotebookEdit",
      "-p",
      "x",
    ]);
    expect(invocation).toMatchObject({
      stream: true,
      session: { id: "ses_1" },
      runtime: { limits: { steps: 4 }, tools: ["bash", "read", "list", "bash_output", "bash_kill"], disableTools: ["webfetch"] },
    });
    expect(invocation.runtime.config).toEqual({
      systemPrompt: "S",
      appendSystem: "T",
      permissionMode: "yolo",
      permission: { bash: { "*": "deny", "git *": "allow" } },
    });
    for (const mode of ["default", "acceptEdits"]) expect(run(["--permission-mode", mode, "-p", "x"]).runtime.config).toEqual({ permissionMode: "auto" });
  });

  test("the environment stands under the options", () => {
    const env = { AGENT_OUTPUT_FORMAT: "json", AGENT_DISABLE_TOOLS: "bash,edit", AGENT_READ_ONLY: "1" };
    expect(run(["-p", "x"], env)).toMatchObject({ outputFormat: "json", runtime: { disableTools: ["bash", "edit"], readOnly: true } });
    expect(run(["--output-format", "text", "--disable-tools", "web", "-p", "x"], env)).toMatchObject({
      outputFormat: "text",
      runtime: { disableTools: ["web"] },
    });
  });
});

test("the help fits 80 columns and names no option that is refused", () => {
  const help = parseArgs(["-h"], {});
  const text = help.kind === "help" ? help.text : "";
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(text).toContain("--model");
  for (const name of ["--variant", "--mcp-config", "--max-turns", "--permission-prompt-tool"]) expect(text).not.toContain(name);
});
