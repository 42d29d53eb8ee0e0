import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeDialogue } from "../../../bench/memory-dialogues.ts";
import { readLocomo, readLocomoDate, readLongMemEval } from "../../../bench/memory-files.ts";
import { measureHaystacks } from "../../../bench/memory-haystacks.ts";
import { makeObservationSet } from "../../../bench/memory-observations.ts";
import { measureOwn } from "../../../bench/memory-own.ts";

test("the set is large enough, has six groups, and is the same for the same seed", () => {
  const { observations, cases } = makeObservationSet(1);
  expect(observations.length).toBeGreaterThanOrEqual(200);
  expect(cases.length).toBeGreaterThanOrEqual(120);
  expect(new Set(cases.map(({ group }) => group)).size).toBe(6);
  expect(makeObservationSet(1)).toEqual({ observations, cases });
});

test.each([false, true])("the right observation is found, and nothing where there is nothing (held out: %s)", async (heldOut) => {
  const { rows } = await measureOwn({ heldOut });
  const [ours, ...baselines] = rows;
  expect(ours!.all.at1).toBeGreaterThanOrEqual(80);
  expect(ours!.all.at5).toBeGreaterThanOrEqual(95);
  expect(ours!.all.mrr).toBeGreaterThanOrEqual(87);
  expect(ours!.groups.identifier!.at1).toBe(100);
  expect(ours!.groups.path!.at1).toBe(100);
  expect(ours!.groups.latest!.at1).toBe(100);
  expect(ours!.falsePositives).toBeLessThanOrEqual(12);
  for (const { all } of baselines) {
    expect(ours!.all.mrr).toBeGreaterThan(all.mrr + 15);
    expect(ours!.all.at1).toBeGreaterThan(all.at1 + 25);
  }
});

/** The shape of `locomo10.json`. */
function locomoOf(seed: number) {
  const { turns, questions } = makeDialogue(seed, { heldOut: true });
  const conversation: Record<string, unknown> = { speaker_a: "A", speaker_b: "B" };
  for (const { key, narrative, session, createdAt } of turns) {
    const date = new Date(createdAt);
    conversation[`${session}_date_time`] =
      `1:56 pm on ${date.getUTCDate()} ${date.toLocaleString("en", { month: "long", timeZone: "UTC" })}, ${date.getUTCFullYear()}`;
    const [, speaker, text] = /^(\w+): (.*)$/s.exec(narrative)!;
    ((conversation[session] ??= []) as object[]).push({ speaker, dia_id: key, text });
  }
  const qa = questions.map(({ text, evidence }, i) => ({ question: text, answer: "", evidence, category: (i % 4) + 1 }));
  return { sample_id: `conv-${seed}`, qa: [...qa, { question: "adversarial", adversarial_answer: "", evidence: ["D1:1"], category: 5 }], conversation };
}

test("files of the two public sets are read in their shapes and asked with the same figures", async () => {
  const scratch = mkdtempSync(join(tmpdir(), "agent-sets-"));
  try {
    const locomo = join(scratch, "locomo.json");
    writeFileSync(locomo, JSON.stringify([locomoOf(101)]));
    const haystacks = readLocomo(locomo);
    expect(haystacks[0]!.cases.every(({ text }) => text !== "adversarial")).toBe(true);
    expect(new Date(haystacks[0]!.observations[0]!.createdAt).getUTCHours()).toBe(13);
    const [ours, defaults] = await measureHaystacks(haystacks, Date.UTC(2026, 0, 1));
    expect(ours!.all.questions).toBe(haystacks[0]!.cases.length);
    expect(ours!.all.at10).toBeGreaterThanOrEqual(85);
    expect(ours!.all.at10).toBeGreaterThan(defaults!.all.at10 + 10);

    const sessions = [
      [
        { role: "user", content: "I graduated in business administration." },
        { role: "assistant", content: "Congratulations!", has_answer: false },
      ],
      [{ role: "user", content: "My cat likes fish." }],
    ];
    const entry = { question: "What degree did I graduate with?", haystack_session_ids: ["s1", "s2"], haystack_sessions: sessions, answer_session_ids: ["s1"] };
    const dated = { ...entry, question_type: "single-session-user", haystack_dates: ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"] };
    const eval_ = join(scratch, "longmemeval.json");
    writeFileSync(
      eval_,
      JSON.stringify([
        { ...dated, question_id: "q1" },
        { ...dated, question_id: "q2_abs" },
      ]),
    );
    const asked = readLongMemEval(eval_);
    expect(asked.map(({ name }) => name)).toEqual(["q1"]);
    expect(asked[0]!.observations[0]!.createdAt).toBe(Date.UTC(2023, 4, 20, 2, 21));
    expect((await measureHaystacks(asked, 0))[0]!.all.at1).toBe(100);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

test("a date of LoCoMo is read", () => {
  expect(readLocomoDate("1:56 pm on 8 May, 2023")).toBe(Date.UTC(2023, 4, 8, 13, 56));
  expect(readLocomoDate("12:09 am on 13 September, 2023")).toBe(Date.UTC(2023, 8, 13, 0, 9));
});
