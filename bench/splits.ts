// Asks for a recorded stream once for each place where it can be split, over real connections: npm run bench:splits
import { isDeepStrictEqual } from "node:util";
import { createFetch } from "../core/http.ts";
import { modelOf, PROVIDERS, RECORDED, readAnswer } from "../tests/fixtures/recorded-stream.ts";
import { startServer } from "../tests/fixtures/server.ts";

console.log("| provider | bytes | places | results that differ | time |\n|---|---|---|---|---|");
for (const name of PROVIDERS) {
  const server = await startServer((_, at) => ({ raw: [RECORDED.subarray(0, at), RECORDED.subarray(at)].filter(({ length }) => length > 0) }));
  const model = await modelOf(name, createFetch(), server.url);
  const startedAt = performance.now();
  const whole = await readAnswer(model);
  let differing = 0;
  for (let at = 1; at < RECORDED.length; at++) if (!isDeepStrictEqual(await readAnswer(model), whole)) differing++;
  console.log(`| ${name} | ${RECORDED.length} | ${RECORDED.length - 1} | ${differing} | ${((performance.now() - startedAt) / 1000).toFixed(1)} s |`);
  await server.close();
}
