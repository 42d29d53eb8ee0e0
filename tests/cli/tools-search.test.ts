import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { timeBeside } from "../fixtures/timing.ts";
import { type CommandRun, isBuilt, JSON_OUT, MODEL, makeHome, makeHomeWith, ofType, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { type Call, processesWith, runTools, statesOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

/** A workspace whose files are the older, the later they stand in the list. */
function makeAgedHome(files: Record<string, string>): string {
  const home = makeHomeWith(Object.fromEntries(Object.entries(files).map(([path, text]) => [`work/${path}`, text])));
  for (const [age, path] of Object.keys(files).entries()) utimesSync(join(home, "work", path), 1_700_000_000 - age * 60, 1_700_000_000 - age * 60);
  return home;
}

describe.skipIf(!isBuilt)("list, glob and grep", () => {
  test("find what is there, newest first, without what is ignored", async () => {
    const home = makeAgedHome({
      "src/new.ts": "needle(1);\n",
      "README.md": "no\nneedle\n",
      "src/old.ts": "needle(2);\n",
      ".env.example": "x",
      "dist/x.ts": "needle",
      ".gitignore": "dist\n",
    });
    const calls: Call[] = [
      ["list", {}],
      ["list", { path: "src", ignore: ["old*"] }],
      ["glob", { pattern: "**/*.ts" }],
      ["glob", { pattern: "*.{md,example}", path: "." }],
      ["glob", { pattern: "!*.ts", path: "src" }],
      ["grep", { pattern: "needle" }],
      ["grep", { pattern: "NEEDLE|\\(2\\)", include: "*.ts" }],
      ["grep", { pattern: "needle", path: "src/new.ts" }],
      ["grep", { pattern: "needle", include: "!*.ts" }],
      ["grep", { pattern: "nowhere" }],
    ];
    const run = await runTools(calls, { home });
    expect(statesOf(run).every((state) => state.endsWith(":completed"))).toBe(true);
    expect(run.outputs).toEqual([
      "./\n  .env.example\n  .gitignore\n  README.md\n  src/\n    new.ts\n    old.ts",
      "src/\n  new.ts",
      "src/new.ts\nsrc/old.ts",
      "README.md\n.env.example",
      "No files found",
      "Found 3 matches\nsrc/new.ts:\n  Line 1: needle(1);\n\nREADME.md:\n  Line 2: needle\n\nsrc/old.ts:\n  Line 1: needle(2);",
      "Found 1 match\nsrc/old.ts:\n  Line 1: needle(2);",
      "Found 1 match\nsrc/new.ts:\n  Line 1: needle(1);",
      "Found 1 match\nREADME.md:\n  Line 2: needle",
      "No matches found",
    ]);
  });

  test("show 100 and say how many there are and how to see others", async () => {
    const home = makeHomeWith(Object.fromEntries(Array.from({ length: 130 }, (_, index) => [`work/many/${index}.txt`, "needle\n".repeat(3)])));
    const calls: Call[] = [
      ["list", {}],
      ["glob", { pattern: "*.txt" }],
      ["grep", { pattern: "needle" }],
      ["read", { filePath: "many" }],
    ];
    const run = await runTools(calls, { home });
    expect(run.outputs.map((output) => output.split("\n").at(-1))).toEqual([
      "(100 of 131 entries shown. Use path or ignore to narrow.)",
      "(100 of 130 files shown, newest first. Use a narrower pattern or path.)",
      "(They are in 130 files, newest first. To see others, use a narrower pattern, path or include.)",
      "(30 more entries. Use glob with a pattern to find one.)",
    ]);
    expect(run.outputs[2]?.split("\n").filter((line) => line.startsWith("  Line "))).toHaveLength(100);
    expect(run.outputs[2]).toMatch(/^Found 100 of 390 matches\n/);
    expect(Object.fromEntries(ofType(run, "tool_use").map(({ part }) => [part.tool, part.state.metadata]))).toEqual({
      list: { count: 131, truncated: true },
      glob: { count: 130, truncated: true },
      grep: { matches: 390, files: 130, truncated: true },
      read: { entries: 130 },
    });
  });

  test("say what is wrong with what they are given", async () => {
    const home = makeHomeWith({ "work/a.txt": "x", "work/app/[id]/p.ts": "" });
    const long = "x".repeat(5000);
    const cases: [...Call, string][] = [
      ["list", { path: "a.txt" }, "a.txt is not a directory.\nUse read for a file."],
      ["list", { path: "ap" }, "File not found: ap\nDid you mean one of these?\napp"],
      ["list", { path: long }, `${"x".repeat(200)}… is not a usable path: it has more than 4096 characters.`],
      ["list", { ignore: ["["] }, `The pattern "[" is invalid: error parsing glob '![': unclosed character class; missing ']'`],
      ["glob", { pattern: "" }, 'The pattern "" is invalid: it is empty.'],
      ["glob", { pattern: "{a" }, `The pattern "{a" is invalid: error parsing glob '{a': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)`],
      ["glob", { pattern: "*.txt", path: "a.txt" }, "a.txt is not a directory.\nUse read for a file."],
      ["glob", { pattern: long }, "No files found"],
      ["glob", { pattern: "x".repeat(20_000) }, `The pattern "${"x".repeat(100)}…" is invalid: it is longer than 10000 characters.`],
      ["glob", { pattern: "app" }, "No files found\n(app is a directory. Use list for it.)"],
      [
        "glob",
        { pattern: "app/[id]/p.ts" },
        "No files found\n(There is a file app/[id]/p.ts. In a pattern, write a backslash before brackets and braces that belong to a name.)",
      ],
      ["grep", { pattern: "(" }, 'The pattern "(" is invalid: regex parse error:\n    (?:()\n    ^\nerror: unclosed group'],
      ["grep", { pattern: "x", include: "[" }, `The pattern "[" is invalid: error parsing glob '[': unclosed character class; missing ']'`],
      ["grep", { pattern: "y".repeat(1_000_000) }, `The pattern "${"y".repeat(100)}…" is invalid: it is longer than 10000 characters.`],
      ["grep", { pattern: "a\0" }, 'The pattern "a\\u0000" is invalid: it has a NUL character.'],
      ["grep", { pattern: "x", path: "nope" }, "File not found: nope"],
    ];
    const run = await runTools(
      cases.map(([name, input]): Call => [name, input]),
      { home },
    );
    expect(run.outputs).toEqual(cases.map(([, , text]) => text));
    expect(run.code).toBe(0);
  });

  test("know no place outside the workspace", async () => {
    const home = makeHomeWith({ "S/x": "CANARY", "work-evil/x": "CANARY", "work/in/a.txt": "CANARY-free\n" });
    const work = join(home, "work");
    for (const [name, target] of Object.entries({ file: "../S/x", chain: "file", dir: "../S", loop: "loop", round: ".", inner: "in" }))
      symlinkSync(target, join(work, name));
    const places = ["../S", join(home, "S"), `${work}/../S`, `${work}-evil`, "dir"];
    const calls: Call[] = [
      ...places.map((path): Call => ["list", { path }]),
      ...places.map((path): Call => ["glob", { pattern: `${path}/*` }]),
      ...[...places, "chain"].map((path): Call => ["grep", { pattern: "CANARY", path }]),
    ];
    const run = await runTools(
      [...calls, ["grep", { pattern: "CANARY" }], ["glob", { pattern: "**/x" }], ["list", {}], ["grep", { pattern: "free", path: "inner" }]],
      { home },
    );
    for (const [index, output] of run.outputs.slice(0, -4).entries())
      expect(output, JSON.stringify(calls[index])).toMatch(/^\S+ is outside the workspace\.\nUse a path below \S+\.$/);
    expect(run.outputs.slice(-4)).toEqual([
      "Found 1 match\nin/a.txt:\n  Line 1: CANARY-free",
      "No files found",
      "./\n  in/\n    a.txt",
      "Found 1 match\nin/a.txt:\n  Line 1: CANARY-free",
    ]);
    const unusable = await runTools(
      ["~/x", "file:///S", "a\0b", "loop"].flatMap((path): Call[] => [
        ["list", { path }],
        ["grep", { pattern: "x", path }],
      ]),
      { home },
    );
    expect(unusable.outputs.every((output) => /is not a usable path: /.test(output))).toBe(true);
  });

  test("are not held up by patterns that are hard, and end with the run that is interrupted", async () => {
    const home = makeHome();
    mkdirSync(join(home, "work/slow"));
    writeFileSync(join(home, "work/a.txt"), `${"a".repeat(50_000)}!\n${"a,".repeat(25_000)}\n`);
    // Without a place to begin at, and with 2^500 ways: this takes longer than any limit.
    writeFileSync(
      join(home, "work/slow/b.txt"),
      `${Array.from({ length: 1000 }, (_, row) => (row * 7919 + 1).toString(2).repeat(100))
        .join("\n")
        .replace(/0/g, "b")
        .replace(/1/g, "a")}\n`,
    );
    const easy = await runTools(
      [
        ["grep", { pattern: "(a+)+$", path: "a.txt" }],
        ["grep", { pattern: "(.*,){20}x", path: "a.txt" }],
      ],
      { home },
    );
    expect(easy.outputs).toEqual(["No matches found", "No matches found"]);
    const pattern = "a[ab]{501}\\d";
    let sentAt = 0;
    const onSpawn: CommandRun["onSpawn"] = (child) =>
      void until(() => processesWith(`--regexp=${pattern}`).length > 0).then(() => {
        sentAt = performance.now();
        child.kill("SIGINT");
      });
    const { value: run, hopMs } = await timeBeside(() =>
      runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go"], script: [turn(["grep", { pattern }])], onSpawn }),
    );
    expect([run.code, resultOf(run).status]).toEqual([130, "interrupted"]);
    expect(performance.now() - sentAt).toBeLessThan(3000 + 10 * hopMs);
    expect(processesWith(`--regexp=${pattern}`)).toEqual([]);
  });
});
