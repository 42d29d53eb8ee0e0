import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { ERRORS, type ErrorCode } from "../../core/errors.ts";
import { type FaultRun, POSITIONS, RETRIES, runFaultMatrix, STEPS } from "../fixtures/fault-matrix.ts";

let runs: FaultRun[] = [];
beforeAll(async () => {
  runs = await runFaultMatrix();
}, 600_000);

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
/** What a run shows that has come this far. */
const textOf = (steps: number) =>
  numbers(steps)
    .map((step) => (step < STEPS ? `Step ${step}. ` : `Step ${step}.`))
    .join("");
const rowOf = ({ code }: FaultRun) => ERRORS[code as ErrorCode];
const isRetried = (run: FaultRun) => rowOf(run).recovery === "retry" && !run.fault.isTooLong;
const mayFallOver = (run: FaultRun) => rowOf(run).recovery !== "stop";
const isSaved = (run: FaultRun) => (run.chain > 1 ? mayFallOver(run) : run.passes && isRetried(run));
const nameOf = ({ fault, step, chain, passes }: FaultRun) => `${fault.class}: ${fault.name}, step ${step}, chain of ${chain}${passes ? ", once" : ""}`;
const failing = (isRight: (run: FaultRun) => unknown) => runs.filter((run) => !isRight(run)).map((run) => [nameOf(run), run]);

describe("a run of ten steps, of which the first, a middle one or the last fails in every way that there is,", () => {
  test("ends with 0 when the fault passes or another model may follow, else with the exit code of its error", () => {
    expect(failing((run) => run.exit === (isSaved(run) ? 0 : rowOf(run).exit))).toEqual([]);
  });

  test("asks the same model again and the next one exactly where the error says so", () => {
    const tries = (run: FaultRun) => (isRetried(run) ? 1 + RETRIES : 1);
    expect(failing((run) => run.requests === (isSaved(run) ? STEPS + (run.passes ? 1 : tries(run)) : run.step - 1 + tries(run)))).toEqual([]);
    expect(failing((run) => run.retries === tries(run) - 1 && run.fallbacks === (run.chain > 1 && mayFallOver(run) ? 1 : 0))).toEqual([]);
  });

  test("runs each tool once, and none that was not asked for", () => {
    const expected = (run: FaultRun) => numbers(isSaved(run) ? STEPS - 1 : run.step - 1).join();
    expect(failing((run) => run.tools.join() === expected(run))).toEqual([]);
  });

  test("shows each text once: what was shown of a void answer is voided", () => {
    expect(failing((run) => run.text === textOf(isSaved(run) ? STEPS : run.step - 1) && run.blocks === run.text)).toEqual([]);
  });

  test("loses nothing: where it failed it can be gone on with, and no tool runs and no text comes a second time", () => {
    const alone = (run: FaultRun) => run.chain > 1 || (run.textInAll === textOf(STEPS) && run.toolsInAll.join() === numbers(STEPS - 1).join());
    expect(failing(alone)).toEqual([]);
  });

  test("is described in docs/faults.md (written anew with `npx vitest run tests/core/faults.test.ts -u`)", async () => {
    await expect(makePage()).toMatchFileSnapshot(fileURLToPath(new URL("../../docs/faults.md", import.meta.url)));
  });
});

function makePage(): string {
  const faults = [...new Set(runs.map(({ fault }) => fault))];
  const rows = faults.map((fault) => {
    const own = runs.filter((run) => run.fault === fault);
    const [first] = own as [FaultRun];
    const of = (chain: number) => own.filter((run) => run.chain === chain && !run.passes);
    const each = (list: FaultRun[], pick: (run: FaultRun) => unknown) => [...new Set(list.map(pick))].join(", ");
    const tell = (list: FaultRun[]) => [
      each(list, ({ exit }) => exit),
      ...[({ requests }: FaultRun) => requests, ({ tools }: FaultRun) => tools.length, ({ text }: FaultRun) => text.match(/Step/g)?.length ?? 0].map((pick) =>
        each(list, pick),
      ),
    ];
    const cells = [
      fault.class,
      fault.name,
      `\`${first.code}\``,
      isRetried(first) ? "yes" : "no",
      mayFallOver(first) ? "yes" : "no",
      ...tell(of(1)),
      ...tell(of(2)),
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return `# Faults

What a run does when a model fails. Each line was measured: a run of ${STEPS} steps, nine calls of a tool and an answer, against a server that fails at step ${POSITIONS.join(", ").replace(/, (\d+)$/, " or $1")} and goes on failing, once with one model and once with a second one behind it (another provider). This page is written by \`tests/core/faults.test.ts\`.

- **again**: the same model is asked again, here ${RETRIES === 1 ? "once" : `${RETRIES} times`}; up to five times by default. **next**: the next model of the chain is asked.
- **requests**, **calls** (of the tool) and **texts** (that stand, one a step) have one number where the step that fails makes no difference, else one for each of the three.
- In every run each tool has run once and each text stands once. What was shown of an answer that failed is taken back by an event (\`text_void\`). A run that failed can be gone on with: nothing is done again.
- Credit that is spent lets only a model of another provider or a free one follow. A fault that passes after it came once is survived wherever **again** says yes.

| class | fault | error | again | next | one model: exit | requests | calls | texts | two models: exit | requests | calls | texts |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
${rows.join("\n")}

What the errors say is in the [table of errors](errors.md).
`;
}
