import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { codeMode } from "../../../plugins/memory/code-mode.ts";
import type { Content } from "../../../plugins/memory/observation.ts";
import { type Reply, readReply, toSummaryContent } from "../../../plugins/memory/reply.ts";

const call = {
  tool: "edit",
  effect: "write",
  patterns: ["src/a.ts"],
  input: "{}",
  output: "",
  status: "completed" as const,
  filesRead: ["src/read.ts"],
  filesModified: ["src/a.ts"],
};
const ofCall = (text: string, reason?: string): Reply => readReply(text, { mode: codeMode, item: { kind: "call", call }, reason });
const ofEnd = (text: string, reason?: string): Reply => readReply(text, { mode: codeMode, item: { kind: "end" }, reason });

/** What is compared of an observation: the fields that are named. */
type Wanted = Partial<Content>;
const A = '{"type":"bugfix","title":"A","subtitle":"","narrative":"n","facts":[],"concepts":[]}';
const B = '{"type":"feature","title":"B","narrative":"m"}';
const wanted = (...titles: string[]): Wanted[] => titles.map((title) => ({ title }));
const xml = (title: string, more = ""): string => `<observation><type>bugfix</type><title>${title}</title>${more}</observation>`;

/** [what it is, the reply, the observations, whether it was cut] */
const OBSERVATIONS: [string, string, Wanted[], boolean?][] = [
  ["JSON as it was asked for", `{"observations":[${A}]}`, [{ type: "bugfix", title: "A", narrative: "n", facts: [], concepts: [] }]],
  ["several, in order", `{"observations":[${A},${B}]}`, wanted("A", "B")],
  ["a list alone", `[${A},${B}]`, wanted("A", "B")],
  ["one alone", A, wanted("A")],
  ["one a line", `${A}\n${B}\n`, wanted("A", "B")],
  ["one wrapped in its name", `{"observation":${A}}`, wanted("A")],
  ["each wrapped in its name", `{"observations":[{"observation":${A}},{"observation":${B}}]}`, wanted("A", "B")],
  ["an object in the place of a list", `{"observations":${A}}`, wanted("A")],
  ["an envelope", `{"result":{"observations":[${A}]}}`, wanted("A")],
  ["JSON in a string of JSON", JSON.stringify(`{"observations":[${A}]}`), wanted("A")],
  ["a fence", `\`\`\`json\n{"observations":[${A}]}\n\`\`\``, wanted("A")],
  ["a fence without a language", `\`\`\`\n[${A}]\n\`\`\``, wanted("A")],
  ["a fence amid prose", `Here you are:\n\n\`\`\`json\n{"observations":[${A}]}\n\`\`\`\nHope it helps {really}!`, wanted("A")],
  ["prose before and behind", `Sure! {"observations":[${A}]} That is all [1].`, wanted("A")],
  ["braces of prose before", `The function f() { return {x} } was [changed]: {"observations":[${A}]}`, wanted("A")],
  ["two roots of JSON", `{"observations":[${A}]}\n{"observations":[${B}]}`, wanted("A", "B")],
  ["a byte order mark", `\uFEFF{"observations":[${A}]}`, wanted("A")],
  ["thoughts before", `<think>{"observations":[{"title":"no"}]} hmm</think>\n{"observations":[${A}]}`, wanted("A")],
  ["commas too much", `{"observations":[{"type":"bugfix","title":"A",},],}`, wanted("A")],
  ["a comma that is missing", '{"observations":[{"type":"bugfix" "title":"A"}{"title":"B"}]}', wanted("A", "B")],
  [
    "names of fields in capitals",
    '{"Observations":[{"Type":"bugfix","Title":"A","Files-Read":["b.ts"]}]}',
    [{ type: "bugfix", title: "A", filesRead: ["src/read.ts", "b.ts"] }],
  ],
  [
    "texts in the place of observations",
    '{"observations":["The cache is warm.\nIt was cold."]}',
    [{ title: "The cache is warm.", narrative: "The cache is warm.\nIt was cold." }],
  ],
  ["comments", `{ // what I saw\n "observations":[${A}, /* and */ {"title":"see http://x.y/z"}] }`, wanted("A", "see http://x.y/z")],
  ["single quotes", "{'observations':[{'type':'bugfix','title':'It\\'s A'}]}", wanted("It's A")],
  ["keys without quotes", '{observations:[{type:"bugfix",title:"A"}]}', wanted("A")],
  ["the words of Python", `{"observations":[{"title":"A","subtitle":None,"isNew":True}]}`, [{ title: "A", subtitle: "", extra: { isNew: true } }]],
  ["a line break in a string", '{"observations":[{"title":"A","narrative":"one\ntwo"}]}', [{ narrative: "one\ntwo" }]],
  ["quotes in a string that nobody escaped", '{"observations":[{"title":"The "best" way","narrative":"n"}]}', [{ title: 'The "best" way' }]],
  [
    "escapes that JSON does not have",
    '{"observations":[{"title":"match \\d+ in C:\\dir","narrative":"a\\nb"} ]} ok',
    [{ title: "match \\d+ in C:\\dir", narrative: "a\nb" }],
  ],
  ["escapes of JSON", '{"observations":[{"title":"\\u00e9 \\"q\\" \\/"}]}', wanted('é "q" /')],
  ["a pair of escaped surrogates", 'x {"title":"\\ud83d\\ude00 ok"}', wanted("😀 ok")],
  ["half a character", '{"title":"a\\ud83d b"}', wanted("a\uFFFD b")],
  ["code with < in JSON", '{"title":"A","narrative":"if (a < b) return <T>x</T>;"}', [{ narrative: "if (a < b) return <T>x</T>;" }]],
  ["elements in a string of JSON", `{"title":"parses","narrative":"${xml("no")}"}`, wanted("parses")],
  [
    "Chinese and Japanese",
    '{"observations":[{"title":"修复了登录错误","narrative":"原因は期限切れのトークン。"}]}',
    [{ title: "修复了登录错误", narrative: "原因は期限切れのトークン。" }],
  ],
  [
    "XML",
    xml("A", "<narrative>n</narrative><facts><fact>one</fact><fact>two</fact></facts>"),
    [{ type: "bugfix", title: "A", narrative: "n", facts: ["one", "two"] }],
  ],
  ["several elements", `${xml("A")}\n${xml("B")}`, wanted("A", "B")],
  ["elements in a root", `<observations>${xml("A")}${xml("B")}</observations>`, wanted("A", "B")],
  ["XML in a fence", `\`\`\`xml\n${xml("A")}\n\`\`\``, wanted("A")],
  ["XML amid prose", `I noticed this: ${xml("A")} and nothing more.`, wanted("A")],
  ["XML in upper case with attributes", '<OBSERVATION id="1"><TITLE lang="en">A</TITLE></OBSERVATION>', wanted("A")],
  [
    "a fence within a narrative",
    xml("A", "<narrative>Run:\n```sh\nnpm test\n```\nthen push.</narrative>"),
    [{ narrative: "Run:\n```sh\nnpm test\n```\nthen push." }],
  ],
  ["entities", xml("a &lt; b &amp;&amp; c &#62; d &quot;&#x65;&quot;"), wanted('a < b && c > d "e"')],
  ["entities once, not twice", xml("&amp;lt;b&amp;gt;"), wanted("&lt;b&gt;")],
  [
    "code with < in XML",
    xml("A", "<narrative>Map<string, Array<T>> and if (a<b) <Foo bar={1}/> end</narrative>"),
    [{ narrative: "Map<string, Array<T>> and if (a<b) <Foo bar={1}/> end" }],
  ],
  [
    "a title of HTML in a narrative",
    xml("A", "<narrative>sets <title>Home</title> of the page</narrative>"),
    [{ title: "A", narrative: "sets <title>Home</title> of the page" }],
  ],
  ["CDATA", xml("<![CDATA[a < b && &amp;]]>"), wanted("a < b && &amp;")],
  ["lists without items", xml("A", "<facts>- one\n- two</facts><concepts>gotcha</concepts>"), [{ facts: ["one", "two"], concepts: ["gotcha"] }]],
  ["an end that is missing before the next", `<observation><title>A</title><narrative>n</narrative>${xml("B")}`, wanted("A", "B")],
  ["an end of a field that is missing", "<observation><title>A<narrative>n</narrative></observation>", [{ title: "A", narrative: "n" }]],
  ["a summary behind observations", `${xml("A")}<summary><request>r</request></summary>`, wanted("A")],
  ["XML after braces of prose", `function() { "x" } ${xml("A")}`, wanted("A")],
  ["camel case", '{"title":"A","filesRead":["x.ts"],"filesModified":["y.ts"]}', [{ filesRead: ["src/read.ts", "x.ts"], filesModified: ["src/a.ts"] }]],
  ["files that were read, with the proven ones first", '{"title":"A","files_read":["x.ts","src/read.ts"]}', [{ filesRead: ["src/read.ts", "x.ts"] }]],
  ["files that a model claims to be written", '{"title":"A","files_modified":["other.ts"]}', [{ filesModified: ["src/a.ts"] }]],
  [
    "files in XML",
    xml("A", "<files_read><file>x.ts</file></files_read><files_modified><file>z.ts</file></files_modified>"),
    [{ filesRead: ["src/read.ts", "x.ts"], filesModified: ["src/a.ts"] }],
  ],
  ["a type that is missing", '{"title":"A"}', [{ type: "discovery" }]],
  ["a type that the mode does not know", '{"type":"Epiphany","title":"A"}', [{ type: "Epiphany" }]],
  ["a type in capitals", '{"type":"BugFix","title":"A"}', [{ type: "bugfix" }]],
  ["a copied list of types", '{"type":"[ refactor | bugfix ]","title":"A"}', [{ type: "refactor" }]],
  ["a concept with its explanation", '{"title":"A","concepts":["gotcha: the cache is stale","Pattern"]}', [{ concepts: ["gotcha", "pattern"] }]],
  [
    "a concept that is the type, and empty ones",
    '{"type":"decision","title":"A","concepts":["decision",""," ",":x","trade-off","trade-off"]}',
    [{ concepts: ["trade-off"] }],
  ],
  ["concepts in one text", '{"title":"A","concepts":"gotcha, pattern"}', [{ concepts: ["gotcha", "pattern"] }]],
  ["facts in one text", '{"title":"A","facts":"- one\\n* two\\n3. three"}', [{ facts: ["one", "two", "three"] }]],
  ["facts as objects", '{"title":"A","facts":[{"fact":"one"},2,null,""]}', [{ facts: ["one", "2"] }]],
  ["a number as a title", '{"title":42,"narrative":["a","b"]}', [{ title: "42", narrative: "a\nb" }]],
  ["no title", '{"narrative":"First line.\\nSecond."}', [{ title: "First line.", narrative: "First line.\nSecond." }]],
  ["fields that nobody knows", '{"title":"A","confidence":0.9,"tags":["x"]}', [{ extra: { confidence: 0.9, tags: ["x"] } }]],
  ["a field that is named like what every object has", '{"title":"A","constructor":"x","toString":"y"}', [{ extra: { constructor: "x", toString: "y" } }]],
  ["elements that nobody knows", xml("A", "<confidence>high</confidence>"), [{ extra: { confidence: "high" } }]],
  ["an empty one beside a good one", `{"observations":[{"type":"bugfix","title":"","facts":[],"subtitle":"only this"},${A}]}`, wanted("A")],
  ["an empty element beside a good one", `<observation><title></title><facts></facts></observation>${xml("A")}`, wanted("A")],
  ["control characters and marks that hide text", '{"title":"a\\u001b[31mb\\u202ec\\u200b"}', wanted("abc")],
  ["cut in the second of two", `{"observations":[${A},{"type":"feature","title":"B","narr`, wanted("A"), true],
  ["cut behind the first", `{"observations":[${A},`, wanted("A"), true],
  ["cut before the last brackets", `{"observations":[${A}`, wanted("A"), true],
  ["cut in a fence", `\`\`\`json\n{"observations":[${A},{"title":"B`, wanted("A"), true],
  ["cut in an escape", `[${A},{"title":"B\\`, wanted("A"), true],
  ["cut in the second element", `${xml("A")}<observation><title>B</title><narrative>half`, wanted("A"), true],
  ["cut in the tag of the second element", `${xml("A")}<observation><ti`, wanted("A"), true],
];

describe("observations", () => {
  test.each(OBSERVATIONS)("%s", (_, text, expected, isCut = false) => {
    const reply = ofCall(text);
    expect(reply).toMatchObject({ kind: "observations", isCut, observations: expected });
  });

  test("there are more than seventy forms of them here", () => expect(OBSERVATIONS.length).toBeGreaterThan(70));

  test("have fields of bounded length, cut between characters", () => {
    const long = "😀".repeat(10_000);
    const reply = ofCall(
      JSON.stringify({
        title: long,
        subtitle: long,
        narrative: long,
        facts: Array(99)
          .fill(0)
          .map((_, index) => `${index}${long}`),
        concepts: Array(99)
          .fill(0)
          .map((_, index) => `c${index}`),
        symbols: [long],
        extra: long,
      }),
    );
    const [content] = reply.kind === "observations" ? reply.observations : [];
    expect(content?.title.length).toBeLessThanOrEqual(200);
    expect(content?.narrative.length).toBeLessThanOrEqual(4_000);
    expect(content?.facts).toHaveLength(20);
    expect(content?.concepts).toHaveLength(10);
    expect(JSON.stringify(content)).not.toMatch(/\\ud[89a-f]/);
    expect(JSON.stringify(content).length).toBeLessThan(20_000);
  });

  test("are all taken, as many as a reply has room for, and of more the rest is counted", () => {
    const many = ofCall(`[${Array(60).fill(A).join(",")}]`);
    expect(many).toMatchObject({ dropped: 0 });
    expect(many.kind === "observations" && many.observations).toHaveLength(60);
    expect(ofCall(`[${Array(205).fill(A).join(",")}]`)).toMatchObject({ dropped: 5 });
  });

  test("whose fields have names that nobody knows are asked for again, not taken for nothing", () => {
    expect(ofCall('{"observations":[{"headline":"A","details":"what was found"}]}')).toMatchObject({ kind: "unusable", isCut: false });
    expect(ofCall(`{"observations":[{"headline":"A"},${B}]}`)).toMatchObject({ kind: "observations", observations: wanted("B") });
    expect(ofCall('{"observations":[{"type":"bugfix","title":"","subtitle":"x"}]}')).toMatchObject({ kind: "nothing" });
  });

  test("in the place of a summary stay observations", () => {
    expect(ofEnd(`{"observations":[${A}]}`)).toMatchObject({ kind: "observations", observations: wanted("A") });
    expect(ofEnd(xml("A"))).toMatchObject({ kind: "observations" });
  });
});

describe("a summary", () => {
  const whole = { request: "r", investigated: "i", learned: "l", completed: "c", nextSteps: "n", notes: "" };
  test.each([
    ["JSON", '{"summary":{"request":"r","investigated":"i","learned":"l","completed":"c","next_steps":"n","notes":""}}', whole],
    ["JSON without its name", '{"request":"r","investigated":"i","learned":"l","completed":"c","nextSteps":"n"}', whole],
    [
      "XML",
      "<summary><request>r</request><investigated>i</investigated><learned>l</learned><completed>c</completed><next_steps>n</next_steps></summary>",
      whole,
    ],
    ["one field", "<summary><learned>a &lt; b</learned></summary>", { learned: "a < b", request: "" }],
    ["a list in a field", '{"summary":{"completed":["a","b"]}}', { completed: "a\nb" }],
    ["fenced, in prose", 'Done:\n```json\n{"summary":{"request":"r"}}\n```', { request: "r" }],
  ])("is read: %s", (_, text, expected) => expect(ofEnd(text)).toMatchObject({ kind: "summary", summary: expected, isCut: false }));

  test("may say that there is nothing", () => {
    for (const text of [
      '{"skip_summary":true}',
      '<skip_summary reason="nothing done"/>',
      "<skip_summary/>",
      "",
      '{"summary":{"request":"","learned":""}}',
      '{"skip_summary":{"reason":"x"}}',
    ])
      expect(ofEnd(text), text).toMatchObject({ kind: "nothing" });
  });

  test("without any field is none", () => {
    expect(ofEnd("<summary>It went well.</summary>")).toMatchObject({ kind: "unusable" });
    expect(ofEnd('{"summary":{"text":"It went well."}}')).toMatchObject({ kind: "unusable" });
  });

  test("that was cut is asked for again", () => {
    expect(ofEnd('{"summary":{"request":"r","learned":"l')).toMatchObject({ kind: "unusable", isCut: true });
    expect(ofEnd("<summary><request>r</request><learned>l")).toMatchObject({ kind: "unusable", isCut: true });
  });

  test("in the place of observations is no observation", () => expect(ofCall('{"summary":{"request":"r"}}')).toMatchObject({ kind: "unusable", isCut: false }));

  test("is kept with a title of its own", () => {
    expect(toSummaryContent({ ...whole, completed: "Fixed the parser. And more." })).toMatchObject({
      type: "summary",
      title: "Fixed the parser.",
      narrative: "l\nFixed the parser. And more.",
    });
  });
});

describe("nothing to remember is an answer", () => {
  test.each([
    "",
    "  \n",
    '{"observations":[]}',
    "[]",
    "{}",
    "```json\n[]\n```",
    "<observations></observations>",
    "No observations.",
    "Nothing to record here.",
    "None",
    "<think>hm</think>",
    '{"observations":[{"subtitle":"s","type":"bugfix"}]}',
    "<observation><subtitle>s</subtitle></observation>",
  ])("%j", (text) => expect(ofCall(text)).toMatchObject({ kind: "nothing" }));

  test("but not where the reply was cut before it began", () => {
    expect(ofCall("", "length")).toMatchObject({ kind: "unusable", isCut: true });
    expect(ofCall("<think>let me see", "length")).toMatchObject({ kind: "unusable", isCut: true });
  });
});

describe("a reply that cannot be used says why", () => {
  test.each([
    ["I looked at the file and it seems fine to me.", "prose"],
    ['{"answer":"fine"}', "JSON without"],
    ["<answer>fine</answer>", "elements without"],
    ["returns [] or {} in code", "prose"],
    [
      "In this file there is no observation pattern to speak of. The parser reads tokens, and then hands them on to the printer, which is what you asked for, I think, or is it not?",
      "prose",
    ],
  ])("%j", (text, reason) => expect(ofCall(text)).toMatchObject({ kind: "unusable", isCut: false, reason: expect.stringContaining(reason) }));

  test.each([
    `{"observations":[{"title":"A","narrative":"${xml("no")} and`,
    '{"observations":[{"title":"A","narr',
    "<observation><title>A",
    '{"observations":[',
    '```json\n{"title":"A',
  ])("cut: %j", (text) => expect(ofCall(text)).toMatchObject({ kind: "unusable", isCut: true }));

  test("a model that was stopped has been cut, whatever its reply looks like", () =>
    expect(ofCall(`[${A}]`, "length")).toMatchObject({ kind: "observations", isCut: true }));
});

describe("the words of a provider that gives no more", () => {
  test.each([
    "You've hit your usage limit. It resets at 3pm.",
    "Claude AI usage limit reached|1735689600",
    "Error: 429 Too Many Requests: rate limit exceeded",
    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "Insufficient credits. Add more using https://example.com/credits",
    '{"error":{"code":402,"message":"This request requires more credits"}}',
    '{"error":{"type":"rate_limit_error","message":"This would exceed your rate limit"}}',
    "Your credit balance is too low to access the API.",
    "API Error: quota exceeded for this project",
  ])("quota: %j", (text) => expect(ofCall(text)).toMatchObject({ kind: "refused", reason: "quota" }));

  test.each([
    "Invalid API key · Please run /login",
    "Not logged in. Please run /login",
    'API Error: 401 {"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
    '{"error":{"code":401,"message":"No auth credentials found"}}',
    "OAuth token has expired. Please obtain a new token.",
    "Unauthorized",
  ])("key: %j", (text) => expect(ofCall(text)).toMatchObject({ kind: "refused", reason: "auth" }));

  test.each([
    "The login form validates the password and shows an error.",
    "The query returned 401 rows, which is unexpected.",
    "The client retries when the rate limit is exceeded, and gives up after five times.",
    "The test checks that an invalid API key is refused with 401.",
    "I found that the quota module counts requests; the limit was reached in the test.",
  ])("not the words of the work itself: %j", (text) => expect(ofCall(text)).toMatchObject({ kind: "unusable" }));

  test("are no refusal where they stand in an observation", () => {
    expect(ofCall('{"title":"Rate limit exceeded","narrative":"You have hit your usage limit"}')).toMatchObject({ kind: "observations" });
  });
});

describe("whatever comes", () => {
  const pieces = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ",",
    ":",
    "\\",
    "<observation>",
    "</observation>",
    "<title>",
    "</title>",
    "<summary>",
    "<facts>",
    '"title"',
    '"observations":[',
    A,
    B,
    "x",
    " ",
    "\n",
    "```",
    "&lt;",
    "<![CDATA[",
    "<think>",
    "null",
    "1",
  ];

  test("it never throws", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 60 }), (parts) => void ofCall(parts.join(""))),
      { numRuns: 500 },
    );
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => void ofEnd(text)));
    fc.assert(fc.property(fc.jsonValue(), (value) => void ofCall(JSON.stringify(value))));
  });

  test("what is whole survives any cut behind it", () => {
    const text = `{"observations":[${A},${B}]}`;
    const end = text.indexOf(A) + A.length;
    for (let cut = end; cut < text.length; cut++) expect(ofCall(text.slice(0, cut)), String(cut)).toMatchObject({ kind: "observations", isCut: true });
    const elements = xml("A") + xml("B");
    for (let cut = xml("A").length; cut < elements.length; cut++) expect(ofCall(elements.slice(0, cut)), String(cut)).toMatchObject({ kind: "observations" });
  });

  test("five megabytes are read in one walk", () => {
    const size = 5_000_000;
    const evil = [
      "{",
      "[",
      '{"a":',
      '{"title":"',
      "<observation>",
      "<observation><title>",
      "<title>",
      "<a>",
      '"',
      "\\",
      "```",
      "<facts><fact>",
      "{'",
      "<![CDATA[",
      "[ ",
      "&lt;",
      `${xml("A")}`,
      '{"a":[',
      "<summary>",
      '["',
    ];
    for (const piece of evil) expect(() => ofCall(piece.repeat(Math.ceil(size / 10 / piece.length)))).not.toThrow();
    const narrative = "a < b, ".repeat(size / 7);
    expect(ofCall(JSON.stringify({ observations: [{ title: "A", narrative }] }))).toMatchObject({ kind: "observations" });
    expect(ofCall(xml("A", `<narrative>${narrative}</narrative>`))).toMatchObject({ kind: "observations", observations: wanted("A") });
    expect(ofCall(`[${Array(50_000).fill(A).join(",")},{"ti`)).toMatchObject({ kind: "observations", isCut: true, dropped: 49_800 });
  }, 180_000);
});
