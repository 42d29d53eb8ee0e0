import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, asyncProperty, boolean, constantFrom, oneof, record, tuple } from "fast-check";
import { afterAll, describe, test } from "vitest";
import { createPaths, type Paths } from "../../core/paths.ts";

const base = realpathSync(mkdtempSync(join(tmpdir(), "trees-")));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const NAMES = ["a", "b", "c", "..", ".", "W", "S", "extra", "W-twin", "a.", "A", " a"];
const name = constantFrom(...NAMES.filter((each) => !/^\.+$/.test(each)));
const segments = array(constantFrom(...NAMES), { minLength: 1, maxLength: 6 });
/** Places in which something is put: the workspace, an extra root, and two folders that are neither. */
const HOMES = ["W", "extra", "S", "W-twin"];
const place = tuple(constantFrom(...HOMES), array(name, { maxLength: 2 }));

/** How a link says where it leads, and how a model says what it wants. */
const spelling = oneof(
  segments.map((parts) => parts.join("/")),
  segments.map((parts) => `${base}/${parts.join("/")}`),
  segments.map((parts) => `../${parts.join("//")}`),
  tuple(segments, constantFrom("/", "/.", "/..", "//", "/./")).map(([parts, end]) => parts.join("/") + end),
  constantFrom("/", "..", `/proc/self/root${base}/S/a`, `/proc/self/cwd/../S`, "/dev/fd/0", "/dev/zero"),
);
const entry = oneof(
  record({ kind: constantFrom("file", "directory"), place, name }),
  record({ kind: constantFrom("link"), place, name, target: spelling }),
  record({ kind: constantFrom("link"), place, name, target: spelling }),
);
type Entry = { kind: string; place: [string, string[]]; name: string; target?: string };

let count = 0;

/** Makes what can be made of it; what is already there stays, and nothing is put behind a link. */
function growTree(entries: Entry[]): string {
  const top = join(base, "tree");
  rmSync(top, { recursive: true, force: true });
  for (const home of HOMES) mkdirSync(join(top, home), { recursive: true });
  for (const { kind, place, name, target } of entries) {
    const folder = makeFolder(join(top, place[0]), place[1]);
    if (folder === undefined || lstatSync(join(folder, name), { throwIfNoEntry: false }) !== undefined) continue;
    if (kind === "file") writeFileSync(join(folder, name), `content ${count++}`);
    else if (kind === "directory") mkdirSync(join(folder, name));
    else symlinkSync((target as string).replace(base, top), join(folder, name));
  }
  return top;
}

function makeFolder(start: string, names: string[]): string | undefined {
  let folder = start;
  for (const name of names) {
    folder = join(folder, name);
    const found = lstatSync(folder, { throwIfNoEntry: false });
    if (found === undefined) mkdirSync(folder);
    else if (!found.isDirectory()) return undefined;
  }
  return folder;
}

const RESULTS = ["PATH_OUTSIDE", "PATH_INVALID", "FILE_MISSING", "FILE_UNSUITABLE"];

/** What every way into the file system gives for a spelling, as the system itself names it; or the code of the error. */
async function tryAll(paths: Paths, spelled: string): Promise<string[]> {
  const nameOf = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);
  const codeOf = (error: { code?: string }) => String(error.code);
  const opened = (access: "read" | "write") =>
    paths.open(spelled, access).then(async (handle) => {
      const real = nameOf(handle.fd);
      await handle.close();
      return real;
    }, codeOf);
  const directory = paths.openDirectory(spelled).then(async (held) => {
    const real = realpathSync(held.path);
    await held.close();
    return real;
  }, codeOf);
  const resolved = await paths.resolve(spelled, "write").catch(codeOf);
  const looked = resolved.startsWith("/") ? paths.look(resolved, (held) => realpathSync(held)) : undefined;
  const stats = resolved.startsWith("/") ? await paths.stat(resolved, "write").then(() => resolved, codeOf) : resolved;
  return [resolved, await opened("read"), await opened("write"), await directory, stats, ...(looked === undefined ? [] : [looked])];
}

describe.runIf(process.platform === "linux")("for any tree of files, directories and links", () => {
  test("whatever is resolved, opened, held or looked at is inside by the system's own account, or an error, and soon", async () => {
    const property = asyncProperty(
      array(entry, { maxLength: 14 }),
      array(spelling, { minLength: 4, maxLength: 10 }),
      boolean(),
      async (entries, spellings, viaLink) => {
        const top = growTree(entries as Entry[]);
        symlinkSync("W", join(top, "to-W"));
        const paths = await createPaths({ cwd: join(top, viaLink ? "to-W" : "W"), roots: [join(top, "extra")] });
        const started = performance.now();
        for (const spelled of spellings) {
          for (const found of await tryAll(paths, spelled.replace(base, top))) {
            const isInside = ["W", "extra"].some((root) => found === join(top, root) || found.startsWith(`${join(top, root)}/`));
            if (!isInside && !RESULTS.includes(found)) throw new Error(`${JSON.stringify(spelled)} gave ${found}`);
          }
        }
        return performance.now() - started < 5_000;
      },
    );
    await assert(property, { numRuns: 200 });
  }, 180_000);
});
