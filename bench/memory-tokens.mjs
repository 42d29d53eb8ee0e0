// Tokens that extraction sends against the number of observations, beside what sending all of the conversation each time would.
// node --conditions=source --import tsx bench/memory-tokens.mjs
import { makeItem, openKit, reply } from "../tests/fixtures/memory-kit.ts";

const COUNTS = [10, 20, 50, 100, 200, 500];
/** Characters of what each call has given. */
const OUTPUT = 4_000;

const tokensOf = (text) => Math.ceil(text.length / 4);
const textsOf = ({ prompt }) => prompt.map(({ content }) => (typeof content === "string" ? content : content.map(({ text }) => text).join("")));

async function measure(count) {
  const kit = await openKit({ script: (_, index) => ({ text: reply(`observation ${index}`) }) });
  const parts = await kit.open();
  for (let number = 0; number < count; number++)
    parts.inbox.append(makeItem(number, { call: { ...makeItem(number).call, output: `${number} `.padEnd(OUTPUT, "output of a call. ") } }));
  const { stored } = await kit.work(parts, { model: "scripted/model" });
  const sizes = kit.requests.map((request) => textsOf(request).reduce((sum, text) => sum + tokensOf(text), 0));
  // What the first two requests differ by is one turn: with all turns each time, request n has n - 1 of them.
  const turn = sizes[1] - sizes[0];
  const whole = sizes.reduce((sum, _, index) => sum + sizes[0] + index * turn, 0);
  const repeated = kit.requests.slice(1).reduce((sum, request, index) => sum + sharedTokens(textsOf(kit.requests[index]), textsOf(request)), 0);
  await kit.close();
  return { stored: stored.length, sent: sizes.reduce((sum, size) => sum + size, 0), whole, repeated, most: Math.max(...sizes) };
}

/** Of the messages that begin both requests alike: a provider has them in its cache. */
function sharedTokens(before, now) {
  let shared = 0;
  for (let index = 0; before[index] === now[index] && index < before.length; index++) shared += tokensOf(now[index]);
  return shared;
}

const thousands = (tokens) => (tokens / 1000).toFixed(tokens < 100_000 ? 1 : 0);
console.log(
  "| observations | sent, thousands of tokens | per observation | of them in the provider's cache | largest request | all turns each time |\n|---|---|---|---|---|---|",
);
for (const count of COUNTS) {
  const { stored, sent, whole, repeated, most } = await measure(count);
  if (stored !== count) throw new Error(`${stored} of ${count} were stored.`);
  console.log(
    `| ${count} | ${thousands(sent)} | ${thousands(sent / count)} | ${Math.round((100 * repeated) / sent)} % | ${thousands(most)} | ${thousands(whole)} |`,
  );
}
