import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAst } from "rolldown/parseAst";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A node of the syntax tree, in ESTree's terms. */
export interface SyntaxNode {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}

export interface SourceFile {
  /** Relative to the repository, with `/`. */
  path: string;
  text: string;
  tree: SyntaxNode;
}

/** All TypeScript files below the folders, parsed. */
export function readSources(...folders: string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
      .map((name) => {
        const text = readFileSync(join(root, folder, name), "utf8");
        return { path: relative(root, join(root, folder, name)), text, tree: parseAst(text, { lang: "ts" }) as unknown as SyntaxNode };
      }),
  );
}

/** Every node of a tree, parents first. */
export function* walk(node: SyntaxNode): Generator<SyntaxNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === "object" && child !== null && typeof (child as SyntaxNode).type === "string") yield* walk(child as SyntaxNode);
    }
  }
}

/** What a file imports, dynamic imports and `process.getBuiltinModule` included; without `import type` when only what runs matters. */
export function importsOf({ tree }: SourceFile, { types = true } = {}): string[] {
  const specifiers: string[] = [];
  for (const node of walk(tree)) {
    const source = node.source as { value?: unknown } | null | undefined;
    const isImport = ["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration", "ImportExpression"].includes(node.type);
    const isType = node.importKind === "type" || node.exportKind === "type";
    const asked = node.type === "CallExpression" && (node.callee as SyntaxNode & { property?: { name?: string } }).property?.name === "getBuiltinModule";
    const [argument] = asked ? (node.arguments as { value?: unknown }[]) : [];
    if (typeof argument?.value === "string") specifiers.push(argument.value);
    if (isImport && (types || !isType) && typeof source?.value === "string") specifiers.push(source.value);
  }
  return specifiers;
}

export const lineOf = (text: string, offset: number): number => text.slice(0, offset).split("\n").length;
