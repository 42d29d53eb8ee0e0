import { AgentError } from "agent-runtime";

const CHARACTERS = 1024 * 1024;
const FILES = 100;
const HUNKS = 500;

/** One file of a patch. `line` is that of its heading in the patch, from 1. */
export type FilePatch = { path: string; line: number } & (
  | { kind: "add"; content: string }
  | { kind: "replace"; content: string }
  | { kind: "delete" }
  | { kind: "update"; moveTo: string | undefined; hunks: Hunk[] }
);

export interface Hunk {
  /** Its first line in the patch, from 1. */
  line: number;
  /** What stands behind `@@`: lines of the file, in their order, behind which the hunk is. */
  anchors: string[];
  lines: HunkLine[];
  /** The hunk reaches to the end of the file. */
  isAtEnd: boolean;
  /** It begins another section of the same file, and may stand anywhere in what the hunks before have left. */
  startsOver?: boolean;
}

export interface HunkLine {
  mark: " " | "-" | "+";
  text: string;
}

interface PatchLine {
  text: string;
  number: number;
}

interface Section {
  kind: "Add" | "Update" | "Delete";
  path: string;
  line: number;
  body: PatchLine[];
}

const BEGIN = "*** Begin Patch";
const END = "*** End Patch";
const HEADING = /^\*\*\* (Add|Update|Delete) File: *(.*)$/;
const MOVE = "*** Move to:";
const END_OF_FILE = "*** End of File";

/**
 * Reads a patch in the format of `apply_patch`. What models put around it (a fence, a here-document) and white space
 * behind its own lines are overlooked. Throws PATCH_REFUSED.
 */
export function parsePatch(text: string): FilePatch[] {
  if (text.length > CHARACTERS) throw refusedAt(1, `the patch has more than ${CHARACTERS} characters.`, "Send it in several smaller ones.");
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  const sections = readSections(readFrame(lines.map((text, index) => ({ text, number: index + 1 }))));
  if (sections.length > FILES) throw refusedAt(sections[FILES]!.line, `it names more than ${FILES} files.`, "Send it in several smaller ones.");
  const files = joinUpdates(joinReplaced(sections.map(readSection)));
  const hunks = files.flatMap((file) => (file.kind === "update" ? file.hunks : []));
  if (hunks.length > HUNKS) throw refusedAt(hunks[HUNKS]!.line, `it has more than ${HUNKS} hunks.`, "Send it in several smaller ones.");
  return files;
}

/** A file that is deleted and then added is replaced: this is how models rewrite one. */
function joinReplaced(files: FilePatch[]): FilePatch[] {
  const isReplaced = ({ kind, path, line }: FilePatch) =>
    kind === "delete" && files.some((file) => file.kind === "add" && file.path === path && file.line > line);
  const replaced = new Set(files.filter(isReplaced).map(({ path }) => path));
  return files.filter((file) => !isReplaced(file)).map((file) => (file.kind === "add" && replaced.has(file.path) ? { ...file, kind: "replace" } : file));
}

/** Models write a section for each change, also where the file is the same. */
function joinUpdates(files: FilePatch[]): FilePatch[] {
  const joined: FilePatch[] = [];
  for (const file of files) {
    const before = joined.at(-1);
    if (file.kind !== "update" || before?.kind !== "update" || file.path !== before.path || before.moveTo !== undefined) joined.push(file);
    else {
      const [first, ...others] = file.hunks;
      const more = first === undefined ? [] : [{ ...first, startsOver: true }, ...others];
      joined.splice(-1, 1, { ...before, moveTo: file.moveTo, hunks: [...before.hunks, ...more] });
    }
  }
  return joined;
}

/** Every path that the patch changes, as it names them. */
export const pathsOf = (files: FilePatch[]): string[] =>
  files.flatMap((file) => (file.kind === "update" && file.moveTo !== undefined ? [file.path, file.moveTo] : [file.path]));

export const refusedAt = (line: number, reason: string, advice: string): AgentError => new AgentError("PATCH_REFUSED", { line, reason, advice });

/** The lines between the first and the last. */
function readFrame(all: PatchLine[]): PatchLine[] {
  const lines = unwrap(all);
  const [first, last] = [lines[0], lines.at(-1)];
  if (first?.text.trim() !== BEGIN) {
    const found = first === undefined ? "it is empty." : `it begins with "${shorten(first.text)}".`;
    throw refusedAt(first?.number ?? 1, found, `The first line of a patch is "${BEGIN}" and the last one "${END}".`);
  }
  if (last?.text.trim() !== END)
    throw refusedAt(last!.number, `it does not end with "${END}", so it may have been cut off.`, "Send it whole, or in several smaller ones.");
  return lines.slice(1, -1);
}

/** Without blank lines, fences and here-documents around the patch. */
function unwrap(lines: PatchLine[]): PatchLine[] {
  const start = lines.findIndex(isFilled);
  const body = start < 0 ? [] : lines.slice(start, lines.findLastIndex(isFilled) + 1);
  const closing = closingOf(body[0]?.text.trim() ?? "");
  return closing === undefined ? body : unwrap(body.slice(1, body.at(-1)?.text.trim() === closing ? -1 : undefined));
}

/** The line that ends what this one opens. */
function closingOf(opening: string): string | undefined {
  if (/^```\w*$/.test(opening)) return "```";
  return /^(?:(?:apply_patch|applypatch|patch|cat) *)?<<-?\s*(["']?)([^\s"']+)\1$/.exec(opening)?.[2];
}

const isFilled = ({ text }: PatchLine): boolean => text.trim() !== "";

function readSections(lines: PatchLine[]): Section[] {
  const sections: Section[] = [];
  for (const line of lines) {
    const [, kind, path] = HEADING.exec(line.text) ?? [];
    if (kind !== undefined) sections.push({ kind: kind as Section["kind"], path: pathOf(path!, line), line: line.number, body: [] });
    else if (sections.length > 0) sections.at(-1)!.body.push(line);
    else if (isFilled(line)) throw unexpected(line, `Name a file first: "*** Update File: PATH", "*** Add File: PATH" or "*** Delete File: PATH".`);
  }
  if (sections.length === 0)
    throw refusedAt(1, "it names no file.", 'Begin each file with "*** Update File: PATH", "*** Add File: PATH" or "*** Delete File: PATH".');
  return sections;
}

function pathOf(text: string, line: PatchLine): string {
  const path = text.trim();
  if (path === "") throw unexpected(line, "Write the path behind the colon.");
  return path;
}

function readSection({ kind, path, line, body }: Section): FilePatch {
  switch (kind) {
    case "Add":
      return { kind: "add", path, line, content: readContent(body) };
    case "Delete": {
      const more = body.find(isFilled);
      if (more !== undefined) throw unexpected(more, 'Nothing belongs to "*** Delete File"; the next line names another file.');
      return { kind: "delete", path, line };
    }
    case "Update":
      return readUpdate(path, line, body);
  }
}

/** A blank line without `+` is one of the file, but not at the end, where it only parts two files. */
function readContent(body: PatchLine[]): string {
  const lines = body.slice(0, body.findLastIndex(isFilled) + 1);
  return lines
    .map((line) => {
      if (!line.text.startsWith("+") && isFilled(line)) throw unexpected(line, 'Begin each line of a new file with "+".');
      return `${line.text.slice(1)}\n`;
    })
    .join("");
}

function readUpdate(path: string, line: number, body: PatchLine[]): FilePatch {
  const start = body.findIndex(isFilled);
  const isMoved = body[start]?.text.startsWith(MOVE);
  const target = isMoved ? pathOf(body[start]!.text.slice(MOVE.length), body[start]!) : undefined;
  const moveTo = target === path ? undefined : target;
  const hunks = readHunks(start < 0 ? [] : body.slice(isMoved ? start + 1 : start));
  if (hunks.length === 0 && moveTo === undefined)
    throw refusedAt(line, `no change of ${path} follows.`, 'Give hunks: "@@", then lines that begin with a space, - or +.');
  return { kind: "update", path, line, moveTo, hunks };
}

function readHunks(body: PatchLine[]): Hunk[] {
  const hunks: (Hunk & { bare: number })[] = [];
  for (const line of body) {
    const hunk = hunks.at(-1);
    if (line.text.startsWith("@@")) {
      const anchor = anchorOf(line.text);
      const anchors = anchor === "" ? [] : [anchor];
      // Several such lines one after the other lead to one place: a class, then its method.
      if (hunk !== undefined && hunk.lines.length === 0) hunk.anchors.push(...anchors);
      else hunks.push({ line: line.number, anchors, lines: [], isAtEnd: false, bare: 0 });
    } else if (line.text.trimEnd() === END_OF_FILE && hunk !== undefined) hunk.isAtEnd = true;
    else if (hunk?.isAtEnd) {
      if (isFilled(line)) throw unexpected(line, `Behind "${END_OF_FILE}" only another hunk, begun by "@@", or another file may follow.`);
    } else if (hunk !== undefined) addLine(hunk, line);
    else if (isFilled(line)) {
      hunks.push({ line: line.number, anchors: [], lines: [], isAtEnd: false, bare: 0 });
      addLine(hunks[0]!, line);
    }
  }
  return hunks.map(finishHunk);
}

function addLine(hunk: Hunk & { bare: number }, line: PatchLine): void {
  const mark = line.text === "" ? " " : line.text[0];
  if (line.text.startsWith("\\ ")) return; // "\ No newline at end of file" of other formats.
  if (mark !== " " && mark !== "-" && mark !== "+")
    throw unexpected(line, 'Begin each line of a hunk with a space (stays), "-" (goes) or "+" (comes), and each hunk with "@@".');
  hunk.lines.push({ mark, text: line.text.slice(1) });
  hunk.bare = line.text === "" ? hunk.bare + 1 : 0;
}

/** Empty lines at the end of a hunk part it from the next rather than belong to it. */
function finishHunk({ bare, ...hunk }: Hunk & { bare: number }): Hunk {
  const lines = hunk.isAtEnd ? hunk.lines : hunk.lines.slice(0, hunk.lines.length - bare);
  if (lines.every(({ mark }) => mark === " "))
    throw refusedAt(hunk.line, "this hunk changes nothing.", 'Give it lines that begin with "-" (goes) or "+" (comes).');
  return { ...hunk, lines };
}

/** Without the line numbers of a unified diff, which models get wrong. */
function anchorOf(text: string): string {
  const anchor = text.slice(2).trim();
  const numbers = /^-\d+(?:,\d+)? \+\d+(?:,\d+)? @@/.exec(anchor)?.[0] ?? "";
  const rest = anchor.slice(numbers.length).trim();
  return rest.endsWith("@@") ? rest.slice(0, -2).trimEnd() : rest;
}

const unexpected = ({ number, text }: PatchLine, advice: string): AgentError => refusedAt(number, `"${shorten(text)}" is not expected here.`, advice);

export const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
