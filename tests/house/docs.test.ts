import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import type { AgentError } from "agent-runtime";
import { afterAll, describe, expect, test } from "vitest";
import { parseArgs } from "../../cli/args.ts";
import { eventSchema } from "../../cli/events-schema.ts";
import { CHILD_ENVIRONMENT, CHILD_SETTINGS, PROXY_ENVIRONMENT } from "../../core/exec.ts";
import { root } from "./source.ts";

const read = (path: string): string => readFileSync(join(root, path), "utf8");

const pages = [
  "README.md",
  "AGENTS.md",
  "CHANGELOG.md",
  "examples/README.md",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" }).flatMap((name) => (name.endsWith(".md") ? [`docs/${name}`] : [])),
];

/** The text of every block that is marked with the language. */
const blocksOf = (page: string, language: string): string[] =>
  [...read(page).matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, text]) => text as string);

describe("links", () => {
  /** As GitHub makes them of headings. */
  const anchorsOf = (text: string): string[] =>
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
      (title as string)
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    );

  /** The links of a page to other pages, as the path from the root and the anchor. */
  const linksOf = (page: string) =>
    [
      ...read(page)
        .replace(/^```[\s\S]*?^```/gm, "")
        .matchAll(/\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)/g),
    ].map(([, path, anchor]) => ({ path: path ? relative(root, resolve(root, dirname(page), path)) : page, anchor }));

  test.each(pages)("of %s lead somewhere", (page) => {
    const isBroken = ({ path, anchor }: ReturnType<typeof linksOf>[number]) =>
      !existsSync(join(root, path)) || (anchor && !anchorsOf(read(path)).includes(anchor));
    expect(linksOf(page).filter(isBroken)).toEqual([]);
  });

  test.each(pages)("of %s lead to what the package holds, too", (page) => {
    const { files } = JSON.parse(read("package.json"));
    const holds = (path: string) => [...files, "README.md"].some((held) => path === held || path.startsWith(`${held}/`));
    expect(linksOf(page).filter(({ path }) => !holds(path))).toEqual([]);
  });
});

describe("options", () => {
  const invocation = parseArgs(["--help"], {});
  const help = invocation.kind === "help" ? invocation.text : "";
  /** Options of commands, which the help of the agent does not list, and of other programs. */
  const others = [
    "--origin",
    "--json",
    "--project",
    "--key-stdin",
    "--import",
    "--save-dev",
    "--oneline",
    "--loud",
    "--to",
    "--dry-run",
    "--force",
    "--url",
    "--header",
    "--env",
    "--yes",
    "--all",
    "--token",
    "--api-key",
    ...["--type", "--concept", "--since", "--until", "--limit", "--source", "--match", "--subtitle", "--narrative", "--fact", "--importance"],
    ...["--skip-bad", "--untrusted", "--from-project", "--prompts", "--format", "--undo"],
  ];
  /** Claude Code's names are accepted and not shown: only their values may be refused here. */
  const isAccepted = (option: string): boolean =>
    [option, `${option}=1`, `${option}=stdio`].some((word) => {
      try {
        return parseArgs([word, "-p", "x"], {}).kind === "run";
      } catch (error) {
        return ["OPTION_INVALID", "FILE_NOT_FOUND"].includes((error as AgentError).code);
      }
    });

  test.each(pages.filter((page) => page !== "CHANGELOG.md"))("of %s exist", (page) => {
    // What a later version brings is named in one sentence, which says so.
    const text = read(page).replace(/^What `agent --help` does not list.*$/m, "");
    const named = [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => option);
    expect([...new Set(named)].filter((option) => !new RegExp(`${option}(?![\\w-])`).test(help) && !others.includes(option) && !isAccepted(option))).toEqual(
      [],
    );
  });
});

describe("code", () => {
  const scratch = mkdtempSync(join(tmpdir(), "agent-docs-"));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  test("of the pages type-checks against the package, as a stranger's would", { timeout: 180_000 }, () => {
    mkdirSync(join(scratch, "node_modules"));
    for (const name of ["@ai-sdk", "@types", "vitest"]) symlinkSync(join(root, "node_modules", name), join(scratch, "node_modules", name));
    symlinkSync(root, join(scratch, "node_modules/agent-runtime"));
    const blocks = ["README.md", "docs/writing-a-plugin.md"].flatMap((page) => blocksOf(page, "ts"));
    expect(blocks.length).toBeGreaterThan(10);
    for (const [index, text] of blocks.entries()) writeFileSync(join(scratch, /^\/\/ (\S+\.ts)\n/.exec(text)?.[1] ?? `block-${index}.ts`), text);
    const compilerOptions = {
      ...{ target: "es2023", module: "nodenext", strict: true, noUncheckedIndexedAccess: true, verbatimModuleSyntax: true },
      ...{ allowImportingTsExtensions: true, skipLibCheck: true, noEmit: true, types: ["node"] },
    };
    writeFileSync(join(scratch, "package.json"), '{ "type": "module" }');
    writeFileSync(join(scratch, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
    const { stdout } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", scratch], { encoding: "utf8" });
    expect(stdout).toBe("");
  });

  test("of a plugin imports the package by its public names alone", () => {
    const { exports } = JSON.parse(read("package.json"));
    const allowed = Object.keys(exports).map((name) => name.replace(/^\./, "agent-runtime"));
    const imported = blocksOf("docs/writing-a-plugin.md", "ts").flatMap((text) => [...text.matchAll(/from "(agent-runtime[^"]*)"/g)].map(([, name]) => name));
    expect(imported.filter((name) => !allowed.includes(name as string))).toEqual([]);
  });

  test("in JSON is JSON", () => {
    for (const page of pages) {
      for (const text of page === "docs/events.md" ? blocksOf(page, "json").flatMap((block) => block.trim().split("\n")) : blocksOf(page, "json"))
        expect(() => JSON.parse(text), `${page}: ${text}`).not.toThrow();
    }
  });
});

describe("what a page promises to list", () => {
  const missing = (page: string, names: readonly string[]): string[] => names.filter((name) => !read(page).includes(`\`${name}\``));

  test("the first screen of the README holds the two commands", () => {
    const first = read("README.md").split("\n").slice(0, 25).join("\n");
    expect(first).toContain("npm ci && npm start");
    expect(first).toContain("npm ci && npm test");
  });

  test("docs/environment.md lists every variable that commands get", () => {
    expect(missing("docs/environment.md", [...CHILD_ENVIRONMENT, ...PROXY_ENVIRONMENT, ...Object.keys(CHILD_SETTINGS)])).toEqual([]);
  });

  test("docs/events.md lists every event of the command, and its examples are of the schema", () => {
    const types = eventSchema.options.map(({ shape }) => shape.type.value);
    expect(missing("docs/events.md", types)).toEqual([]);
    for (const line of blocksOf("docs/events.md", "json").join("").trim().split("\n")) eventSchema.parse(JSON.parse(line));
  });

  test("docs/writing-a-plugin.md lists every event that a hook can observe, and every hook", () => {
    const keysOf = (file: string, name: string): string[] => {
      const body = new RegExp(`interface ${name} \\{\\n([\\s\\S]*?)^\\}`, "m").exec(read(file))?.[1] ?? "";
      return [...body.matchAll(/^ {2}"?([\w.]+)"?\??[:(]/gm)].map(([, key]) => key as string);
    };
    expect(keysOf("core/events.ts", "Facts").length).toBeGreaterThan(20);
    expect(missing("docs/writing-a-plugin.md", keysOf("core/events.ts", "Facts"))).toEqual([]);
    expect(
      missing(
        "docs/writing-a-plugin.md",
        keysOf("core/hooks.ts", "Hooks").filter((name) => name !== "on"),
      ),
    ).toEqual([]);
  });

  test("docs/adr/0001 gives a reason for every dependency", () => {
    expect(missing("docs/adr/0001-dependencies.md", Object.keys(JSON.parse(read("package.json")).dependencies))).toEqual([]);
  });

  test("docs/security.md names tests that there are, by their names", () => {
    const attacks = readdirSync(join(root, "tests/cli")).filter((file) => file.startsWith("attacks-"));
    const cells = [...read("docs/security.md").matchAll(/^\|[^|]+\| (.+) \|$/gm)]
      .map(([, cell]) => cell as string)
      .filter((cell) => /`(tests|attacks-)/.test(cell));
    expect(attacks.filter((file) => !cells.join().includes(`\`${file.replace(".test.ts", "")}\``))).toEqual([]);
    const missing = cells.flatMap((cell) =>
      cell.split(";").flatMap((part) => {
        const files = [...part.matchAll(/`(tests\/[\w/.-]+\.ts|attacks-\w+)`/g)].map(([, name]) =>
          name!.startsWith("tests/") ? name! : `tests/cli/${name}.test.ts`,
        );
        const gone = files.filter((file) => !existsSync(join(root, file)));
        const text = files
          .filter((file) => !gone.includes(file))
          .map((file) => read(file))
          .join("\n");
        return [...gone, ...[...part.matchAll(/"([^"]+)"/g)].map(([, name]) => name!).filter((name) => !text.includes(name))];
      }),
    );
    expect([cells.length > 30, missing]).toEqual([true, []]);
  });

  test("docs/performance.md names every bench by its script, and each script is a bench", () => {
    const parts = ["floor.mjs", "server.mjs", "start-server.mjs", "tools-case.mjs", "usage.cjs"];
    const benches = readdirSync(join(root, "bench")).filter((file) => !parts.includes(file) && !/^(?:safety|memory)-/.test(file));
    const scripts = Object.entries<string>(JSON.parse(read("package.json")).scripts).filter(([name]) => name.startsWith("bench"));
    const fileOf = (name: string) => new RegExp(`^bench/${name === "bench" ? "run" : name.slice("bench:".length)}\\.(mjs|ts)$`);
    expect(scripts.filter(([name, command]) => !fileOf(name).test(command.split(" ").at(-1) as string))).toEqual([]);
    expect(scripts.map(([, command]) => command.split("/").at(-1)).sort()).toEqual(benches.sort());
    expect(scripts.filter(([name]) => !new RegExp(`\`npm run ${name}[ \`]`).test(read("docs/performance.md")))).toEqual([]);
  });

  test("the changelog has a place for what is not released", () => {
    expect(read("CHANGELOG.md")).toContain("## [Unreleased]");
  });
});
