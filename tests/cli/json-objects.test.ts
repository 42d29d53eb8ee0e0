import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createObjectSplitter, type JsonPiece } from "../../cli/json-objects.ts";

function split(input: string | Uint8Array, cuts: number[] = [], limit?: number): JsonPiece[] {
  const bytes = typeof input === "string" ? Buffer.from(input) : input;
  const splitter = createObjectSplitter(limit);
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  const pieces = edges.slice(1).flatMap((to, i) => splitter.push(bytes.subarray(edges[i], to)));
  return [...pieces, ...splitter.end()];
}

const values = (pieces: JsonPiece[]) => pieces.flatMap((piece) => (piece.kind === "object" ? [piece.value] : []));
const faults = (pieces: JsonPiece[]) => pieces.flatMap((piece) => (piece.kind === "error" ? [`${piece.error.code}:${piece.error.data.line}`] : []));

const key = fc.string().filter((name) => name !== "__proto__" && name !== "constructor");
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: "binary" }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    tie("list"),
    tie("object"),
  ),
  list: fc.array(tie("value"), { maxLength: 4 }),
  object: fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
})).object as fc.Arbitrary<Record<string, unknown>>;

describe("the splitter of JSON objects", () => {
  test("gives the same objects however they are formatted and wherever the bytes are cut", () => {
    const formatted = fc.tuple(json, fc.constantFrom(0, 2, "\t"), fc.constantFrom("\n", "", " ", "\r\n", "\n\n"));
    fc.assert(
      fc.property(fc.array(formatted, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 6 }), (list, cuts) => {
        const text = list.map(([value, indent, end]) => JSON.stringify(value, null, indent) + end).join("");
        const pieces = split(text, cuts);
        expect(faults(pieces)).toEqual([]);
        expect(values(pieces)).toEqual(list.map(([value]) => JSON.parse(JSON.stringify(value))));
      }),
      { numRuns: 300 },
    );
  });

  test("survives any bytes and finds the same in them wherever they are cut", () => {
    const noise = fc.array(fc.constantFrom("{", "}", "[", "]", '"', ":", ",", "\n", " ", "a", "1", "\\", '{"a":1}', '{"a":1}\n'), { maxLength: 40 });
    fc.assert(
      fc.property(noise, fc.array(fc.nat(), { maxLength: 6 }), (pieces, cuts) => {
        const text = pieces.join("");
        const [whole, cut] = [split(text), split(text, cuts)];
        expect(values(cut)).toEqual(values(whole));
        expect(faults(cut)).toEqual(faults(whole));
      }),
      { numRuns: 1000 },
    );
  });

  test("gives each object as soon as it is complete", () => {
    const splitter = createObjectSplitter();
    expect(values(splitter.push(Buffer.from('{"a":1}{"b":')))).toEqual([{ a: 1 }]);
    expect(values(splitter.push(Buffer.from("2}")))).toEqual([{ b: 2 }]);
  });

  test("a broken line is one error with its number, and its neighbours are whole", () => {
    const pieces = split('{"m":"a"}\n{bad}\nnot json\n{"m":"b"}\n');
    expect(values(pieces)).toEqual([{ m: "a" }, { m: "b" }]);
    expect(faults(pieces)).toEqual(["INPUT_INVALID:2", "INPUT_INVALID:3"]);
  });

  test("an object that is never closed does not swallow the next one", () => {
    for (const open of ['{"m":"a"', '{"m":"a', '{"m":', '{"m":"a",', "{bad"]) {
      const pieces = split(`${open}\n{"m":"b"}\n{"m":"c"}\n`);
      expect(values(pieces)).toEqual([{ m: "b" }, { m: "c" }]);
      expect(faults(pieces)).toEqual(["INPUT_INVALID:1"]);
    }
  });

  test("a broken pretty-printed object is one error and none of its parts is read as an object", () => {
    const pieces = split('{\n  "tools": [\n    {"m": "inner"}\n    oops\n  ]\n}\n{"m":"next"}\n');
    expect(values(pieces)).toEqual([{ m: "next" }]);
    expect(faults(pieces)).toEqual(["INPUT_INVALID:1"]);
  });

  test("a last object that is cut is INPUT_TRUNCATED after the good ones", () => {
    const pieces = split('{"m":"a"}\n{"m":"b');
    expect(values(pieces)).toEqual([{ m: "a" }]);
    expect(faults(pieces)).toEqual(["INPUT_TRUNCATED:2"]);
    const rescued = split('{"m":\n{"m":"b"}\n');
    expect(values(rescued)).toEqual([{ m: "b" }]);
    expect(faults(rescued)).toEqual(["INPUT_TRUNCATED:1"]);
  });

  test("what is longer than the limit is one error, and reading goes on at the next line", () => {
    const long = "x".repeat(500);
    for (const line of [`{"m":"${long}"}`, `{"m":"${long}`, long, `{${long}`]) {
      const pieces = split(`${line}\n{"m":"ok"}\n`, [100, 200, 300], 128);
      expect(values(pieces)).toEqual([{ m: "ok" }]);
      expect(faults(pieces)).toEqual(["INPUT_TOO_LONG:1"]);
    }
    const pretty = split(`{\n  "a": "${long}",\n  "b": [\n1\n]}\n{"m":"ok"}`, [100, 200], 128);
    expect(values(pretty)).toEqual([{ m: "ok" }]);
    expect(faults(pretty)).toEqual(["INPUT_TOO_LONG:1"]);
  });

  test("bytes that are no UTF-8 are an error of their line; a character cut in two is none", () => {
    const bad = Buffer.concat([Buffer.from('{"m":"caf'), Buffer.from([0xe9, 0x20, 0xff, 0xfe]), Buffer.from('"}\n')]);
    const good = Buffer.from('{"m":"é"}\n');
    const pieces = split(Buffer.concat([bad, good]), [bad.length + 7]);
    expect(values(pieces)).toEqual([{ m: "é" }]);
    expect(faults(pieces)).toEqual(["INPUT_ENCODING:1"]);
  });

  test("__proto__ and constructor are refused as keys at any depth, escaped or not", () => {
    for (const text of ['{"__proto__":1}', '{"a":[{"constructor":{}}]}', '{"a":{"\\u005f_proto__":1}}'])
      expect(faults(split(text))).toEqual(["INPUT_INVALID:1"]);
    expect(faults(split('{"message":"constructor __proto__"}'))).toEqual([]);
  });
});
