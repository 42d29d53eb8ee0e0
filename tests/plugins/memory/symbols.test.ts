import { describe, expect, test } from "vitest";
import { findSymbols, relatedBy, withSymbols } from "../../../plugins/memory/symbols.ts";
import { DAY, NOW, observation } from "../../fixtures/memory.ts";

const said = (narrative: string) => ({ title: "", subtitle: "", facts: [], narrative });

describe("symbols of a text", () => {
  test.each([
    ["openStore and createModelOpener share the redactor", ["openStore", "createModelOpener"]],
    ["`route` falls over to the next, see RetryOptions", ["route", "RetryOptions"]],
    ["read_file fails with ENOENT, write_file with ERR_INVALID_ARG_TYPE", ["read_file", "ENOENT", "write_file", "ERR_INVALID_ARG_TYPE"]],
    ["AGENT_MODEL and $HOME and ${XDG_DATA_HOME} are read", ["AGENT_MODEL", "HOME", "XDG_DATA_HOME"]],
    ["run it with --dry-run and `-q`", ["-q", "--dry-run"]],
    ["store.put() is called before close()", ["store.put", "close"]],
    ["TS2345 and E2BIG are codes of errors", ["TS2345", "E2BIG"]],
    ["std::vector in `Foo::bar`", ["Foo::bar"]],
    ["call `withLimits(fetch, limits)` first", ["withLimits"]],
  ])("are those of code: %s", (text, symbols) => {
    expect(findSymbols(said(text)).sort()).toEqual([...symbols].sort());
  });

  test.each([
    "The parser reads the whole file at once",
    "See https://example.org/a/fooBar?q=some_name for more",
    "JavaScript, TypeScript and OpenRouter on GitHub",
    "The path core/openStore.ts is a file",
    "`npm run build` and `git status`",
    "an e-mail to somebody, version 1.2.3, well-known words",
    "I said NO and OK, on 2026-03-01",
  ])("are no plain words, brands, paths or addresses: %s", (text) => {
    expect(findSymbols(said(text))).toEqual([]);
  });

  test("stand each once, and are not endless", () => {
    expect(findSymbols({ title: "openStore", subtitle: "`openStore`", facts: ["openStore()"], narrative: "" })).toEqual(["openStore"]);
    const many = Array.from({ length: 100 }, (_, index) => `name_${index}`).join(" ");
    expect(findSymbols(said(many))).toHaveLength(32);
  });

  test("join those that an observation has already", () => {
    const one = observation({ title: "openStore is lazy", symbols: ["Adapter"] });
    expect(withSymbols(one).symbols).toEqual(["Adapter", "openStore"]);
    expect(withSymbols(withSymbols(one))).toEqual(withSymbols(one));
  });

  test("are not looked for in what is longer than any name", () => {
    for (const piece of ["a_", "a.", "/a", "aB"])
      expect(findSymbols(said(`openStore ${piece.repeat(100_000)} closeStore`))).toEqual(["openStore", "closeStore"]);
  });
});

describe("what has to do with an observation", () => {
  const at = (title: string, day: number, more: object = {}) => observation({ title, createdAt: NOW + day * DAY, sessionId: `ses_${day}`, ...more });
  const one = at("a", 0, { filesModified: ["core/route.ts"], symbols: ["route", "letRest"] });
  const close = at("b", 1, { filesRead: ["core/route.ts"], symbols: ["letRest"] });
  const loose = at("c", 2, { symbols: ["route"] });
  const other = at("d", 3, { filesRead: ["core/turn.ts"], symbols: ["foldTurn"] });

  test("shares files and symbols with it, and says which", () => {
    expect(relatedBy(one, [one, other, loose, close])).toEqual([
      { observation: close, files: ["core/route.ts"], symbols: ["letRest"], strength: expect.any(Number) },
      { observation: loose, files: [], symbols: ["route"], strength: expect.any(Number) },
    ]);
  });

  test("counts for more the rarer it is", () => {
    const common = Array.from({ length: 20 }, (_, index) => at(`common ${index}`, 10 + index, { symbols: ["route"] }));
    const [first] = relatedBy(one, [...common, at("rare", 1, { symbols: ["letRest"] })]);
    expect(first!.observation.title).toBe("rare");
  });

  test("is nothing where there is nothing", () => {
    expect(relatedBy(at("e", 4), [one, close])).toEqual([]);
  });
});
