import { expect, test } from "vitest";
import { lineOf, readSources, type SourceFile, walk } from "./source.ts";

interface Measured {
  where: string;
  lines: number;
}

function measure(file: SourceFile): Measured[] {
  const isFunction = (type: string) => ["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"].includes(type);
  return [...walk(file.tree)]
    .filter(({ type, body }) => isFunction(type) && body !== null && body !== undefined)
    .map(({ start, end }) => ({ where: `${file.path}:${lineOf(file.text, start)}`, lines: lineOf(file.text, end) - lineOf(file.text, start) + 1 }));
}

test("a function on the path of a prompt fits a screen of 40 lines", () => {
  const path = readSources("core", "cli", "plugins").filter(({ path }) => !path.startsWith("core/testing/"));
  expect(path.flatMap(measure).filter(({ lines }) => lines > 40)).toEqual([]);
});

test("the loop can be read at a glance", () => {
  const loop = readSources("core").filter(({ path }) => path === "core/loop.ts");
  expect(Math.max(...loop.flatMap(measure).map(({ lines }) => lines))).toBeLessThanOrEqual(20);
});
