// Bundles the command, the library, the testing kit and the built-in plugins into dist/, and writes their types.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const at = (path) => join(root, path);

// Built aside and put in place at the end, so that a command that runs meanwhile finds a whole dist/.
const fresh = mkdtempSync(at("dist-"));
/** zod's texts in fifty languages are a third of its size and are read at every start: only the English ones are kept. */
const englishOnly = {
  name: "english-only",
  resolveId: { filter: { id: /locales\/index\.js$/ }, handler: () => "\0zod-locales" },
  load: { filter: { id: /^\0zod-locales$/ }, handler: () => `export { default as en } from ${JSON.stringify(at("node_modules/zod/v4/locales/en.js"))};` },
};

/**
 * The keys of tool arguments are sorted by `localeCompare`: its first call sets up a collator (12 ms), each further one asks it.
 * Any fixed order serves, and one that is the same in every locale serves better.
 */
let isReplaced = false;
const codeUnitOrder = {
  name: "code-unit-order",
  transform: {
    filter: { id: /@openrouter[\\/]ai-sdk-provider/, code: "a.localeCompare(b)" },
    handler(code) {
      isReplaced = true;
      return code.replace("a.localeCompare(b)", "a < b ? -1 : 1");
    },
  },
};

/**
 * The output is CommonJS: its code can be kept compiled between runs (bin/code-cache.js), and the ES module loader is not even
 * started. A built-in module is asked for at once; any other `import()` that is left goes through import.cjs, which Node itself
 * compiles, because cached code has no `import()`.
 */
const nativeImports = {
  name: "native-imports",
  renderChunk: (code, { fileName }) =>
    code
      .replace(/(?<![.\w$])import\((["`']node:[^"`']+["`'])\)/g, "Promise.resolve(require($1))")
      .replace(/(?<![.\w$])import\(/g, `require("${fileName.includes("/") ? ".." : "."}/import.cjs")(`),
};

/** What every run needs is one file: each file more is a read more at the start. The errors stand apart, so that --help needs nothing else; recordings, because hardly a run has one. */
const groups = [
  { name: "errors", test: /[\\/]core[\\/]errors\.ts$/, priority: 2 },
  {
    name: "start",
    test: /[\\/](core[\\/](?!sandbox|testing|window|compress|traffic|recording|response-cache|provider-advice|tunnel|trust-digest|undo|live-process|plugin-(ask|embed|stores))|plugins[\\/](files|bash|batch|task|todo|question)[\\/]|plugins[\\/]web[\\/](index|web|user-agent)|plugins[\\/](permissions[\\/]index|compaction[\\/](index|budget)))[^:]*\.ts$/,
    priority: 1,
  },
];

const bundle = await rolldown({
  plugins: [englishOnly, codeUnitOrder, nativeImports],
  input: {
    index: at("core/index.ts"),
    host: at("core/host.ts"),
    cli: at("cli/main.ts"),
    testing: at("core/testing/index.ts"),
    plugins: at("plugins/index.ts"),
  },
  platform: "node",
  // Loaded from node_modules when they are needed: a binary of the platform, a compiler with parts of its own, and a database that reads its program from a file beside it.
  external: ["@vscode/ripgrep", "jiti", "typescript", "node-sqlite3-wasm"],
  resolve: { mainFields: ["module", "main"], alias: { "agent-runtime$": at("core/index.ts"), "agent-runtime/host$": at("core/host.ts") } },
  // On Node 20 the first touch of the built-in Headers costs 27 ms of CPU; the packages only need what HeaderList does.
  transform: { target: "node20.19", inject: { Headers: [at("core/http-exchange.ts"), "HeaderList"] } },
  treeshake: { moduleSideEffects: [{ test: /node_modules/, sideEffects: false }] },
  logLevel: "warn",
  checks: { ineffectiveDynamicImport: false },
});
const { output } = await bundle.write({
  dir: join(fresh, "new"),
  format: "cjs",
  minify: true,
  entryFileNames: "[name].cjs",
  chunkFileNames: "chunks/[name]-[hash].cjs",
  codeSplitting: { groups },
});
writeFileSync(join(fresh, "new", "import.cjs"), "module.exports = (specifier, options) => import(specifier, options);\n");
// Who imports and who requires gets the same objects.
for (const { name, exports: names } of output.filter(({ isEntry, name }) => isEntry && name !== "cli")) {
  const face = `import self from "./${name}.cjs";\nexport const { ${names.join(", ")} } = self;\n`;
  writeFileSync(join(fresh, "new", `${name}.js`), face);
}
await bundle.close();
if (!isReplaced) throw new Error("The OpenRouter package no longer sorts keys by localeCompare: take code-unit-order out of scripts/build.mjs.");

const tsc = at("node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", at("tsconfig.types.json"), "--outDir", join(fresh, "new", "types")], { stdio: "inherit" });

if (existsSync(at("dist"))) renameSync(at("dist"), join(fresh, "old"));
renameSync(join(fresh, "new"), at("dist"));
rmSync(fresh, { recursive: true, force: true });
