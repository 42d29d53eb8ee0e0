import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import { isTree } from "../../core/config-files.ts";
import { mergeLayers } from "../../core/config-merge.ts";
import { type Config, configSchema } from "../../core/config-schema.ts";
import { sandboxOf } from "../../core/confine.ts";
import { keepData } from "../../core/untrusted.ts";
import { findRule, flattenRules } from "../../plugins/permissions/rules.ts";

const SIDE = { root: "/w", base: "/w" };

/** What may stand in a string: names that mean something, and what attacks would say. */
const WORDS = [
  "*",
  "bash",
  "read",
  "x",
  "openrouter",
  "build",
  "plan",
  "rm *",
  "a/b",
  "demo/script:t.json",
  "gpt-4o",
  "docs/a.md",
  "../x",
  "http://evil.test",
  "!`id`",
  "~",
];
const word = fc.constantFrom(...WORDS);

/** Any value that the schema takes, made from the schema itself: a key that is added there is tried here. */
function valuesOf(schema: unknown): fc.Arbitrary<unknown> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "optional":
      return valuesOf(def.innerType);
    case "string":
      return word;
    case "number":
      return fc.constantFrom(0, 1, 2, 3, 50, 100, 5000).filter((value) => (schema as z.ZodType).safeParse(value).success);
    case "boolean":
      return fc.boolean();
    case "enum":
      return fc.constantFrom(...Object.values(def.entries));
    case "literal":
      return fc.constantFrom(...def.values);
    case "array":
      return fc.array(valuesOf(def.element), { maxLength: 2 });
    case "tuple":
      return fc.tuple(...def.items.map(valuesOf));
    case "union":
      return fc.oneof(...def.options.map(valuesOf));
    case "record":
      return fc.dictionary(word, valuesOf(def.valueType), { maxKeys: 3 });
    case "object": {
      const required = Object.keys(def.shape).filter((key) => (def.shape[key] as z.core.$ZodTypes)._zod.def.type !== "optional");
      const keys = Object.fromEntries(Object.entries(def.shape).map(([key, part]) => [key, valuesOf(part)]));
      return fc.record(def.catchall === undefined ? keys : { ...keys, extraBody: word }, { requiredKeys: required as never[] });
    }
    default:
      return fc.constantFrom("x", 1, false);
  }
}

const valuesOfKeys = Object.fromEntries(Object.entries(configSchema.shape).map(([key, part]) => [key, valuesOf(part)]));

/** A few keys at a time, so that each is often there and the values are soon made. */
const configs: fc.Arbitrary<Config> = fc
  .subarray(Object.keys(valuesOfKeys), { maxLength: 8 })
  .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, valuesOfKeys[key]!]))))
  .map((value) => value as Config);

/** All that an untrusted file may say: the list of docs/configuration.md. `**` is any depth. */
const DATA = `$schema systemPrompt appendSystem outputFormat temperature topP stop.** seed maxOutputTokens compaction.** tool_output.** toolOutput.** window.**
  attachment.** subagent_depth username logLevel share autoshare autoupdate server watcher theme keybinds tui layout enterprise model.** fallback.** small_model
  retry.** disabled_providers.** enabled_providers.** alias.* limits.* permission.** permissionMode tools.* snapshot default_agent instructions.* formatter lsp
  provider.*.name provider.*.id provider.*.whitelist.** provider.*.blacklist.** provider.*.default_model
  provider.*.options.timeout provider.*.options.connectTimeout provider.*.options.headerTimeout provider.*.options.chunkTimeout provider.*.options.contentTimeout
  provider.*.models.*.name provider.*.models.*.family provider.*.models.*.release_date provider.*.models.*.status provider.*.models.*.attachment
  provider.*.models.*.reasoning provider.*.models.*.temperature provider.*.models.*.tool_call provider.*.models.*.interleaved.** provider.*.models.*.limit.**
  provider.*.models.*.modalities.** provider.*.models.*.fallback.**
  agent.*.model.** agent.*.fallback.** agent.*.variant agent.*.temperature agent.*.top_p agent.*.prompt agent.*.description agent.*.mode agent.*.steps agent.*.maxSteps
  agent.*.hidden agent.*.color agent.*.disable agent.*.permission.** agent.*.tools.* command.*.template command.*.description command.*.agent command.*.model
  command.*.variant command.*.subtask sandbox.enabled sandbox.network`
  .split(/\s+/)
  .map((pattern) => pattern.split("."));

const leavesOf = (value: unknown, path: string[] = []): { path: string[]; value: unknown }[] =>
  isTree(value) || Array.isArray(value) ? Object.entries(value).flatMap(([key, item]) => leavesOf(item, [...path, key])) : [{ path, value }];

const isOf = (path: string[], [first, ...rest]: string[]): boolean => {
  if (first === "**") return true;
  if (first === undefined) return path.length === 0;
  // What `.**` follows may be one word, too.
  if (path.length === 0) return false;
  return (first === "*" || first === path[0]) && (isOf(path.slice(1), rest) || (path.length === 1 && rest[0] === "**"));
};

const RUNS = { seed: 11, numRuns: 400 };
const kept = (theirs: Config, own: Config): Config => keepData(theirs, { ...SIDE, config: own }).config;
const merge = (own: Config, theirs: Config): Config =>
  mergeLayers([
    { config: own, originOf: () => "user", from: "/u" },
    { config: theirs, originOf: () => "workspace", from: "/w" },
  ]).config;

const isLaxer = (name: string, value: unknown, { enabled = "auto", network = true }: ReturnType<typeof sandboxOf>): boolean =>
  name === "enabled" ? (value === false && enabled !== false) || (value === "auto" && enabled === true) : value === true && !network;

describe("whatever an untrusted file says", () => {
  test("only what is named as data stays", () => {
    fc.assert(
      fc.property(configs, configs, (theirs, own) => {
        for (const { path, value } of leavesOf(kept(theirs, own))) {
          expect(
            DATA.some((pattern) => isOf(path, pattern)),
            path.join("."),
          ).toBe(true);
          if (["formatter", "lsp"].includes(path[0]!) || path.at(-2) === "tools") expect(value).toBe(false);
          if (path.includes("permission")) expect(value).not.toBe("allow");
          if (path[0] === "sandbox") expect(isLaxer(path[1]!, value, sandboxOf(own.sandbox))).toBe(false);
        }
      }),
      RUNS,
    );
  });

  test("names no address, no program and no file outside", () => {
    fc.assert(
      fc.property(configs, configs, (theirs, own) => {
        const { instructions = [], command = {}, ...rest } = kept(theirs, own);
        for (const entry of instructions) expect(["../x", "http://evil.test", "~"]).not.toContain(entry);
        for (const { template } of Object.values(command)) expect(template).not.toContain("!`");
        const models = [rest.model, rest.fallback, rest.small_model, ...Object.values(rest.agent ?? {}).flatMap(({ model, fallback }) => [model, fallback])];
        expect(models.flat()).not.toContain("demo/script:t.json");
      }),
      RUNS,
    );
  });

  const subjects = ["bash", "read", "x", "edit", "webfetch"].flatMap((tool) =>
    ["*", "rm -rf x", "ls", "a/b", "x"].map((text) => ({ keys: [tool], texts: [text] })),
  );
  const RANK = { allow: 0, ask: 2, deny: 3 };
  const rankIn = (rules: Config["permission"], subject: (typeof subjects)[number]): number => {
    const rule = findRule(flattenRules(rules), subject);
    return rule === undefined ? 1 : RANK[rule.action];
  };

  test("no call is judged more mildly than by the user's own rules, in no profile either", () => {
    fc.assert(
      fc.property(configs, configs, (theirs, own) => {
        const both = merge(own, kept(theirs, own));
        const maps = [
          [both.permission, own.permission],
          ...Object.keys(own.agent ?? {}).map((name) => [both.agent?.[name]?.permission, own.agent?.[name]?.permission]),
        ];
        for (const [now, before] of maps) for (const subject of subjects) expect(rankIn(now, subject)).toBeGreaterThanOrEqual(rankIn(before, subject));
      }),
      RUNS,
    );
  });

  test("no mode is wider, no tool is on, no limit is higher, and nothing is back that the user took away", () => {
    const MODES = ["readonly", "plan", "ask", "auto", "yolo"];
    const modeOf = ({ permissionMode = "auto" }: Config) => MODES.indexOf(permissionMode);
    fc.assert(
      fc.property(configs, configs, (theirs, own) => {
        const both = merge(own, kept(theirs, own));
        expect(modeOf(both)).toBeLessThanOrEqual(modeOf(own));
        for (const [name, on] of Object.entries(both.tools ?? {})) if (on) expect(own.tools?.[name]).toBe(true);
        expect(both.limits?.steps ?? 100).toBeLessThanOrEqual(own.limits?.steps ?? 100);
        for (const name of ["costUsd", "tokens", "timeoutSeconds"] as const)
          if (own.limits?.[name] !== undefined) expect(both.limits?.[name]).toBeLessThanOrEqual(own.limits[name]);
        if (own.limits?.freeOnly) expect(both.limits?.freeOnly).toBe(true);
        expect(both.subagent_depth ?? 3).toBeLessThanOrEqual(own.subagent_depth ?? 3);
        for (const name of ["enabled_providers", "disabled_providers", "default_agent"] as const)
          if (own[name] !== undefined) expect(both[name]).toEqual(own[name]);
        for (const [name, agent] of Object.entries(own.agent ?? {})) if (agent.disable) expect(both.agent?.[name]?.disable).toBe(true);
        for (const [id, { whitelist, blacklist }] of Object.entries(own.provider ?? {})) {
          if (whitelist !== undefined) expect(both.provider?.[id]?.whitelist).toEqual(whitelist);
          if (blacklist !== undefined) expect(both.provider?.[id]?.blacklist).toEqual(blacklist);
        }
        for (const [name, id] of Object.entries(own.alias ?? {})) expect(both.alias?.[name]).toBe(id);
      }),
      RUNS,
    );
  });
});
