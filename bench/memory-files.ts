import { readFileSync } from "node:fs";
import type { Observation } from "../plugins/memory/observation.ts";
import { type Case, makeObservation } from "./memory-measure.ts";

/** A memory of its own with the questions about it; `unit`: what counts as found. */
export interface Haystack {
  name: string;
  observations: Observation[];
  cases: Case[];
  /** From the id of an observation to what is counted, a session for one. */
  unitOf(id: string): string;
}

const LOCOMO_CATEGORIES: Record<number, string> = { 1: "several turns", 2: "time", 3: "common sense", 4: "one turn", 5: "adversarial" };

interface LocomoTurn {
  speaker: string;
  dia_id: string;
  text: string;
  blip_caption?: string;
}

interface LocomoSample {
  sample_id?: string;
  qa: { question: string; answer?: unknown; evidence?: string[]; category: number }[];
  conversation: Record<string, unknown>;
}

/** `locomo10.json`: ten dialogues; each turn is an entry, each question with evidence, but the adversarial ones, is asked. */
export function readLocomo(path: string): Haystack[] {
  const samples: LocomoSample[] = JSON.parse(readFileSync(path, "utf8"));
  return samples.map(({ sample_id, qa, conversation }, i) => {
    const observations = Object.keys(conversation)
      .filter((key) => /^session_\d+$/.test(key) && Array.isArray(conversation[key]))
      .sort((a, b) => Number(a.slice(8)) - Number(b.slice(8)))
      .flatMap((session) => {
        const createdAt = readLocomoDate(String(conversation[`${session}_date_time`] ?? ""));
        return (conversation[session] as LocomoTurn[]).map(({ speaker, dia_id, text, blip_caption }) =>
          makeObservation({
            id: dia_id,
            narrative: `${speaker}: ${text}${blip_caption === undefined ? "" : ` [shares ${blip_caption}]`}`,
            sessionId: session,
            createdAt,
          }),
        );
      });
    const known = new Set(observations.map(({ id }) => id));
    const cases = qa
      .filter(({ category }) => category !== 5)
      .map(({ question, evidence = [], category }) => ({
        text: question,
        // Some name several in one string: "D8:6; D9:17".
        evidence: evidence.flatMap((text) => text.match(/D\d+:\d+/g) ?? []).filter((id) => known.has(id)),
        group: LOCOMO_CATEGORIES[category] ?? String(category),
      }))
      .filter(({ evidence }) => evidence.length > 0);
    return { name: sample_id ?? String(i), observations, cases, unitOf: (id) => id };
  });
}

/** "1:56 pm on 8 May, 2023" */
export function readLocomoDate(text: string): number {
  const match = /(\d+):(\d+)\s*(am|pm)\s+on\s+(\d+)\s+(\w+),?\s+(\d+)/i.exec(text);
  if (match === null) return Date.parse(text) || 0;
  const [, hour, minute, half, day, month, year] = match;
  const date = Date.parse(`${day} ${month} ${year} 00:00 UTC`);
  return date + ((Number(hour) % 12) + (half!.toLowerCase() === "pm" ? 12 : 0)) * 3_600_000 + Number(minute) * 60_000;
}

interface LongMemEvalEntry {
  question_id: string;
  question_type: string;
  question: string;
  haystack_session_ids: string[];
  haystack_dates: string[];
  haystack_sessions: { role: string; content: string; has_answer?: boolean }[][];
  answer_session_ids: string[];
}

/** `longmemeval_s*.json`: a haystack of sessions for each question; each turn is an entry, and a session counts as found. */
export function readLongMemEval(path: string): Haystack[] {
  const entries: LongMemEvalEntry[] = JSON.parse(readFileSync(path, "utf8"));
  // Questions without an answer have no session that would be right.
  return entries
    .filter(({ question_id }) => !question_id.endsWith("_abs"))
    .map(({ question_id, question_type, question, haystack_session_ids, haystack_dates, haystack_sessions, answer_session_ids }) => ({
      name: question_id,
      observations: haystack_sessions.flatMap((turns, s) =>
        turns.map(({ role, content }, t) =>
          makeObservation({
            id: `${haystack_session_ids[s]}#${t}`,
            narrative: `${role}: ${content}`,
            sessionId: haystack_session_ids[s]!,
            createdAt: Date.parse(`${haystack_dates[s]!.replace(/\([^)]*\)/, "")} UTC`) || 0,
          }),
        ),
      ),
      cases: [{ text: question, evidence: answer_session_ids, group: question_type }],
      unitOf: (id) => id.slice(0, id.lastIndexOf("#")),
    }));
}
