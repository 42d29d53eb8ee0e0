import { commonIndent } from "./edit-strategies.ts";

/** What the indentation of a line becomes: the one that was asked for, and the one that the place has. */
type Levels = Map<string, string>;

/**
 * Gives newString the indentation of the place. An indentation that oldString has, too, becomes what the same line of the
 * place has; others go on from the nearest of those, in tabs where the place has tabs for spaces, and the other way round.
 */
export function indentLike(newString: string, wanted: string, found: string): string {
  const levels = pairLevels(wanted.split("\n"), found.split("\n"));
  if ([...levels].every(([from, to]) => from === to)) return newString;
  return newString
    .split("\n")
    .map((line) => {
      const text = line.trimStart();
      return text === "" ? line : moveLevel(line.slice(0, line.length - text.length), levels) + text;
    })
    .join("\n");
}

function pairLevels(wanted: string[], found: string[]): Levels {
  if (wanted.at(-1) === "" && found.at(-1) !== "") wanted = wanted.slice(0, -1);
  // Which line is which is not known; all of them have at least this.
  if (wanted.length !== found.length) return new Map([[commonIndent(wanted), commonIndent(found)]]);
  const levels: Levels = new Map();
  for (const [index, line] of wanted.entries()) {
    const [from, to] = [indentOf(line), indentOf(found[index]!)];
    if (line.trim() !== "" && !levels.has(from)) levels.set(from, to);
  }
  return levels;
}

const indentOf = (line: string): string => /^[ \t]*/.exec(line)![0];

function moveLevel(indent: string, levels: Levels): string {
  const known = levels.get(indent);
  if (known !== undefined) return known;
  const byDepth = [...levels].sort(([a], [b]) => a.length - b.length);
  const above = byDepth.findLast(([from]) => indent.startsWith(from));
  if (above !== undefined) return above[1] + convert(indent.slice(above[0].length), byDepth);
  const below = byDepth.find(([from]) => from.startsWith(indent));
  const less = below === undefined ? "" : convert(below[0].slice(indent.length), byDepth);
  return below?.[1].endsWith(less) ? below[1].slice(0, below[1].length - less.length) : indent;
}

/** Spaces as tabs where those of oldString stand for tabs, and the other way round. `byDepth`: the least first. */
function convert(indent: string, byDepth: [from: string, to: string][]): string {
  const [fromDeep, toDeep] = byDepth.at(-1)!;
  const [fromFlat, toFlat] = byDepth.length > 1 ? byDepth[0]! : ["", ""];
  const [from, to] = [fromDeep.length - fromFlat.length, toDeep.length - toFlat.length];
  if (from <= 0 || to <= 0) return indent;
  if (/^ +$/.test(fromDeep) && /^\t+$/.test(toDeep)) return indent.replace(new RegExp(` {${Math.ceil(from / to)}}`, "g"), "\t");
  if (/^\t+$/.test(fromDeep) && /^ +$/.test(toDeep)) return indent.replaceAll("\t", " ".repeat(Math.ceil(to / from)));
  return indent;
}
