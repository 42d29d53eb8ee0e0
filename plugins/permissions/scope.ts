/** Where the shell may be. Empty where nothing runs any more, as after `exit`; undefined where it is not known. */
export type Directories = readonly string[] | undefined;

/** What is true at one point of the text; a subshell gets a copy. */
export interface Scope {
  directories: Directories;
  /** Where it is if the last command failed, where that is elsewhere: a `cd` that fails stays where it was. */
  ifFailed?: { directories: Directories };
  /** Where `break`, `continue` or `return` left a loop or a function. */
  left: Directories;
  isLoop: boolean;
  isFunction: boolean;
  /** After `set -e`. */
  stopsOnFailure: boolean;
  /** Directories that the text has made. */
  made: ReadonlySet<string>;
  /** Variables that the text sets, with every value that they may have. */
  variables: Map<string, readonly string[]>;
}

export const createScope = (directory: string): Scope => ({
  directories: [directory],
  left: [],
  isLoop: false,
  isFunction: false,
  stopsOnFailure: false,
  made: new Set(),
  variables: new Map(),
});

export function copyScope({ directories, made, variables }: Scope): Scope {
  return { directories, left: [], isLoop: false, isFunction: false, stopsOnFailure: false, made, variables: new Map(variables) };
}

const MOST_DIRECTORIES = 32;

export function joinDirectories(...sets: Directories[]): Directories {
  const joined = new Set<string>();
  for (const set of sets) {
    if (set === undefined) return undefined;
    for (const directory of set) joined.add(directory);
  }
  return joined.size > MOST_DIRECTORIES ? undefined : [...joined];
}

/** Where it is if the last command failed. */
export function takeFailed(scope: Scope): Directories {
  const { directories } = scope.ifFailed ?? scope;
  delete scope.ifFailed;
  return directories;
}

/** Goes on where it is, whether the last command succeeded or not. */
export function settle(scope: Scope): void {
  scope.directories = joinDirectories(scope.directories, takeFailed(scope));
}

/** Goes a way that may not be gone. */
export function branch(scope: Scope, go: () => void): void {
  const { directories, made, stopsOnFailure } = scope;
  go();
  settle(scope);
  scope.directories = joinDirectories(directories, scope.directories);
  scope.made = intersect(made, scope.made);
  scope.stopsOnFailure &&= stopsOnFailure;
}

/** What was made before and still is. */
export const intersect = (before: ReadonlySet<string>, after: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...before].filter((directory) => after.has(directory)));

/** Goes around until nothing new is reached; where that does not end soon, the directory is not known. */
export function loop(scope: Scope, go: () => void): void {
  const { left, isLoop, made, stopsOnFailure } = scope;
  for (let round = 0; round < 3; round++) {
    const before = scope.directories;
    Object.assign(scope, { left: [], isLoop: true });
    go();
    settle(scope);
    scope.directories = joinDirectories(before, scope.directories, scope.left);
    if (scope.directories?.length === before?.length) break;
    if (round > 0) scope.directories = undefined;
  }
  Object.assign(scope, { left, isLoop, made: intersect(made, scope.made), stopsOnFailure: stopsOnFailure && scope.stopsOnFailure });
}

/** Runs the body of a function where it is called. */
export function call(scope: Scope, go: () => void): void {
  const { left, isLoop, isFunction, stopsOnFailure } = scope;
  Object.assign(scope, { left: [], isLoop: false, isFunction: true, stopsOnFailure: false });
  go();
  settle(scope);
  scope.directories = joinDirectories(scope.directories, scope.left);
  Object.assign(scope, { left, isLoop, isFunction, stopsOnFailure });
}

/** A command behind which nothing runs, or only what comes after the loop or the function. */
export function leave(scope: Scope, program: string): void {
  if (program === "exit") scope.directories = [];
  const leaves = program === "return" ? scope.isFunction : scope.isLoop && (program === "break" || program === "continue");
  if (!leaves) return;
  scope.left = joinDirectories(scope.left, scope.directories);
  scope.directories = [];
}
