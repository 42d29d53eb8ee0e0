import { describe, expect, test } from "vitest";
import { importanceOf, recencyOf, standingOf, weightOf } from "../../../plugins/memory/importance.ts";
import { DAY, NOW, observation } from "../../fixtures/memory.ts";

const content = (type: string, concepts: string[] = [], filesModified: string[] = []) => ({ type, concepts, filesModified });
const byModel = { by: "acme/model" };

describe("importance", () => {
  test("is highest for what a person said, whatever it is", () => {
    expect(importanceOf(content("discovery"), { by: "person" })).toBe(0.9);
    for (const type of ["decision", "bugfix", "feature", "change", "nobody knows"])
      expect(importanceOf(content(type, ["gotcha", "trade-off", "problem-solution"], ["a"]), { ...byModel, failed: true })).toBeLessThanOrEqual(0.9);
  });

  test("sets decisions and bugs before what was only looked at", () => {
    const of = (type: string) => importanceOf(content(type), byModel);
    expect(of("decision")).toBeGreaterThan(of("feature"));
    expect(of("bugfix")).toBeGreaterThan(of("change"));
    expect(of("feature")).toBeGreaterThan(of("discovery"));
    expect(of("a type of another mode")).toBe(0.5);
  });

  test("rises with traps, changed files and errors", () => {
    const plain = importanceOf(content("discovery"), byModel);
    expect(importanceOf(content("discovery", ["gotcha"]), byModel)).toBeGreaterThan(plain);
    expect(importanceOf(content("discovery", [], ["a.ts"]), byModel)).toBeGreaterThan(plain);
    expect(importanceOf(content("discovery"), { ...byModel, failed: true })).toBeGreaterThan(plain);
    expect(importanceOf(content("discovery", ["what-changed"]), byModel)).toBe(plain);
  });

  test("is lower for notes without a model, and higher for what the model saved on purpose", () => {
    const plain = importanceOf(content("change"), byModel);
    expect(importanceOf(content("change"), { by: "heuristic" })).toBeLessThan(plain);
    expect(importanceOf(content("change"), { by: "agent" })).toBeGreaterThan(plain);
  });

  test("stays between 0 and 1", () => {
    for (const by of ["person", "agent", "heuristic", "acme/model", "import"])
      for (const type of ["decision", "discovery", ""]) {
        const value = importanceOf(content(type, ["gotcha", "trade-off", "problem-solution", "pattern"], ["a"]), { by, failed: true });
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1);
      }
  });

  test("grows with each repetition, and never passes 1", () => {
    const one = observation({ title: "a", importance: 0.5 });
    const merged = (count: number) => Array.from({ length: count }, () => ({ id: "x", title: "a", sessionId: "s", createdAt: 1 }));
    expect(standingOf(one)).toBeCloseTo(0.5);
    expect(standingOf({ ...one, merged: merged(1) })).toBeCloseTo(0.55);
    expect(standingOf({ ...one, merged: merged(100) })).toBeLessThanOrEqual(1);
  });
});

describe("decay", () => {
  const age = { now: NOW, halfLifeDays: 30 };
  const old = (days: number, importance = 0.5) => observation({ title: "a", createdAt: NOW - days * DAY, importance });

  test("halves recency with each half-life", () => {
    expect(recencyOf(old(0), age)).toBe(1);
    expect(recencyOf(old(30), age)).toBeCloseTo(0.5);
    expect(recencyOf(old(60), age)).toBeCloseTo(0.25);
  });

  test("is slower for what is important, and for what was used", () => {
    expect(recencyOf(old(30, 0.9), age)).toBeGreaterThan(recencyOf(old(30, 0.5), age));
    expect(recencyOf(old(30, 0.1), age)).toBeLessThan(recencyOf(old(30, 0.5), age));
    expect(recencyOf(old(30), { ...age, uses: 3 })).toBeGreaterThan(recencyOf(old(30), age));
    expect(recencyOf(old(30), { ...age, uses: 7 })).toBeGreaterThan(recencyOf(old(30), { ...age, uses: 3 }));
  });

  test("takes nothing away wholly: what is old stands behind, and is there", () => {
    const ancient = weightOf(old(10_000, 0.8), age);
    expect(ancient).toBeGreaterThan(0.15);
    expect(ancient).toBeLessThan(weightOf(old(1, 0.8), age));
  });

  test("knows no future", () => {
    expect(recencyOf(old(-5), age)).toBe(1);
  });
});
