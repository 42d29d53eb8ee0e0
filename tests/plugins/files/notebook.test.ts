import { afterEach, beforeEach, expect, test } from "vitest";
import { createWorld, type World } from "./context.ts";

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

const read = async (input: Record<string, unknown>) => (await world.call("read", input)).output;
const textOf = (output: string) => output.split("\n").flatMap((line) => /^\d{5}\| (.*)$/.exec(line)?.[1] ?? []);
const RENDERED = "(This is a rendering of the notebook. edit works on its JSON text, the lines of which grep shows.)";

const NOTEBOOK = {
  nbformat: 4,
  metadata: {},
  cells: [
    { cell_type: "markdown", source: ["# Title\n", "some words"] },
    {
      cell_type: "code",
      execution_count: 7,
      source: "import os\nprint(1)\n",
      outputs: [
        { output_type: "stream", name: "stdout", text: ["1\n", "2\n"] },
        { output_type: "display_data", data: { "image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 640x480>" } },
        { output_type: "execute_result", data: { "text/html": ["<b>", "x</b>"], "text/plain": ["x"] } },
        { output_type: "execute_result", data: { "application/json": { a: 1 } } },
        { output_type: "error", ename: "ValueError", evalue: "no", traceback: ["\u001b[0;31mValueError\u001b[0m\n", "no"] },
        { output_type: "error", ename: "KeyError", evalue: "'k'", traceback: [] },
      ],
    },
    { cell_type: "raw", source: [] },
  ],
};

test("a notebook is shown as its cells in their order, with their text outputs", async () => {
  await world.put("a.ipynb", JSON.stringify(NOTEBOOK, undefined, 1));
  const output = await read({ filePath: "a.ipynb" });
  expect(textOf(output)).toEqual([
    "%% cell 1 of 3, markdown",
    "# Title",
    "some words",
    "%% cell 2 of 3, code, run 7",
    "import os",
    "print(1)",
    "%% output of cell 2, stdout",
    "1",
    "2",
    "%% output of cell 2, image/png of 14 characters, not shown",
    "%% output of cell 2, text/plain",
    "<Figure size 640x480>",
    "%% output of cell 2, text/plain",
    "x",
    "%% output of cell 2, application/json",
    '{"a":1}',
    "%% output of cell 2, error",
    "ValueError",
    "no",
    "%% output of cell 2, error",
    "KeyError: 'k'",
    "%% cell 3 of 3, raw",
  ]);
  expect(output).toMatch(/\n\(End of file - total 22 lines\)\n\(This is a rendering of the notebook.*\)\n<\/file>$/);
  expect(output).toContain(RENDERED);
  expect(textOf(await read({ filePath: "a.ipynb", offset: 5, limit: 2 }))).toEqual(["import os", "print(1)"]);
});

test("edit changes the JSON of a notebook that was read, as grep shows it", async () => {
  await world.put("a.ipynb", JSON.stringify(NOTEBOOK, undefined, 1));
  await read({ filePath: "a.ipynb" });
  expect((await world.call("grep", { pattern: "import os", path: "a.ipynb" })).output).toContain('"source": "import os\\nprint(1)\\n",');
  await world.call("edit", { filePath: "a.ipynb", oldString: "import os\\nprint(1)", newString: "import sys\\nprint(2)" });
  expect(textOf(await read({ filePath: "a.ipynb" })).slice(4, 6)).toEqual(["import sys", "print(2)"]);
});

test("a long output is cut and says so", async () => {
  const text = Array.from({ length: 1000 }, (_, index) => `row ${index}\n`);
  await world.put("a.ipynb", JSON.stringify({ cells: [{ cell_type: "code", source: "x", outputs: [{ output_type: "stream", name: "stdout", text }] }] }));
  const lines = textOf(await read({ filePath: "a.ipynb" }));
  expect([lines.length, lines.at(-2), lines.at(-1)]).toEqual([204, "row 199", "%% 800 of the 1000 lines of this output are left out"]);
});

test("a notebook whose cells are no cells, or that is damaged or large, is shown as the text that it is", async () => {
  const note = (reason: string) => `(This notebook is shown as the text that it is: ${reason}.)`;
  for (const text of ['{"cells": [', "null", '{"cells": 3}', '{"cells": [null]}', "no JSON"]) {
    await world.put("a.ipynb", text);
    const output = await read({ filePath: "a.ipynb" });
    expect([textOf(output), output.includes(note("it is not the JSON of one"))]).toEqual([[text], true]);
  }
  await world.put("a.ipynb", `{"cells": [\n${" ".repeat(10 * 1024 * 1024)}]}`);
  expect(await read({ filePath: "a.ipynb" })).toContain(note("it is larger than 10 MB"));
  await world.put("a.ipynb", '{"cells": []}');
  expect(textOf(await read({ filePath: "a.ipynb" }))).toEqual(["(The notebook has no cells.)"]);
  await world.put("a.ipynb", "");
  expect(await read({ filePath: "a.ipynb" })).toBe("<file>\n\n(The file is empty.)\n</file>");
});

test("the parts of a traceback are lines, each below the other", async () => {
  const error = { output_type: "error", ename: "ValueError", evalue: "bad", traceback: ["\u001b[0;31m-----\u001b[0m", "one\ntwo", "ValueError: bad"] };
  await world.put("a.ipynb", JSON.stringify({ nbformat: 4, cells: [{ cell_type: "code", source: "x", outputs: [error] }] }));
  expect(textOf(await read({ filePath: "a.ipynb" })).slice(2)).toEqual(["%% output of cell 1, error", "-----", "one", "two", "ValueError: bad"]);
});

test("a notebook of nbformat 3 is shown as one of nbformat 4", async () => {
  const outputs = [
    { output_type: "pyout", prompt_number: 2, text: ["1"], png: "AAAA" },
    { output_type: "stream", stream: "stderr", text: "careful\n" },
    { output_type: "pyerr", ename: "E", evalue: "v", traceback: ["t1", "t2"] },
  ];
  const cells = [
    { cell_type: "heading", level: 1, source: "Title" },
    { cell_type: "code", language: "python", input: ["x = 1\n", "x"], prompt_number: 2, outputs },
  ];
  await world.put("a.ipynb", JSON.stringify({ nbformat: 3, worksheets: [{ cells }, { cells: [{ cell_type: "markdown", source: ["end"] }] }] }));
  const output = await read({ filePath: "a.ipynb" });
  expect(textOf(output)).toEqual([
    "%% cell 1 of 3, heading",
    "Title",
    "%% cell 2 of 3, code, run 2",
    "x = 1",
    "x",
    "%% output of cell 2, image/png of 6 characters, not shown",
    "%% output of cell 2, text/plain",
    "1",
    "%% output of cell 2, stderr",
    "careful",
    "%% output of cell 2, error",
    "t1",
    "t2",
    "%% cell 3 of 3, markdown",
    "end",
  ]);
  expect(output).toContain(RENDERED);
});
