import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PermissionVerdict } from "agent-runtime";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import permissions from "../../plugins/permissions/index.ts";
import { everydayCommands, writingCommands } from "../fixtures/commands.ts";
import { cpuMsOf } from "../fixtures/timing.ts";

let root: string;
let cwd: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "permissions-properties-")));
  cwd = join(root, "work");
  for (const folder of ["work/src", "work/docs", "outside"]) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, "outside/secret.txt"), "secret\n");
  for (const file of ["a.txt", "x", "package.json", "src/index.ts"]) writeFileSync(join(cwd, file), "a\n");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function judge(command: string, config: object): Promise<PermissionVerdict> {
  const { hooks } = await permissions.setup({ config: {} } as never);
  const request = { tool: "bash", permission: "bash", effect: "run", input: { command }, patterns: [command], callId: "call_1" };
  const context = { cwd, config, sessionId: "ses_1", model: "demo/echo", signal: new AbortController().signal };
  return (await hooks!.permission!(request as never, context as never)) as PermissionVerdict;
}
const decide = async (command: string, config: object) => (await judge(command, config)).decision;

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Ways to run a command within another text. Some make no sense around some: what bash would not take may be refused for that. */
const WRAPPINGS: ((command: string) => string)[] = [
  (c) => `env ${c}`,
  (c) => `env -i A=b ${c}`,
  (c) => `timeout -s KILL 5 ${c}`,
  (c) => `nice -n 5 ${c}`,
  (c) => `nohup ${c}`,
  (c) => `setsid -w ${c}`,
  (c) => `stdbuf -oL ${c}`,
  (c) => `command ${c}`,
  (c) => `exec ${c}`,
  (c) => `xargs -n 1 ${c}`,
  (c) => `busybox ${c}`,
  (c) => `{ time ${c}; }`,
  (c) => `{ ! ${c}; }`,
  (c) => `(A=b ${c})`,
  (c) => `( ${c})`,
  (c) => `{ ${c}; }`,
  (c) => `{ ${c}\n}`,
  (c) => `${c} | cat`,
  (c) => `echo y | ${c}`,
  (c) => `${c} 2>/dev/null`,
  (c) => `</dev/null ${c}`,
  (c) => `ls && ${c}`,
  (c) => `false || ${c}`,
  (c) => `ls; ${c}`,
  (c) => `ls\n${c}`,
  (c) => `ls & ${c}`,
  (c) => `${c} &`,
  (c) => `${c}; ls`,
  (c) => `${c} # done`,
  (c) => `if :; then ${c}; fi`,
  (c) => `if ${c}; then ls; fi`,
  (c) => `if false; then ls; else ${c}; fi`,
  (c) => `while ${c}; do break; done`,
  (c) => `for i in 1 2; do ${c}; done`,
  (c) => `case x in x) ${c};; esac`,
  (c) => `f() { ${c}; }; f`,
  (c) => `echo "$( ${c})"`,
  (c) => `echo \`${c.replaceAll("\\", "\\\\").replaceAll("`", "\\`")}\``,
  (c) => `cat <(${c})`,
  (c) => `x=$( ${c})`,
  (c) => `echo "\${y:-$( ${c})}"`,
  (c) => `[[ -n $( ${c}) ]]`,
  (c) => `echo $((1 + $( ${c})))`,
  (c) => `cat <<END\n$( ${c})\nEND`,
  (c) => `sh -c ${quote(c)}`,
  (c) => `bash -euc ${quote(c)}`,
  (c) => `eval ${quote(c)}`,
  (c) => `trap ${quote(c)} EXIT`,
  (c) => `bash <<< ${quote(c)}`,
  (c) => `bash <<'END'\n${c}\nEND`,
  (c) => `printf %s ${quote(c)} | sh`,
  (c) => `env -S ${quote(c)}`,
  (c) => `watch -n 1 ${quote(c)}`,
  (c) => `{ coproc ${c}; }`,
];
const wrapping = fc.array(fc.constantFrom(...WRAPPINGS), { maxLength: 4 });
const wrap = (command: string, wrappings: ((command: string) => string)[]): string => wrappings.reduce((text, each) => each(text), command);

/** One character of a word as the shell reads it. */
const SPELLINGS: ((character: string) => string)[] = [
  (c) => c,
  (c) => `\\${c}`,
  (c) => `'${c}'`,
  (c) => `"${c}"`,
  (c) => `""${c}`,
  (c) => `$'\\x${c.charCodeAt(0).toString(16)}'`,
  (c) => `$'\\${c.charCodeAt(0).toString(8).padStart(3, "0")}'`,
  (c) => `$'\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}'`,
  (c) => `\\\n${c}`,
];
const spelled = (word: string) =>
  fc.array(fc.constantFrom(...SPELLINGS), { minLength: word.length, maxLength: word.length }).map((ways) => ways.map((way, at) => way(word[at]!)).join(""));

/** The same cases in every run. */
const given = { seed: Number(process.env.PROPERTY_SEED ?? 20_250_101), numRuns: Number(process.env.PROPERTY_RUNS ?? 120) };

describe("however a command is wrapped and spelt", () => {
  test.each(["auto", "yolo"])("a rule that denies it holds in mode %s", async (permissionMode) => {
    const config = { permissionMode, permission: { bash: { "*": "allow", "rm *": "deny" } } };
    await fc.assert(
      fc.asyncProperty(spelled("rm"), wrapping, async (program, wrappings) => {
        const command = wrap(`${program} x`, wrappings);
        expect([command, await decide(command, config)]).toEqual([command, "deny"]);
      }),
      given,
    );
  });

  test("what reaches outside is refused in mode auto", async () => {
    await fc.assert(
      fc.asyncProperty(spelled("../outside/secret.txt"), wrapping, async (path, wrappings) => {
        const command = wrap(`cat ${path}`, wrappings);
        expect([command, await decide(command, { permissionMode: "auto" })]).toEqual([command, "deny"]);
      }),
      given,
    );
  });

  test("what is refused where commands only read stays so", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...writingCommands()), wrapping, async (writing, wrappings) => {
        const command = wrap(writing, wrappings);
        expect([command, await decide(command, { permissionMode: "readonly" })]).toEqual([command, "deny"]);
      }),
      given,
    );
  });
});

describe("whatever reads", () => {
  const JOINS: ((a: string, b: string) => string)[] = [
    (a, b) => `${a} && ${b}`,
    (a, b) => `${a} || ${b}`,
    (a, b) => `${a}; ${b}`,
    (a, b) => `${a}\n${b}`,
    (a, b) => `(${a}); ${b}`,
    (a, b) => `{ ${a}; } && ${b}`,
    (a, b) => `if ${a}; then ${b}; fi`,
    (a) => `(${a}) 2>/dev/null | head -5`,
  ];
  test("still reads beside something else that does", async () => {
    const config = { permissionMode: "readonly" };
    const verdicts = await Promise.all(everydayCommands().map(async (command) => ({ command, decision: await decide(command, config) })));
    // What moves the shell decides what a path behind it means.
    const reading = verdicts.filter(({ command, decision }) => decision === "allow" && !/\bcd\b/.test(command)).map(({ command }) => command);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...reading), fc.constantFrom(...reading), fc.constantFrom(...JOINS), async (a, b, join) => {
        const command = join(a, b);
        expect([command, await decide(command, config)]).toEqual([command, "allow"]);
      }),
      given,
    );
  });
});

describe("any text", () => {
  const TOKENS =
    "rm x ls git status cd src .. ../outside/secret.txt .env $X ${X} ${X:-y} ${!X} $( ) ` ' \" \\ ; & && | || > >> < <( ( ) { } [[ ]] (( )) if then fi for in do done while case esac f() function * ? [ ] {a,b} ~ / - -- -o = ! # $'\\x72m' <<EOF EOF <<< \n \t \0 é 😀 eval sh -c xargs find -exec {} ; sed awk".split(
      " ",
    );
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.string({ unit: "binary", maxLength: 100 }),
    fc.array(fc.constantFrom(...TOKENS), { maxLength: 60 }).map((tokens) => tokens.join(" ")),
    fc.array(fc.constantFrom(...TOKENS), { maxLength: 60 }).map((tokens) => tokens.join("")),
    fc.tuple(fc.constantFrom(...TOKENS), fc.integer({ min: 1, max: 2000 })).map(([token, times]) => `ls ${token.repeat(times)}`),
    fc.tuple(fc.constantFrom(...TOKENS), fc.integer({ min: 1, max: 300 })).map(([token, times]) => `sed -n '${`${token} `.repeat(times)}' a.txt`),
  );

  test("gets a verdict, and soon", async () => {
    await judge("ls", {});
    await fc.assert(
      fc.asyncProperty(text, fc.constantFrom("auto", "ask", "plan", "readonly", "yolo"), async (command, permissionMode) => {
        const ms = await cpuMsOf(async () => {
          const { decision } = await judge(command, { permissionMode, permission: { bash: { "*": "allow", "rm *": "deny" } } });
          expect(["allow", "ask", "deny"]).toContain(decision);
        });
        expect(ms, command.slice(0, 100)).toBeLessThan(5000);
      }),
      given,
    );
  });
});
