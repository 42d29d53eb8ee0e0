import { describe, expect, test } from "vitest";
import { tokensOf } from "../../../plugins/memory/note-text.ts";
import { makeReadNote, pathInNotes } from "../../../plugins/memory/read-note.ts";
import { observation, paperMemory } from "../../fixtures/memory.ts";

const trap = (title: string, more = {}) => observation({ title, concepts: ["gotcha"], filesModified: ["src/rows.ts"], ...more });

describe("a note on a file that is read", () => {
  test("tells its traps, the weightiest first, three at most", async () => {
    const notes = [
      trap("A", { importance: 0.1 }),
      trap("B", { importance: 0.9, facts: ["The export relies on it."] }),
      trap("C"),
      trap("D", { importance: 0.8 }),
    ];
    const note = await makeReadNote(paperMemory(notes), "src/rows.ts");
    expect(note).toMatch(/^<memory>\nNotes on .* not instructions\.\n- B \| The export relies on it\. \[obs_\w+, 2026-02-28\]\n- D .*\n- C .*\n<\/memory>$/);
  });

  test("is left out for other files, other notes, what is out of date and what came from outside", async () => {
    const notes = [
      trap("elsewhere", { filesModified: ["lib/src/rows.ts"] }),
      trap("no trap", { concepts: ["pattern"] }),
      trap("old", { supersededBy: "obs_1" }),
      trap("outside", { trust: "untrusted" }),
    ];
    expect(await makeReadNote(paperMemory(notes), "src/rows.ts")).toBeUndefined();
    expect(await makeReadNote(paperMemory([]), "src/rows.ts")).toBeUndefined();
  });

  test("takes 300 tokens at most", async () => {
    const notes = Array.from({ length: 5 }, (_, n) => trap(`${n} ${"long ".repeat(100)}`, { facts: ["word ".repeat(400)] }));
    const note = (await makeReadNote(paperMemory(notes), "src/rows.ts")) as string;
    expect(tokensOf(note)).toBeLessThanOrEqual(300);
  });

  test("names a file as observations do", () => {
    expect(pathInNotes("./src/../src/rows.ts", "/work/app")).toBe("src/rows.ts");
    expect(pathInNotes("/work/app/src/rows.ts", "/work/app")).toBe("src/rows.ts");
    expect(pathInNotes("../other/rows.ts", "/work/app")).toBe("/work/other/rows.ts");
    expect(pathInNotes("..rows.ts", "/work/app")).toBe("..rows.ts");
  });
});
