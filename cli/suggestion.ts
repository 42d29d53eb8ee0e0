/** `Did you mean "message"? `, or "" where nothing known is near enough. */
export async function suggestName(word: string, known: readonly string[]): Promise<string> {
  const { closest, distance } = await import("fastest-levenshtein");
  const nearest = closest(word, [...known]);
  return nearest !== undefined && distance(word.toLowerCase(), nearest.toLowerCase()) <= Math.max(1, word.length / 3) ? `Did you mean "${nearest}"?` : "";
}
