export interface GlobPlan {
  /** The leading part without wildcards: the directory to start from, "." for none. */
  directory: string;
  /** Arguments of ripgrep that select the files. */
  args: string[];
  /** Whether the selection also brings files that the ignore files leave out. */
  includesIgnored: boolean;
}

/**
 * How ripgrep is asked for the files that a pattern means. Its `--glob` overrides ignore files, its file types do not;
 * so a pattern that ends in a plain name pattern becomes a type. A pattern without "/" matches at any depth,
 * and one that begins with "!" means all other files.
 */
export function planGlob(pattern: string): GlobPlan {
  // It says what is left out, and so takes nothing back from the ignore files.
  if (pattern.startsWith("!")) return { directory: ".", args: [`--glob=${pattern}`], includesIgnored: false };
  const segments = pattern.split("/").filter((segment, index) => segment !== "." && (segment !== "" || index === 0));
  const firstWild = segments.findIndex((segment) => /[*?[\]{}!\\]/.test(segment));
  const literal = firstWild < 0 ? segments.length - 1 : firstWild;
  const directory = segments.slice(0, literal).join("/") || (pattern.startsWith("/") ? "/" : ".");
  const rest = segments.slice(literal);
  const isAnywhere = !pattern.includes("/");
  while (rest.length > 1 && rest[0] === "**" && rest[1] === "**") rest.shift();
  const name = rest.at(-1) ?? "**";
  const isDeep = isAnywhere || rest[0] === "**";
  const isPlain = rest.length <= 1 || (rest.length === 2 && rest[0] === "**");
  if (!isPlain) return { directory, args: [`--glob=/${rest.join("/")}`], includesIgnored: true };
  const depth = isDeep ? [] : ["--max-depth=1"];
  return { directory, args: [...depth, ...namedLike(name)], includesIgnored: false };
}

const namedLike = (name: string): string[] => (/^\*+$/.test(name) ? [] : [`--type-add=wanted:${name}`, "--type=wanted"]);
