import type { ParameterExpansionPart, SyntaxNode } from "unbash";

/** `$((x))`, `${x:y}`, `a[x]`, `[[ x -eq 1 ]]`: names in it stand for what is computed in turn. */
export function computes(node: SyntaxNode): boolean {
  switch (node.type) {
    case "ArithmeticWord":
      return /[A-Za-z_]/.test(node.value);
    case "ParameterExpansion":
      return node.prefix === "!" || /[A-Za-z_]/.test(node.index?.value ?? "") || node.operation?.type === "Transform" || node.operation?.type === "Unknown";
    case "Slice":
      return /[A-Za-z_]/.test(`${node.offset.value}${node.length?.value ?? ""}`);
    case "TestBinary":
      return /^-(eq|ne|lt|le|gt|ge)$/.test(node.operator);
    case "TestUnary":
      return /^-[vR]$/.test(node.operator);
    default:
      return false;
  }
}

/** Bash runs what stands in a prompt. */
export const isPrompt = ({ operation }: ParameterExpansionPart): boolean => operation?.type === "Transform" && !/^[UuLQEAKak]$/.test(operation.operand.value);

/**
 * Quotes within `${…}` and within arithmetic quote nothing where those stand in double quotes, in a here-document or in a
 * subscript: bash runs the substitutions in them.
 */
export const hidesCode = (text: string): boolean => /'[^']*(\$[({[]|`)/.test(text);
