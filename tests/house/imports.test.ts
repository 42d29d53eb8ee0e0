import { posix } from "node:path";
import { describe, expect, test } from "vitest";
import { importsOf, readSources, type SourceFile } from "./source.ts";

const core = readSources("core");
const plugins = readSources("plugins");
const cli = readSources("cli");

/** Imports that break a rule, as `file → specifier`. */
const offenders = (files: SourceFile[], isAllowed: (specifier: string, file: SourceFile) => boolean): string[] =>
  files.flatMap((file) =>
    importsOf(file)
      .filter((specifier) => !isAllowed(specifier, file))
      .map((specifier) => `${file.path} → ${specifier}`),
  );

const isRelative = (specifier: string): boolean => specifier.startsWith(".");
const target = (specifier: string, { path }: SourceFile): string => posix.join(posix.dirname(path), specifier);

describe("who may import whom", () => {
  test("core imports core, node and libraries; never plugins, never the command line, never itself by name", () => {
    expect(
      offenders(core, (specifier, file) => (isRelative(specifier) ? target(specifier, file).startsWith("core/") : !specifier.startsWith("agent-runtime"))),
    ).toEqual([]);
  });

  test("loop, turn, route, model-id and message are pure: core alone, no node, no library but for types", () => {
    const pure = core.filter(({ path }) => ["loop", "turn", "route", "model-id", "message"].some((name) => path === `core/${name}.ts`));
    expect(pure).toHaveLength(5);
    expect(offenders(pure, (specifier) => isRelative(specifier) || specifier === "@ai-sdk/provider")).toEqual([]);
    for (const { path, text } of pure) expect(text, path).not.toMatch(/Date\.now|Math\.random|performance\.|setTimeout|process\./);
  });

  test("a plugin imports the package by its name, its own folder, node and libraries", () => {
    const own = plugins.filter(({ path }) => path !== "plugins/index.ts");
    const isAllowed = (specifier: string, file: SourceFile) =>
      isRelative(specifier) ? target(specifier, file).startsWith(`${file.path.split("/").slice(0, 2).join("/")}/`) : true;
    expect(own.length).toBeGreaterThan(10);
    expect(offenders(own, isAllowed)).toEqual([]);
  });

  test("the command line imports the package by its name, the list of plugins, its own folder, node and libraries", () => {
    const isAllowed = (specifier: string, file: SourceFile) =>
      !isRelative(specifier) || target(specifier, file).startsWith("cli/") || ["package.json", "plugins/index.ts"].includes(target(specifier, file));
    expect(offenders(cli, isAllowed)).toEqual([]);
  });
});

describe("one of each", () => {
  const importers = (name: RegExp, files: SourceFile[]) =>
    files.filter((file) => importsOf(file, { types: false }).some((specifier) => name.test(specifier))).map(({ path }) => path);

  test("processes are started by the one runner", () => {
    expect(importers(/^(node:)?child_process$/, [...core, ...plugins])).toEqual(["core/processes.ts"]);
  });

  test("HTTP is spoken by the one client", () => {
    // The launcher reads the pipe of its commands through node:net, and connects to nothing.
    expect(
      importers(/^(node:)?(http|https|http2|net|tls)$|^undici$/, [...core, ...plugins]).filter(
        (path) => !/^core\/(http|http-exchange|guarded-fetch|proxy|tunnel|launcher)\.ts$/.test(path),
      ),
    ).toEqual([]);
  });

  test("environment and exit belong to the command line and the configuration", () => {
    for (const { path, text } of [...core, ...plugins]) {
      if (path === "core/config.ts" || path.startsWith("core/testing/")) continue;
      expect(text, path).not.toMatch(/process\.(env|exit)\b/);
    }
  });

  test("no file is called utils, helpers, manager or service", () => {
    for (const { path } of [...core, ...plugins, ...cli]) expect(path).not.toMatch(/(util|helper|manager|service)s?\b/);
  });
});
