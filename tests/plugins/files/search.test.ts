import { execFileSync } from "node:child_process";
import { chmod, mkdir, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const output = async (name: string, input: Record<string, unknown>) => (await world.call(name, input)).output;

/** Files whose age in minutes is their place in the list. */
async function putByAge(...paths: string[]) {
  for (const [age, path] of paths.entries()) {
    const file = await world.put(path, `needle in ${path}\n`);
    const time = new Date(Date.now() - age * 60_000);
    await utimes(file, time, time);
  }
}

describe("list", () => {
  test("shows a tree without what the ignore files name", async () => {
    for (const path of ["b.ts", "src/a.ts", "src/deep/c.ts", ".env.example", "dist/x.js", ".git/HEAD", "node_modules/m/i.js"]) await world.put(path, "");
    await world.put(".gitignore", "dist\n");
    expect(await output("list", {})).toBe("./\n  .env.example\n  .gitignore\n  b.ts\n  src/\n    a.ts\n    deep/\n      c.ts");
    expect(await output("list", { path: "src", ignore: ["deep"] })).toBe("src/\n  a.ts");
    expect(await output("list", { path: "node_modules" })).toBe("node_modules/\n  m/\n    i.js");
  });

  test("shows the 100 entries nearest to the root, and how many more there are", async () => {
    for (let index = 0; index < 120; index += 1) await world.put(`src/${String(index).padStart(3, "0")}.ts`, "");
    await world.put("zoo/a.ts", "");
    const lines = (await output("list", {})).split("\n");
    expect(lines.slice(0, 3)).toEqual(["./", "  src/", "    000.ts"]);
    expect(lines.slice(-5)).toEqual(["    ... 22 more", "  zoo/", "    ... 1 more", "", "(100 of 123 entries shown. Use path or ignore to narrow.)"]);
  });

  test("says when there is nothing", async () => {
    await mkdir(join(world.cwd, "empty/inner"), { recursive: true });
    expect(await output("list", { path: "empty/inner" })).toBe("The directory empty/inner is empty.");
    expect(await output("list", { path: "empty" })).toBe("The directory empty has no files that are not ignored, only 1 entry: inner.");
  });

  test("refuses files, missing directories and broken patterns", async () => {
    await world.put("a.txt", "");
    expect(await world.fail("list", { path: "a.txt" })).toBe("a.txt is not a directory.\nUse read for a file.");
    expect(await world.fail("list", { path: "b" })).toBe("File not found: b");
    expect(await output("list", { path: "", ignore: [""] })).toBe("./\n  a.txt");
    expect(await world.fail("list", { ignore: ["a{"] })).toMatch(/^The pattern "a\{" is invalid: error parsing glob '!a\{'/);
  });
});

describe("glob", () => {
  test("finds by name in every directory, newest first", async () => {
    await putByAge("src/a.ts", "b.ts", "src/deep/c.ts", "d.js");
    expect(await output("glob", { pattern: "*.ts" })).toBe("src/a.ts\nb.ts\nsrc/deep/c.ts");
    expect(await output("glob", { pattern: "*.ts", path: "src" })).toBe("src/a.ts\nsrc/deep/c.ts");
  });

  test.each([
    ["**/*.{ts,js}", "src/a.ts b.ts src/deep/c.ts d.js"],
    ["**/*", "src/a.ts b.ts src/deep/c.ts d.js"],
    ["src/**", "src/a.ts src/deep/c.ts"],
    ["src/*.ts", "src/a.ts"],
    ["./*.ts", "b.ts"],
    ["src/**/c.ts", "src/deep/c.ts"],
    ["*/deep/*.ts", "src/deep/c.ts"],
    ["**/deep/**", "src/deep/c.ts"],
    ["{src,lib}/**/*.ts", "src/a.ts src/deep/c.ts"],
    ["src/a.ts", "src/a.ts"],
    ["nothing/*.ts", "No files found"],
  ])("understands %s", async (pattern, found) => {
    await putByAge("src/a.ts", "b.ts", "src/deep/c.ts", "d.js");
    expect((await output("glob", { pattern })).split("\n").join(" ")).toBe(found);
  });

  test("means all other files by a pattern that begins with !, and says what a name without wildcards is", async () => {
    for (const path of ["a.ts", "b.txt", "app/[id]/page.tsx", "out/x.ts"]) await world.put(path, "needle\n");
    await world.put(".gitignore", "out\n");
    expect((await output("glob", { pattern: "!*.ts" })).split("\n").sort()).toEqual([".gitignore", "app/[id]/page.tsx", "b.txt"]);
    expect(await output("grep", { pattern: "needle", include: "!*.tsx", path: "" })).toMatch(/^Found 2 matches\n[ab]/);
    expect(await output("glob", { pattern: "app" })).toBe("No files found\n(app is a directory. Use list for it.)");
    expect(await output("glob", { pattern: "app/[id]/page.tsx" })).toBe(
      "No files found\n(There is a file app/[id]/page.tsx. In a pattern, write a backslash before brackets and braces that belong to a name.)",
    );
    expect(await output("glob", { pattern: "app/\\[id\\]/*" })).toBe("app/[id]/page.tsx");
  });

  test("takes an absolute pattern inside the workspace, and no pattern that leads out", async () => {
    await putByAge("src/a.ts");
    expect(await output("glob", { pattern: `${world.cwd}/src/*.ts` })).toBe("src/a.ts");
    for (const pattern of ["../outside/*", "/etc/**", "src/../../outside/*"]) expect(await world.fail("glob", { pattern })).toMatch(/is outside the workspace/);
  });

  test("leaves out what the ignore files name, and what belongs to git, whatever the pattern", async () => {
    for (const path of ["packages/a/src/x.ts", "packages/a/node_modules/m/y.ts", ".git/z.ts"]) await world.put(path, "");
    await world.put(".gitignore", "node_modules\n");
    for (const pattern of ["*.ts", "**/*", "packages/**/*", "packages/*/**/*", "**/*.ts"]) {
      expect(
        (await output("glob", { pattern })).split("\n").filter((file) => file !== ".gitignore"),
        pattern,
      ).toEqual(["packages/a/src/x.ts"]);
    }
  });

  test("shows 100 and counts the others", async () => {
    for (let index = 0; index < 105; index += 1) await world.put(`${index}.ts`, "");
    await putByAge("newest.ts");
    const lines = (await output("glob", { pattern: "*.ts" })).split("\n");
    expect(lines).toHaveLength(102);
    expect(lines.at(-1)).toBe("(100 of 106 files shown, newest first. Use a narrower pattern or path.)");
  });

  test("says what is wrong with a pattern", async () => {
    expect(await world.fail("glob", { pattern: "a{" })).toMatch(/^The pattern "a\{" is invalid: error parsing glob 'a\{': unclosed/);
    expect(await world.fail("glob", { pattern: "" })).toBe('The pattern "" is invalid: it is empty.');
    expect(await world.fail("glob", { pattern: "*a\0b" })).toBe('The pattern "*a\\u0000b" is invalid: it has a NUL character.');
  });

  test("follows no link", async () => {
    await writeFile(join(world.outside, "secret.ts"), "");
    await symlink(world.outside, join(world.cwd, "link"));
    await symlink(".", join(world.cwd, "loop"));
    expect(await output("glob", { pattern: "**/*.ts" })).toBe("No files found");
    expect(await world.fail("glob", { pattern: "link/*.ts" })).toMatch(/outside the workspace/);
  });
});

describe("grep", () => {
  test("groups matches by file, newest first", async () => {
    await putByAge("b.txt", "src/a.ts");
    await world.put("none.txt", "other");
    expect(await output("grep", { pattern: "need[l]e" })).toBe("Found 2 matches\nb.txt:\n  Line 1: needle in b.txt\n\nsrc/a.ts:\n  Line 1: needle in src/a.ts");
    expect(await output("grep", { pattern: "needle", include: "*.ts" })).toBe("Found 1 match\nsrc/a.ts:\n  Line 1: needle in src/a.ts");
    expect(await output("grep", { pattern: "needle", include: "src/**" })).toMatch(/^Found 1 match\nsrc\/a\.ts:/);
    expect(await output("grep", { pattern: "needle", path: "src" })).toMatch(/^Found 1 match\nsrc\/a\.ts:/);
    expect(await output("grep", { pattern: "needle", path: "b.txt" })).toMatch(/^Found 1 match\nb\.txt:/);
    expect(await output("grep", { pattern: "nowhere" })).toBe("No matches found");
  });

  test("takes a pattern that begins with a dash, and the end of lines with returns", async () => {
    await world.put("a.txt", "--flag here\r\nplain\r\n");
    expect(await output("grep", { pattern: "--flag" })).toBe("Found 1 match\na.txt:\n  Line 1: --flag here");
    expect(await output("grep", { pattern: "-e" })).toBe("No matches found");
    expect(await output("grep", { pattern: "plain$" })).toMatch(/Line 2: plain$/);
  });

  test("keeps the match in sight on a long line", async () => {
    await world.put("a.txt", `${"é".repeat(5000)}TARGET${"b".repeat(5000)}`);
    const text = await output("grep", { pattern: "TARGET" });
    expect(text).toMatch(/^Found 1 match\na\.txt:\n {2}Line 1 \(columns 4851\.\.5350 of 10006\): \.\.\. é+TARGETb+ \.\.\.$/);
    expect(text.length).toBeLessThan(700);
  });

  test("survives a match on a line of many megabytes", async () => {
    await world.put("a.txt", `${"x".repeat(6 * 1024 * 1024)}TARGET\n`);
    expect(await output("grep", { pattern: "TARGET" })).toBe("Found 1 match\na.txt:\n  A line that is too long to show matches; read it with columnOffset.");
  });

  test("shows 100 matches and says that there are more", async () => {
    await world.put("a.txt", "needle\n".repeat(500));
    const lines = (await output("grep", { pattern: "needle" })).split("\n");
    expect(lines[0]).toBe("Found 100 of 500 matches");
    expect(lines.filter((line) => line.startsWith("  Line "))).toHaveLength(100);
    expect(lines.at(-1)).toBe("(They are in 1 file, newest first. To see others, use a narrower pattern, path or include.)");
  });

  test("counts all matches, and takes those it shows from the newest files, equally new ones by their path", async () => {
    const time = new Date(1_700_000_000_000);
    for (const name of ["b", "a", "d", "c"]) {
      const file = await world.put(`${name}.txt`, "needle\n".repeat(30));
      await utimes(file, time, time);
    }
    await world.put("new\nline.txt", "needle\nneedle\n");
    const found = await world.call("grep", { pattern: "needle" });
    const lines = found.output.split("\n");
    expect(lines[0]).toBe("Found 100 of 122 matches");
    expect(lines.filter((line) => line.endsWith(".txt:"))).toEqual(["line.txt:", "a.txt:", "b.txt:", "c.txt:", "d.txt:"]);
    expect(lines.at(-1)).toBe("(They are in 5 files, newest first. To see others, use a narrower pattern, path or include.)");
    expect(found.metadata).toEqual({ matches: 122, files: 5, truncated: true });
    expect((await output("glob", { pattern: "?.txt" })).split("\n")).toEqual(["a.txt", "b.txt", "c.txt", "d.txt"]);
  });

  test("says what is wrong with a pattern", async () => {
    expect(await world.fail("grep", { pattern: "(" })).toBe('The pattern "(" is invalid: regex parse error:\n    (?:()\n    ^\nerror: unclosed group');
    expect(await world.fail("grep", { pattern: "" })).toBe('The pattern "" is invalid: it is empty.');
    expect(await world.fail("grep", { pattern: "a\0" })).toBe('The pattern "a\\u0000" is invalid: it has a NUL character.');
    expect(await world.fail("grep", { pattern: "a".repeat(1_000_000) })).toMatch(/^The pattern "a{100}…" is invalid: it is longer than 10000 characters\.$/);
    expect(await world.fail("grep", { pattern: "x", include: "a{" })).toMatch(/^The pattern "a\{" is invalid: error parsing glob 'a\{'/);
  });

  test("gives no advice about options that a model cannot give", async () => {
    await putByAge("a.ts");
    for (const pattern of ["(?=x)", "(a)\\1", "a\nb"]) expect(await world.fail("grep", { pattern })).not.toMatch(/Consider|--/);
    expect(await world.fail("grep", { pattern: "a\nb" })).toBe('The pattern "a\\nb" is invalid: the literal "\\n" is not allowed in a regex');
  });

  test("says when no file was searched", async () => {
    await putByAge("a.ts", "src/b.ts");
    const nothing = (include: string) => `No matches found\n(No file fits include ${JSON.stringify(include)}. It is one pattern, relative to path.)`;
    for (const include of ["*.ts,*.js", "*.js", "../**", "src"]) expect(await output("grep", { pattern: "needle", include })).toBe(nothing(include));
    expect(await output("grep", { pattern: "other", include: "*.ts" })).toBe("No matches found");
    expect(await output("grep", { pattern: "other", path: "a.ts", include: "*.js" })).toBe("No matches found");
  });

  test("is never held up by a pattern", async () => {
    await world.put("a.txt", `${"a".repeat(50_000)}!`);
    const started = performance.now();
    for (const pattern of ["(a+)+$", "(.*,){20}x"]) expect(await output("grep", { pattern })).toBe("No matches found");
    // Its time limit is 10 s for each, and without one it takes years.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test("follows no link, opens no FIFO and knows no place outside", async () => {
    await writeFile(join(world.outside, "secret.txt"), "needle");
    await symlink(world.outside, join(world.cwd, "link"));
    await symlink(join(world.outside, "secret.txt"), join(world.cwd, "file"));
    execFileSync("mkfifo", [join(world.cwd, "pipe")]);
    expect(await output("grep", { pattern: "needle" })).toBe("No matches found");
    expect(await world.fail("grep", { pattern: "needle", path: "pipe" })).toBe("pipe is neither a file nor a directory.");
    for (const path of ["link", "file", "../outside", "/etc"])
      expect(await world.fail("grep", { pattern: "needle", path })).toMatch(/is outside the workspace/);
    expect(await world.fail("grep", { pattern: "needle", path: "nowhere" })).toMatch(/^File not found: nowhere/);
  });

  test("obeys no configuration of ripgrep and no option in the pattern", async () => {
    await world.put("a.txt", "needle");
    const config = await world.put("ripgreprc", "--pre=touch\n");
    const exec: typeof world.context.exec = (file, args, options) => world.context.exec(file, args, { ...options, env: { RIPGREP_CONFIG_PATH: config } });
    expect((await world.call("grep", { pattern: "needle", include: "a.txt" }, { exec })).output).toMatch(/^Found 1 match/);
    expect(await output("grep", { pattern: "--pre=touch" })).toMatch(/^Found 1 match\nripgreprc:/);
  });

  test("ends when the call is aborted", async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(world.call("grep", { pattern: "x" }, { signal: stop.signal })).rejects.toThrow(/abort/i);
  });

  test("gives what it found when the time is over", async () => {
    await world.put("a.txt", "needle\n");
    const exec: typeof world.context.exec = async (file, args, options) => ({ ...(await world.context.exec(file, args, options)), end: "timeout" });
    expect((await world.call("grep", { pattern: "needle" }, { exec })).output).toBe(
      "Found 1 match\na.txt:\n  Line 1: needle\n\n(The search was ended before it was through; there may be more. Use a narrower pattern, path or include.)",
    );
  });

  test("says so when there is no ripgrep", async () => {
    const exec: typeof world.context.exec = (_, args, options) => world.context.exec("/nowhere/rg", args, options);
    expect(await world.fail("grep", { pattern: "x" }, { exec })).toBe("The search failed: ripgrep cannot be started; install it as rg.");
  });
});

// Root may read everything.
test.skipIf(process.getuid?.() === 0)("what may not be read is no place where nothing is", async () => {
  await world.put("shut/a.ts", "needle\n");
  await world.put("shut.ts", "needle\n");
  await chmod(join(world.cwd, "shut.ts"), 0o200);
  try {
    for (const mode of [0, 0o100, 0o400]) {
      await chmod(join(world.cwd, "shut"), mode);
      const calls = [world.fail("list", { path: "shut" }), world.fail("glob", { pattern: "shut/*" }), world.fail("grep", { pattern: "needle", path: "shut" })];
      expect(new Set(await Promise.all(calls))).toEqual(new Set(["shut cannot be read: permission denied."]));
    }
    expect(await world.fail("grep", { pattern: "needle", path: "shut.ts" })).toBe("shut.ts cannot be read: permission denied.");
  } finally {
    await chmod(join(world.cwd, "shut"), 0o700);
  }
});
