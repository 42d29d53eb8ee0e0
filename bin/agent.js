#!/usr/bin/env node
// The launcher. Plain JavaScript that any Node can read, so that an old one gets a sentence and not a syntax error.
const [major, minor] = process.versions.node.split(".").map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`error: agent needs Node.js 20.19 or newer; this is ${process.versions.node}.\nInstall a newer one from https://nodejs.org.\n`);
  process.exitCode = 2;
} else {
  // Not imported: that would load more than is needed, at each start.
  const module = process.getBuiltinModule("node:module");
  const { join } = process.getBuiltinModule("node:path");
  const { AGENT_DATA_DIR, XDG_DATA_HOME, HOME } = process.env;
  const data = AGENT_DATA_DIR || (XDG_DATA_HOME && join(XDG_DATA_HOME, "agent")) || (HOME && join(HOME, ".local", "share", "agent"));
  if (data) module.enableCompileCache?.(join(data, "cache", "compile"));
  const { main } = await import("../dist/cli.js");
  await main();
}
