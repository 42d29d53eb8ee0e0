#!/usr/bin/env node
// The launcher. Plain JavaScript that any Node can read, so that an old one gets a sentence and not a syntax error; CommonJS,
// because Node's loader of ES modules takes 15 ms of a start and most runs need none.
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`error: agent needs Node.js 20.19 or newer; this is ${process.versions.node}.\nInstall a newer one from https://nodejs.org.\n`);
  process.exitCode = 2;
} else {
  const { join } = require("node:path");
  const { AGENT_DATA_DIR, XDG_DATA_HOME, HOME } = process.env;
  const data = AGENT_DATA_DIR || (XDG_DATA_HOME && join(XDG_DATA_HOME, "agent")) || (HOME && join(HOME, ".local", "share", "agent"));
  if (data) require("./code-cache.js").cacheCode(join(__dirname, "..", "dist", "chunks"), join(data, "cache", "code"));
  require("../dist/cli.cjs").main();
}
