import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { makeEventsSchema } from "../cli/events-schema.ts";
import { configSchema } from "../core/config-schema.ts";
import { ERRORS } from "../core/errors.ts";

/**
 * Writes the files that are made from the code: `node --import tsx scripts/generate.ts`. With `--check` it writes
 * nothing and ends with 1 when a file is not what the code says.
 */
const GENERATED: { path: string; make(): string }[] = [
  { path: "config.schema.json", make: makeConfigSchema },
  { path: "docs/errors.md", make: makeErrorPage },
  { path: "docs/events.schema.json", make: makeEventsSchema },
];

function makeConfigSchema(): string {
  const schema = z.toJSONSchema(configSchema, { io: "input", target: "draft-7", unrepresentable: "any" });
  return `${JSON.stringify({ title: "Configuration of agent-runtime", description: "agent.json, opencode.json, .agentrc and package.json#agent.", ...schema }, null, 2)}\n`;
}

function makeErrorPage(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { message, hint, recovery, exit }]) => `| \`${code}\` | ${cell(message)} | ${cell(hint)} | ${recovery} | ${exit} |`,
  );
  return `# Errors

Every error has a code, and the code decides what is done about it. This page is made from the table in \`core/errors.ts\`.

- **retry**: the same model is asked again, then the next of the chain. **fallback**: the next of the chain at once.
- **tell-model**: the text is given to the model as the result of its call, and the run goes on. **stop**: the run ends.
- **exit** is the exit code of the command when a run ends with this error. Names in braces stand for the facts of the case.

| code | what happened | way out | recovery | exit |
|---|---|---|---|---|
${rows.join("\n")}
`;
}

const cell = (text: string): string => text.replace(/[|<]/g, (character) => (character === "|" ? "\\|" : "&lt;"));

const isCheck = process.argv.includes("--check");
for (const { path, make } of GENERATED) {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url));
  const text = make();
  if ((await readFile(file, "utf8").catch(() => undefined)) === text) continue;
  if (isCheck) {
    console.error(`${path} is out of date: node --import tsx scripts/generate.ts`);
    process.exitCode = 1;
  } else {
    await writeFile(file, text);
    console.log(`wrote ${path}`);
  }
}
