import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createPrivateWords, withoutPrivate, withoutPrivateIn } from "../../../plugins/memory/private-text.ts";

const left = (text: string): string => withoutPrivate(text).text;

describe("what stands between private tags", () => {
  test.each([
    ["a pair", "a <private>S3CRET</private> b", "a  b"],
    ["upper case", "a<PRIVATE>S3CRET</Private>b", "ab"],
    ["attributes", "a<private reason='x' until=\"y\">S3CRET</private>b", "ab"],
    ["spaces", "a< private >S3CRET< / private >b", "ab"],
    ["a tag over two lines", "a<private\n>S3CRET</private\n>b", "ab"],
    ["several lines", "a\n<private>\nS3CRET\nS3CRET\n</private>\nb", "a\n\nb"],
    ["several pairs", "<private>S3CRET</private>a<private>S3CRET</private>b", "ab"],
    ["a pair in a pair", "a<private>S3CRET<private>S3CRET</private>S3CRET</private>b", "ab"],
    ["a pair across another", "a<private>S3CRET<system-reminder>S3CRET</private>S3CRET</system-reminder>b", "ab"],
    ["an end that is missing", "a <private>S3CRET\nS3CRET", "a "],
    ["an inner end that is missing", "a<private>S3CRET<private>S3CRET</private>S3CRET", "a"],
    ["a bracket that is missing", "a <private S3CRET", "a "],
    ["an end without its bracket", "a<private>S3CRET</private", "a"],
    ["a beginning that is missing", "S3CRET</private>b", "b"],
    ["a second end", "<private>S3CRET</private>S3CRET</private>b", "b"],
    ["half an end alone", "S3CRET</private", ""],
    ["one that closes itself", "a<private/>b", "ab"],
    ["one that closes itself before an end", "S3CRET<private />S3CRET</private>b", "b"],
    ["entities", "a&lt;private&gt;S3CRET&lt;/private&gt;b", "ab"],
    ["numeric entities", "a&#60;private&#62;S3CRET&#x3c;&#x2F;private&#x3E;b", "ab"],
    ["entities twice", "a&amp;lt;private&amp;gt;S3CRET&amp;lt;/private&amp;gt;b", "ab"],
    ["letters as entities", "a<&#112;riv&#x61;te>S3CRET</private>b", "ab"],
    ["escapes of JSON", "a\\u003cprivate\\u003eS3CRET\\u003c\\/private\\u003eb", "ab"],
    ["escapes of URLs", "a%3Cprivate%3ES3CRET%3C%2Fprivate%3Eb", "ab"],
    ["wide letters", "a＜ｐｒｉｖａｔｅ＞S3CRET＜／ＰＲＩＶＡＴＥ＞b", "ab"],
    ["letters that nobody sees", "a<pri\u200bva\u00adte>S3CRET</p\u2060rivate>b", "ab"],
    ["letters of another script", "a<рrivаte>S3CRET</рrivаte>b", "ab"],
    ["brackets that look alike", "a〈private〉S3CRET‹/private›b", "ab"],
    ["the context of another memory", "a<claude-mem-context>x</claude-mem-context>b", "ab"],
    ["a host's instruction", "a<system_instruction>x</system_instruction>b<System-Instruction>y</System-Instruction>", "ab"],
    ["a host's reminder", "a<system-reminder>\nx\n</system-reminder>b", "ab"],
    ["an output that was put aside", "a<persisted-output>x</persisted-output>b", "ab"],
    ["a host's end alone", "a</system-reminder>b", "ab"],
  ])("goes: %s", (_, text, expected) => {
    const result = withoutPrivate(text);
    expect(result.text).toBe(expected);
    expect(result.text).not.toContain("S3CRET");
    expect(result.removed).toBe(text.length - expected.length);
  });

  test("is all of a text that says nothing else", () => {
    expect(withoutPrivate(" <private>x</private>\n")).toMatchObject({ isWhole: true });
    expect(withoutPrivate("<private>x</private> y")).toMatchObject({ isWhole: false });
    expect(withoutPrivate("")).toMatchObject({ isWhole: false, removed: 0 });
  });

  test("is told to who keeps it from the rest of the session", () => {
    expect(withoutPrivate("a<private>one</private>b<private>two").fragments).toEqual(["one", "two"]);
    expect(withoutPrivate("<system-reminder>x</system-reminder>").fragments).toEqual([]);
  });
});

describe("the memory's own words are never remembered again", () => {
  test("the block of the system prompt and of a note on a file", () => {
    expect(left("a\n<memory>\nold notes\n</memory>\nb")).toBe("a\n\nb");
    expect(left("<memory>\nold notes, cut")).toBe("");
    expect(left('a\n<untrusted-memory note="data">\nx </memory> y\n</untrusted-memory>\nb')).toBe("a\n\nb");
  });

  test("what its tools have recalled, to the end with the same id", () => {
    const inner = '<tool-output id="AAAA" tool="bash">\nx\n</tool-output AAAA>';
    expect(left(`a<tool-output id="ZZZZ" tool="memory_search">\n${inner}\n</tool-output ZZZZ>b`)).toBe("ab");
    expect(left(`a${inner}b`)).toBe(`a${inner}b`);
  });
});

describe("text without a tag stays exactly as it is", () => {
  test.each([
    "cd /private/var/folders && ls",
    "#include <memory>\n#include <private/impl.h>\n",
    "const store: Promise<Memory> = open<memory>();",
    "if (a < private_key && b > c) return;",
    "Ann <private@example.com>",
    "<private-route path='/'/> <privates> <PrivateRoute>",
    "class A { private x = 1 } // private, < and >",
    "<div>\r\n\u200b</div>\0",
    "{ not json <b>",
  ])("%j", (text) => expect(withoutPrivate(text)).toEqual({ text, removed: 0, isWhole: false, fragments: [] }));

  test("whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        fc.pre(!/priv|system|persist|claude|memory|output/i.test(text.normalize("NFKC")));
        expect(left(text)).toBe(text);
      }),
    );
  });
});

describe("a value as JSON has them", () => {
  test("a tag that ends in a later text takes all between, other keys and numbers too", () => {
    const { value, isWhole } = withoutPrivateIn({ a: "x<private>S3CRET", pin: 4711, list: ["S3CRET"], b: "S3CRET</private>y", c: "z" });
    expect(JSON.stringify(value)).not.toMatch(/S3CRET|4711|pin/);
    expect(Object.values(value as object)).toEqual(["x", "y", "z"]);
    expect(isWhole).toBe(false);
  });

  test("a tag may lie across two texts", () => {
    expect(withoutPrivateIn(["a<pri", "vate>S3CRET</priv", "ate>b"]).value).toEqual(["a", "", "b"]);
    expect(withoutPrivateIn({ a: "<pri", b: "vate>S3CRET</private>c" }).value).toEqual({ a: "", b: "c" });
  });

  test("a key may hold it", () => {
    expect(withoutPrivateIn({ "a<private>S3CRET</private>": 1, "<private>x</private>": "y" }).value).toEqual({ a: 1, "[private 4]": "y" });
  });

  test("a beginning that is missing takes its own text only", () => {
    expect(withoutPrivateIn({ path: "src/a.ts", text: "S3CRET</private>b" }).value).toEqual({ path: "src/a.ts", text: "b" });
  });

  test("numbers, booleans, null and __proto__ stay", () => {
    const value = JSON.parse('{"a":1.5,"b":true,"c":null,"__proto__":{"x":"<private>S3CRET</private>"},"d":[{}]}');
    expect(JSON.stringify(withoutPrivateIn(value).value)).toBe('{"a":1.5,"b":true,"c":null,"__proto__":{"x":""},"d":[{}]}');
  });

  test("a value without a tag is the same one", () => {
    const value = { a: ["<b>"] };
    expect(withoutPrivateIn(value).value).toBe(value);
  });

  test("JSON in a text stays JSON, and whatever is private in it goes", () => {
    const text = fc.oneof(fc.string(), fc.constantFrom("<private>S3CRET", "</private>", "<private>S3CRET</private>", "x<PRIVATE a>S3CRET"));
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), fc.array(text), (value, texts) => {
        const json = JSON.stringify({ texts, value });
        expect(() => JSON.parse(left(json))).not.toThrow();
        expect(left(json)).not.toContain("S3CRET");
      }),
    );
    expect(left('{\n  "a": "<private>x</private>",\n  "b": 1\n}')).toBe('{\n  "a": "",\n  "b": 1\n}');
  });

  test("nothing private is left, however it is cut into pieces", () => {
    const whole = "begin <private note='x'>S3CRET one S3CRET</private> end";
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 6 }), (cuts) => {
        const at = [0, ...cuts, whole.length].sort((a, b) => a - b);
        const pieces = at.slice(1).map((end, index) => whole.slice(at[index], end));
        const { value } = withoutPrivateIn(pieces);
        expect((value as string[]).join("")).toBe("begin  end");
      }),
    );
  });
});

test("nothing inside of tags is left, whatever stands there", () => {
  const noiseOf = (...units: string[]) => fc.string({ unit: fc.constantFrom("<", ">", "&lt;", " ", "x", "\n", '"', "\u200b", "\\", ...units), maxLength: 30 });
  fc.assert(
    fc.property(noiseOf("/", "private", "</"), noiseOf("<private", "private", "<memory>"), (before, inside) => {
      expect(left(`${before}<private>${inside}S3CRET`)).not.toContain("S3CRET");
    }),
  );
  fc.assert(
    fc.property(noiseOf("/", "</", "memory"), noiseOf("/", "private", "</"), (inside, after) => {
      expect(left(`S3CRET${inside}</private>${after}`)).not.toContain("S3CRET");
    }),
  );
});

test("hundreds of tags and ten megabytes are one walk", () => {
  const piece = "<private>S3CRET</private>kept\n";
  expect(left(piece.repeat(350_000))).toBe("kept\n".repeat(350_000));
  for (const evil of ["<", "< ", "<private ", "</private>", "&", "\\", "%25", "<\u200b", "<private/"]) {
    const text = evil.repeat(Math.ceil(1_000_000 / evil.length));
    expect(left(text).length).toBeLessThanOrEqual(text.length);
  }
  expect(left(`<${"\u200b".repeat(5_000_000)}`)).toHaveLength(5_000_001);
});

describe("what was private once in a session", () => {
  const remembering = (...fragments: string[]) => {
    const words = createPrivateWords();
    words.remember(fragments);
    return (text: string) => words.remove(text).text;
  };

  test("goes from what is said later: the whole, its lines, and its words that are none of a language", () => {
    const remove = remembering("The code name is\n  Purple Elephant Nine\nand the key prod-Key_42x, user annaBerger.");
    expect(remove("I used prod-Key_42x for it")).toBe("I used [private] for it");
    expect(remove("it says: Purple Elephant Nine!")).toBe("it says: [private]!");
    expect(remove("ANNABERGER logged in")).toBe("[private] logged in");
    expect(remove("The code is fine, and the user too")).toBe("The code is fine, and the user too");
  });

  test("names of files and ordinary words are none", () => {
    const remove = remembering("look into package.json and src/parser/index.ts, it shouldn’t matter");
    expect(remove("package.json, src/parser/index.ts: it shouldn’t work")).toBe("package.json, src/parser/index.ts: it shouldn’t work");
  });

  test("a short one goes where it stands by itself", () => {
    const remove = remembering("hunter2");
    expect(remove("password hunter2, not hunter22")).toBe("password [private], not hunter22");
    expect(remembering("abc")("abc")).toBe("abc");
  });

  test("goes from text that is JSON, and from every text of a value", () => {
    const words = createPrivateWords();
    words.remember(['a "quoted\\path" secret']);
    expect(words.remove(JSON.stringify({ a: 'x a "quoted\\path" secret y' })).text).toBe('{"a":"x [private] y"}');
    expect(words.removeIn({ list: ['a "quoted\\path" secret', 1], same: "x" }).value).toEqual({ list: ["[private]", 1], same: "x" });
  });

  test("counts what it takes, and leaves everything alone before it knows anything", () => {
    const words = createPrivateWords();
    expect(words.remove("anything")).toEqual({ text: "anything", removed: 0 });
    words.remember(["SecretWord99"]);
    expect(words.remove("SecretWord99 SecretWord99").removed).toBeGreaterThan(0);
    expect(words.size).toBeGreaterThan(0);
  });

  test("is found among thousands in a long text", () => {
    const secrets = Array.from({ length: 5_000 }, (_, index) => `token-${index}-${index * 7}abc`);
    const remove = remembering(secrets.join("\n"), ...secrets);
    expect(remove(`${"a plain word ".repeat(50_000)}token-4999-34993abc`)).toMatch(/\[private\]$/);
  });
});
