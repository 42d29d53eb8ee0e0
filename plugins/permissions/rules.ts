import { homedir } from "node:os";
import { type Decision, matchesWildcard } from "agent-runtime";

/** One line of the permission map. */
export interface Rule {
  /** The permission key or the name of a tool; `*` and `?` are wildcards. */
  key: string;
  pattern: string;
  action: Decision;
}

/** `"ask"`, or a map of keys to an action or to a map of patterns to actions. */
export type PermissionMap = Decision | Record<string, Decision | Record<string, Decision>>;

/** What a rule is matched against. */
export interface Subject {
  /** The permission key and the tool's name. */
  keys: string[];
  /** Spellings that any rule may match. */
  texts: string[];
  /** Further spellings that only a rule that denies or asks may match: what a program is called without its folder. */
  strictTexts?: string[];
}

/** The map as a list in its order: where several match, the last one counts. */
export function flattenRules(map: PermissionMap | undefined): Rule[] {
  if (map === undefined) return [];
  if (typeof map === "string") return [{ key: "*", pattern: "*", action: map }];
  return Object.entries(map).flatMap(([name, value]) =>
    keysOf(name).flatMap((key) =>
      typeof value === "string"
        ? [{ key, pattern: "*", action: value }]
        : Object.entries(value).map(([pattern, action]) => ({ key, pattern: expandHome(pattern), action })),
    ),
  );
}

const keysOf = (name: string): string[] => (name === "todo" ? ["todowrite", "todoread"] : [name]);

const expandHome = (pattern: string): string => pattern.replace(/^(~|\$HOME)(?=\/|$)/, homedir());

/** The last rule that matches, or none. */
export const findRule = (rules: Rule[], { keys, texts, strictTexts = [] }: Subject): Rule | undefined =>
  rules.findLast(
    ({ key, pattern, action }) =>
      keys.some((name) => matchesWildcard(name, key)) &&
      (action === "allow" ? texts : [...texts, ...strictTexts]).some((text) => matchesWildcard(text, pattern)),
  );

/**
 * The strictest rule for `keys` that denies or asks, whatever its pattern: for what cannot be understood. A rule that a
 * later `*` covers is out of force.
 */
export function findStrictest(rules: Rule[], keys: string[]): Rule | undefined {
  const own = rules.filter(({ key }) => keys.some((name) => matchesWildcard(name, key)));
  const inForce = own.slice(
    Math.max(
      0,
      own.findLastIndex(({ pattern }) => pattern === "*"),
    ),
  );
  return inForce.find(({ action }) => action === "deny") ?? inForce.find(({ action }) => action === "ask");
}

export const describeRule = ({ key, pattern, action }: Rule): string => `${key} ${JSON.stringify(pattern)}: ${JSON.stringify(action)}`;
