import { relative, resolve } from "node:path";
import { type Decision, matchesWildcard, type PermissionRequest, type PermissionVerdict } from "agent-runtime";
import { patternsForAlways } from "./always.ts";
import { forgetPaths, isInside, outside, realPathOf } from "./reach.ts";
import { READ_ONLY_COMMANDS } from "./reading-programs.ts";
import { describeRule, findRule, findStrictest, flattenRules, type PermissionMap, type Rule, type Subject } from "./rules.ts";
import { readShell } from "./shell.ts";
import type { IsSecret, ShellCommand, ShellReading } from "./shell-reading.ts";
import { packageCommandsOf, programOf } from "./unwrap.ts";

export type PermissionMode = "auto" | "ask" | "plan" | "readonly" | "yolo";

export interface Policy {
  mode: PermissionMode;
  map: PermissionMap | undefined;
  cwd: string;
  roots: readonly string[];
  /** Whether secrets are at a real path. */
  isSecret?: IsSecret | undefined;
}

/** What is known of a call: its request, and the bash text in it once that is read. */
interface Case {
  request: PermissionRequest;
  reading?: ShellReading;
  rules: Rule[];
  policy: Policy;
}

const ALLOW: PermissionVerdict = { decision: "allow" };
const STRICTNESS = { allow: 0, ask: 2, deny: 3 };

/** The mode and the rules together, and what is known of what the call does. */
export async function judge(request: PermissionRequest, given: Policy): Promise<PermissionVerdict> {
  forgetPaths();
  const policy = { ...given, roots: [...new Set([given.cwd, ...given.roots])].map(realPathOf) };
  const rules = flattenRules(policy.map);
  const isFree = policy.mode === "yolo" && rules.length === 0;
  const command = commandOf(request);
  // Where nothing is refused, nothing is refused because it could not be read either.
  const reading = command === undefined ? undefined : await readCommand(command, request, policy).catch(isFree ? () => undefined : undefined);
  const verdict = isFree ? ALLOW : judgeCase({ request, rules, policy, ...(reading && { reading }) });
  const onlyReads = reading !== undefined && reading.problem === undefined && reading.change === undefined;
  const always = verdict.decision === "ask" && reading !== undefined ? patternsForAlways(reading) : undefined;
  return { ...verdict, ...(onlyReads && { effect: "read" as const }), ...(always !== undefined && { always }) };
}

/** Rules loosen only what the mode asks; what the mode refuses stays refused. */
function judgeCase(found: Case): PermissionVerdict {
  const { reading, policy } = found;
  if (reading?.secret !== undefined && policy.mode !== "yolo") return denySecret(reading.secret);
  const byMode = judgeByMode(found);
  if (byMode.decision === "deny") return byMode;
  const byRules = judgeByRules(found);
  if (byRules === undefined) return byMode;
  // What is not understood, or reaches outside, is not what a rule had in mind when it allowed.
  const isDoubtful =
    byMode.decision === "ask" &&
    reading !== undefined &&
    (reading.problem ?? reading.reach ?? reading.commands.find(({ opaque }) => opaque)?.opaque) !== undefined;
  return isDoubtful && byRules.decision === "allow" ? byMode : byRules;
}

function commandOf({ permission, input, patterns }: PermissionRequest): string | undefined {
  if (permission !== "bash") return undefined;
  return textOf(input, "command") ?? (patterns.length > 0 ? patterns.join("\n") : undefined);
}

async function readCommand(command: string, { input }: PermissionRequest, { cwd, roots, isSecret }: Policy): Promise<ShellReading> {
  const workdir = textOf(input, "workdir");
  const directory = realPathOf(resolve(cwd, workdir ?? ""));
  const reading = await readShell(command, { directory, roots, isSecret });
  return isInside(directory, roots) ? reading : { ...reading, reach: `the workdir ${outside(workdir ?? cwd)}` };
}

const textOf = (input: unknown, key: string): string | undefined => {
  const value: unknown = typeof input === "object" && input !== null ? (input as Record<string, unknown>)[key] : undefined;
  return typeof value === "string" ? value : undefined;
};

function judgeByMode(found: Case): PermissionVerdict {
  const { request, reading, policy } = found;
  switch (policy.mode) {
    case "yolo":
      return ALLOW;
    case "ask":
      return request.effect === "read" || request.effect === "ask" ? ALLOW : { decision: "ask", reason: `${request.tool} needs the permission of a person` };
    case "auto":
      return judgeReach(reading, policy);
    case "plan":
    case "readonly":
      return judgeReadOnly(found);
  }
}

const deny = (reason: string): PermissionVerdict => ({ decision: "deny", reason });

const denySecret = (path: string): PermissionVerdict =>
  deny(
    `"${path}" is a secret file, and commands may not open files where secrets are in any permission mode but yolo. Do without it; a person can allow it in the user's configuration: "permission": { "read": { ${JSON.stringify(path)}: "allow" } }.`,
  );

function judgeReach(reading: ShellReading | undefined, { cwd }: Policy): PermissionVerdict {
  if (reading?.problem !== undefined) return deny(`the command cannot be parsed as bash (${reading.problem}). Correct it, or split it into simpler commands.`);
  if (reading?.reach === undefined) return ALLOW;
  return deny(
    `${reading.reach}, and permission mode "auto" keeps commands inside it. Use paths below ${cwd}; a person can add a folder with --add-dir, or choose another --permission-mode.`,
  );
}

function judgeReadOnly({ request, reading, policy }: Case): PermissionVerdict {
  const mode = `permission mode "${policy.mode}"`;
  const wayOut = "Read what is needed and describe the change in the answer; a person can choose another --permission-mode.";
  if (reading === undefined) {
    return request.effect !== "write" && request.effect !== "run"
      ? ALLOW
      : deny(`${mode} allows nothing that changes or runs something, and ${request.tool} does. ${wayOut}`);
  }
  if (reading.problem !== undefined || reading.reach !== undefined)
    return deny(`${reading.reach ?? `the command cannot be parsed as bash (${reading.problem})`}; ${mode} allows only what reads inside the workspace.`);
  if (reading.change === undefined) return ALLOW;
  return deny(`${mode} allows only commands that provably read, and this has: ${reading.change}. Commands: ${READ_ONLY_COMMANDS}. ${wayOut}`);
}

/** The strictest of what the rules say; undefined where one part has no rule and none is stricter. */
function judgeByRules(found: Case): PermissionVerdict | undefined {
  if (found.rules.length === 0) return undefined;
  if (found.request.permission === "bash" && found.reading === undefined) return judgeByName(found);
  const verdicts = found.reading === undefined ? judgeSubjects(found) : judgeShell(found, found.reading);
  const strictest = verdicts.reduce((a, b) => (strictness(b) > strictness(a) ? b : a));
  return strictest;
}

/** What is ruled as bash is and runs no command, as a look at one that runs: what was allowed to start may be looked at and ended, unless a rule names that. */
function judgeByName({ rules, request: { tool } }: Case): PermissionVerdict | undefined {
  const own = rules.filter(({ key }) => !matchesWildcard("bash", key));
  return verdictOf(findRule(own, { keys: [tool], texts: ["*"] }), tool);
}

const strictness = (verdict: PermissionVerdict | undefined): number => (verdict === undefined ? 1 : STRICTNESS[verdict.decision]);

function judgeSubjects({ request, rules, policy }: Case): (PermissionVerdict | undefined)[] {
  const keys = [request.permission, request.tool];
  const patterns = request.patterns.length > 0 ? request.patterns : ["*"];
  return patterns.map((pattern) => {
    const subject = PATH_PERMISSIONS.has(request.permission) ? pathSubject(keys, pattern, policy) : textSubject(keys, pattern, request);
    return verdictOf(findRule(rules, subject), pattern === "*" ? request.tool : pattern);
  });
}

const PATH_PERMISSIONS = new Set(["read", "edit", "write", "glob", "grep", "list", "patch", "multiedit"]);

/** A path as the map names it: relative to the workspace, or absolute. A rule that denies also matches what a link leads to or hides. */
function pathSubject(keys: string[], path: string, { cwd }: Policy): Subject {
  const full = resolve(cwd, path);
  const real = realPathOf(full);
  const shown = (absolute: string) => (isInside(absolute, [cwd]) ? relative(cwd, absolute) || "." : absolute);
  return { keys, texts: [shown(real), real], strictTexts: [path, shown(full), full] };
}

/** A URL is also matched without the slash that stands for its root; a rule that denies, also as the call spells it. */
function textSubject(keys: string[], pattern: string, { input }: PermissionRequest): Subject {
  const spelt = textOf(input, "url");
  return { keys, texts: [pattern, pattern.replace(/^(https?:\/\/[^/]+)\/$/, "$1")], ...(spelt !== undefined && { strictTexts: [spelt] }) };
}

const BASH = ["bash"];

function judgeShell({ rules, policy }: Case, { commands, redirects, problem, reach }: ShellReading): (PermissionVerdict | undefined)[] {
  const strictest = findStrictest(rules, BASH);
  const verdicts = commands.filter((command) => programOf(command.words) !== "cd").map((command) => judgeCommand(command, rules, strictest));
  if (problem !== undefined && strictest !== undefined) verdicts.push(verdictOf(strictest, `what cannot be parsed (${problem})`));
  // Which directory is meant may not be known, so the strictest rule counts; one that allows lifts nothing: see --add-dir.
  const outside = reach === undefined ? undefined : findStrictest(rules, ["external_directory"]);
  if (outside !== undefined) verdicts.push(verdictOf(outside, `what reaches outside (${reach})`));
  for (const { path, access } of redirects) {
    const rule = findRule(rules, pathSubject(access === "write" ? ["edit"] : ["read"], path, policy));
    // Reading needs no rule, as in the read tool; writing without one is for the mode to judge.
    if (rule !== undefined || access === "write") verdicts.push(verdictOf(rule, path));
  }
  return verdicts.length > 0 ? verdicts : [undefined];
}

function judgeCommand({ words, opaque }: ShellCommand, rules: Rule[], strictest: Rule | undefined): PermissionVerdict | undefined {
  const values = words.map(({ value }) => value).join(" ");
  const named = [programOf(words), ...words.slice(1).map(({ value }) => value)].join(" ");
  const own = verdictOf(
    findRule(rules, { keys: BASH, texts: [values, words.map(({ text }) => text).join(" ")], strictTexts: [named, ...packageCommandsOf(words)] }),
    values,
  );
  if (opaque === undefined || strictest === undefined) return own;
  const forOpaque = verdictOf(strictest, `"${shorten(values)}", because ${opaque}`);
  return strictness(forOpaque) > strictness(own) ? forOpaque : own;
}

function verdictOf(rule: Rule | undefined, subject: string): PermissionVerdict | undefined {
  if (rule === undefined) return undefined;
  const named = subject.startsWith('"') ? subject : `"${shorten(subject)}"`;
  const reasons: Record<Decision, string | undefined> = {
    allow: undefined,
    ask: `the rule ${describeRule(rule)} asks a person about ${named}`,
    deny: `the rule ${describeRule(rule)} forbids ${named}. Do without it, or say in the answer which rule stands in the way.`,
  };
  const reason = reasons[rule.action];
  return { decision: rule.action, ...(reason !== undefined && { reason }) };
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
