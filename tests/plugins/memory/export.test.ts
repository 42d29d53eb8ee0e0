import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ExportFormat, formatExport } from "../../../plugins/memory/export.ts";
import { readImport } from "../../../plugins/memory/import.ts";
import { observationOf } from "../../fixtures/map-memory.ts";

const read = (text: string) =>
  readImport({ path: "export", from: "export", text: Buffer.from(text).toString(), now: 1_790_000_000_000, clean: (value) => value });
const formats: ExportFormat[] = ["json", "markdown"];

const full = observationOf({
  ...{
    subtitle: "In one sentence.",
    facts: ["One.", "Two,\nwith a line below.", "- three", ""],
    narrative: "It was so.\n\n## Not a heading\n\n- nor an item\n> nor a quote",
  },
  ...{ concepts: ["gotcha", "trade-off"], filesRead: ["src/a.ts"], filesModified: ["src/b c.ts", "a`b.ts"], symbols: ["retry()"] },
  summary: { request: "Why?", investigated: "", learned: "That.\n\n```\n### code\n```", completed: "All", nextSteps: "None", notes: "" },
  ...{ callId: "call_1", agent: "build", trust: "untrusted", supersededBy: "obs_2", conflictsWith: ["obs_3"], importance: 0.25, prompt: 7 },
  merged: [{ id: "obs_4", title: "Nearly the same", sessionId: "ses_0", callId: "call_0", createdAt: 5 }],
  extra: { tags: ["x"], nested: { deep: null } },
});

describe.each(formats)("an export as %s", (format) => {
  test("keeps every field", async () => {
    expect((await read(formatExport([full], format))).observations).toEqual([full]);
  });

  test("gives the same bytes when it is imported and exported again", async () => {
    const once = formatExport([full, observationOf({ id: "obs_0000000000000002", createdAt: 1 })], format);
    const { observations, bad, kind } = await read(once);
    expect([kind, bad]).toEqual(["agent-memory", []]);
    expect(formatExport(observations, format)).toBe(once);
  });

  test("does so for any text", async () => {
    const line = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("## a", "### Facts", "- a", "> a", "```json agent-memory", "```", "\\", "", " x ", "<!-- agent-memory 1 -->"),
    );
    const text = fc.array(line, { maxLength: 4 }).map((lines) => lines.join("\n"));
    const list = fc.array(text, { maxLength: 3 });
    const parts = fc.record({ title: text, subtitle: text, narrative: text, type: text, facts: list, concepts: list, filesRead: list, symbols: list });
    const summary = fc.record({ request: text, investigated: text, learned: text, completed: text, nextSteps: text, notes: text });
    await fc.assert(
      fc.asyncProperty(parts, fc.option(summary, { nil: undefined }), async (some, summed) => {
        const observation = observationOf({ ...some, id: "obs_0", ...(summed && { summary: summed }) });
        const exported = formatExport([observation, full], format);
        const { observations } = await read(exported);
        expect(observations).toEqual([observation, full]);
        expect(formatExport(observations, format)).toBe(exported);
      }),
      { numRuns: 100 },
    );
  });

  test("is in the order of time, whatever order it comes in", () => {
    const [older, newer] = [observationOf({ id: "obs_b", createdAt: 1 }), observationOf({ id: "obs_a", createdAt: 2 })];
    expect(formatExport([newer, older], format)).toBe(formatExport([older, newer], format));
  });
});

describe("an export as Markdown", () => {
  test("is for people: a section for each, with what it says as text", () => {
    const text = formatExport([full], "markdown");
    expect(text).toContain(
      "## Retries stop at five\n\n- type: decision\n- date: 2026-05-28T20:26:40.000Z\n- trust: untrusted\n- concepts: gotcha, trade-off\n",
    );
    expect(text).toContain("> In one sentence.\n\nIt was so.\n\n\\## Not a heading\n\n- nor an item\n");
    expect(text).toContain("### Facts\n\n- One.\n- Two,\n  with a line below.\n");
    expect(text).toContain("### Request\n\nWhy?\n\n### Learned\n");
  });

  test("can be changed by hand: what it shows counts", async () => {
    const text = formatExport([observationOf({ narrative: "Old text." })], "markdown")
      .replace("Old text.", "New text.")
      .replace("## Retries stop at five", "## Retries stop at six");
    expect((await read(text.replaceAll("\n", "\r\n"))).observations).toEqual([observationOf({ narrative: "New text.", title: "Retries stop at six" })]);
  });

  test("without its block of JSON is an entry like any other", async () => {
    const text = formatExport([observationOf({ narrative: "Text." })], "markdown").replace(/```json[\s\S]*/, "");
    const { observations } = await read(text);
    expect(observations).toEqual([
      expect.objectContaining({ title: "Retries stop at five", narrative: "Text.", type: "decision", createdAt: 1_780_000_000_000, by: "import" }),
    ]);
    expect(observations[0]?.id).toMatch(/^obs_[0-9a-f]{16}$/);
  });

  test("of a newer version is refused", async () => {
    await expect(read("# Agent memory\n\n<!-- agent-memory 2 -->\n")).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
    await expect(read('{"format":"agent-memory","version":2,"observations":[]}')).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
  });
});
