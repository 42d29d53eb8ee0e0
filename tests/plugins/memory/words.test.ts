import { expect, test } from "vitest";
import { dayWords, findTimes, timeWords } from "../../../plugins/memory/dates.ts";
import { readSequence, readWords } from "../../../plugins/memory/words.ts";

const termsOf = (text: string) => readWords(text).map(({ term }) => term);
const wholesOf = (text: string) =>
  readWords(text)
    .filter(({ kind }) => kind === "whole")
    .map(({ term }) => term);

test.each([
  ["openStore", ["openstore", "open", "store"]],
  ["open_store", ["openstore", "open", "store"]],
  ["open-store", ["openstore", "open", "store"]],
  ["MAX_RETRIES", ["maxretries", "maximum", "retri"]],
  ["HTTPServer2", ["httpserver2", "http", "server"]],
  ["store.ts", ["store.ts", "store", "typescript"]],
  ["7.2.0", ["7.2.0"]],
])("the identifier %s is found whole and by its parts", (text, terms) => {
  expect(termsOf(text)).toEqual(terms);
});

test("a path is found whole, by its last parts and by each part", () => {
  expect(wholesOf("plugins/memory/words.ts")).toEqual(["plugins/memory/words.ts", "memory/words.ts", "words.ts"]);
  expect(wholesOf("C:\\work\\words.ts")).toContain("work/words.ts");
});

test("plain words are brought to one form, identifiers are not", () => {
  expect(termsOf("refreshing refreshed refreshes")).toEqual(["refresh", "refresh", "refresh"]);
  expect(termsOf("went gone going")).toEqual(["go", "go", "go"]);
  expect(wholesOf("refreshingTokens")).toEqual(["refreshingtokens"]);
});

test("stop words go, and what turns a sentence round stays", () => {
  expect(termsOf("it is the one that was in there")).toEqual([]);
  expect(termsOf("not no never without only if until before")).toHaveLength(8);
  expect(termsOf("it doesn't retry")).toEqual(["not", "retri"]);
  expect(termsOf("Ada's")).toEqual(["ada"]);
});

test("accents, width and case do not matter", () => {
  expect(termsOf("Café CAFÉ cafe ｃａｆｅ")).toEqual(["cafe", "cafe", "cafe", "cafe"]);
});

test("text without spaces is found by two signs at a time", () => {
  expect(termsOf("東京タワー")).toEqual(["東京", "京タ", "タワ", "ワー"]);
  expect(termsOf("fix東京")).toEqual(["東京", "fix"]);
});

test("a sequence keeps every word in its place", () => {
  expect(readSequence("The tokens of openStore")).toEqual(["the", "token", "of", "open", "store"]);
});

const at = Date.UTC(2023, 4, 8, 12);

test.each([
  ["7 May 2023", ["2023-05-07", "2023-05"]],
  ["May 7th, 2023", ["2023-05-07", "2023-05"]],
  ["2023-05-07", ["2023-05-07", "2023-05"]],
  ["May 2023", ["2023-05"]],
  ["in 2021", ["2021"]],
  ["in July", ["july"]],
  ["yesterday", ["2023-05-07", "2023-05"]],
  ["last Friday", ["2023-05-05", "2023-05"]],
  ["two days ago", ["2023-05-06", "2023-05"]],
  ["last month", ["2023-04"]],
  ["last year", ["2022"]],
])("the time %s is understood", (text, words) => {
  expect(findTimes(text, at).flatMap(timeWords)).toEqual(words);
});

test("words that only look like times are none", () => {
  expect(findTimes("it may fail, version 12 of 99 days", at)).toEqual([]);
});

test("a record is found by its day, month, year and weekday", () => {
  expect(dayWords(at)).toEqual(["2023-05-08", "2023-05", "2023", "may", "monday"]);
});
