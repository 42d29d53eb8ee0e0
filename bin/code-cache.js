// Keeps what V8 has compiled of dist/chunks from one run to the next. Node's own compile cache (from version 22 on) stores a
// file as it was before it ran, without the functions that were compiled when they were first called: most of them.
const fs = require("node:fs");
const { basename, dirname, join, sep } = require("node:path");
const { cachedDataVersionTag } = require("node:v8");
const vm = require("node:vm");
const { crc32 } = require("node:zlib");

/** V8 gives up the code of functions that have not been called for long: a run that goes on is saved while they are there. */
const SAVE_AFTER_MS = 5000;
const MONTH_MS = 30 * 24 * 60 * 60 * 1000;

/** Has `require` take the files of `chunks` (absolute path; a file's name holds a hash of its text) from the folder `cache`, and fills it. */
exports.cacheCode = function cacheCode(chunks, cache) {
  // What one V8 wrote another refuses, or the same with other flags; in one folder they would replace it in turn.
  const folder = join(cache, `${process.version}-${process.arch}-${cachedDataVersionTag().toString(16)}`);
  const prefix = chunks + sep;
  const isOurs = isPrivate(folder);
  const scripts = new Map();
  let isComplete = true;

  function load(module, file) {
    if (!file.startsWith(prefix)) return require.extensions[".js"](module, file);
    const script = compile(file, isOurs ? readCode(join(folder, basename(file))) : undefined);
    scripts.set(basename(file), script);
    if (isComplete && script.cachedDataRejected !== false) {
      isComplete = false;
      setTimeout(save, SAVE_AFTER_MS).unref();
      process.once("exit", save);
    }
    script.runInThisContext().call(module.exports, module.exports, (id) => module.require(id), module, file, dirname(file));
  }

  /** Whoever loads a file for the first time writes all that it has loaded: it called functions that the ones before did not. */
  function save() {
    if (isComplete) return;
    isComplete = true;
    try {
      makeFolders(folder);
      if (!isPrivate(folder)) return;
      for (const [name, script] of scripts) writeCode(join(folder, name), script.createCachedData());
      removeOld(folder);
      removeOld(cache);
    } catch {
      // Only time is lost.
    }
  }

  // Not enumerable: what a plugin requires without an extension is looked for as ever.
  Object.defineProperty(require.extensions, ".cjs", { value: load, configurable: true });
};

function compile(file, cachedData) {
  const text = fs.readFileSync(file, "utf8");
  return new vm.Script(`(function (exports, require, module, __filename, __dirname) { ${text}\n})`, { filename: file, cachedData });
}

/** Who can write there can run what he likes as this user: nobody else may. */
function isPrivate(folder) {
  try {
    const { uid, mode } = fs.statSync(folder);
    return process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0);
  } catch {
    return false;
  }
}

/** V8 trusts what it reads and crashes on a single wrong bit, so each file ends in the CRC-32 of the rest. */
function readCode(path) {
  try {
    const bytes = fs.readFileSync(path);
    const code = bytes.subarray(0, -4);
    return crc32(code) === bytes.readUInt32LE(code.length) ? code : undefined;
  } catch {
    return undefined;
  }
}

function writeCode(path, code) {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(crc32(code));
  const fresh = `${path}.${process.pid}`;
  fs.writeFileSync(fresh, Buffer.concat([code, sum]), { flag: "wx", mode: 0o600 });
  fs.renameSync(fresh, path);
}

/** What other versions of Node or of this package left goes when nobody has written it for a month. */
function removeOld(folder) {
  for (const name of fs.readdirSync(folder)) {
    const path = join(folder, name);
    if (Date.now() - fs.statSync(path).mtimeMs > MONTH_MS) fs.rmSync(path, { recursive: true, force: true });
  }
}

/** Node's own `recursive` never ends where no directory can be made (/proc). */
function makeFolders(path) {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (error.code === "EEXIST") return;
    if (error.code !== "ENOENT") throw error;
    makeFolders(dirname(path));
    fs.mkdirSync(path, { mode: 0o700 });
  }
}
