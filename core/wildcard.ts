/** opencode's wildcard: `*` is any text, `/` included, `?` one character; the whole text must match; ` *` at the end may be missing. */
export const matchesWildcard = (text: string, pattern: string): boolean =>
  matches(text, pattern) || (pattern.endsWith(" *") && matches(text, pattern.slice(0, -2)));

/** Goes back only to the last `*`: never more than text times pattern, as a regular expression could be. */
function matches(text: string, pattern: string): boolean {
  let [at, place, star, resume] = [0, 0, -1, 0];
  while (at < text.length) {
    if (pattern[place] === "*") [star, resume, place] = [place, at, place + 1];
    else if (place < pattern.length && (pattern[place] === "?" || pattern[place] === text[at])) [at, place] = [at + 1, place + 1];
    else if (star >= 0) [resume, at, place] = [resume + 1, resume + 1, star + 1];
    else return false;
  }
  return /^\**$/.test(pattern.slice(place));
}
