// What it costs to look for secrets in text that has none. A part of bench/safety.mjs; node bench/safety-redactor.mjs runs it alone.
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRedactor } from "agent-runtime/host";

const CHARACTERS = 16 * 1024 * 1024;
const SECRETS = 50;
const GOAL = 200;

/** Gives rows of [what, ours, yardstick, goal]: megabytes of code of every day a second, beside one search for one word. */
export async function measureRedactor({ runs = 7 } = {}) {
  const text = makeText();
  const keys = Array.from({ length: SECRETS }, () => `sk-or-v1-${randomBytes(32).toString("hex")}`);
  const bytes = Buffer.from(text);
  const { redact, stream } = createRedactor(keys);
  if (redact(text) !== text) throw new Error("the text is not clean.");
  const anyKey = new RegExp(keys.join("|"));
  const rates = measure(text, runs, {
    redact,
    stream: () => {
      const pieces = stream();
      for (let at = 0; at < bytes.length; at += 65_536) pieces.push(bytes.toString("latin1", at, at + 65_536));
      pieces.end();
    },
    bytes: () => bytes.indexOf(keys[0]),
    expression: (whole) => anyKey.test(whole),
  });
  const yardstick = `one key by Buffer.indexOf: ${shown(rates.bytes)}; all by one expression: ${shown(rates.expression)}`;
  return [
    [`redactor: clean text, ${SECRETS} known secrets`, shown(rates.redact), yardstick, `≥ ${GOAL} MB/s`],
    ["redactor: the same in pieces of 64 KiB", shown(rates.stream), yardstick, ""],
  ];
}

/** In turn, so that what else the machine does hits all alike; the fastest of each. */
function measure(text, runs, cases) {
  const best = Object.fromEntries(Object.keys(cases).map((name) => [name, Number.POSITIVE_INFINITY]));
  for (let run = 0; run < runs; run++)
    for (const [name, work] of Object.entries(cases)) {
      const startedAt = performance.now();
      work(text);
      best[name] = Math.min(best[name], performance.now() - startedAt);
    }
  return Object.fromEntries(Object.entries(best).map(([name, ms]) => [name, text.length / 1e6 / (ms / 1e3)]));
}

const shown = (rate) => `${rate.toFixed(0)} MB/s`;

/** The sources of this repository without what looks like the beginning of a key, over and over. */
function makeText() {
  const core = new URL("../core/", import.meta.url).pathname;
  const sources = readdirSync(core).filter((name) => name.endsWith(".ts"));
  const all = sources.map((name) => readFileSync(join(core, name), "latin1").replace(/[^\0-\x7e]/g, "?")).join("");
  const clean = all.replace(
    /\bsk-|github_pat_|gh[pousr]_|AKIA|ASIA|AIza|eyJ|PRIVATE KEY|earer|:\/\/|(?:npm|hf|live|test|gsk|v1)_|(?:at|xox.|xapp|pypi|xai|PX)-/g,
    "x",
  );
  // By way of bytes, as the output of a command comes: one flat string.
  return Buffer.alloc(CHARACTERS, clean, "latin1").toString("latin1");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) for (const row of await measureRedactor()) console.log(row.join("  "));
