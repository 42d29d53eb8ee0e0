/**
 * Models trained on the patch format: an id with the first and none of the others (from opencode, whose `apply_patch`
 * takes the place of edit and write for them).
 */
const PATCH_MODELS = { with: "gpt-", without: ["gpt-4", "gpt-3", "oss"] };

/** Whether a request offers `patch` in the place of `edit` and `write`. `model` is `provider/model`. */
export function patchReplaces({ model, tools }: { model: string; tools: readonly string[] }): boolean {
  const id = model.slice(model.indexOf("/") + 1);
  return tools.includes("patch") && id.includes(PATCH_MODELS.with) && !PATCH_MODELS.without.some((part) => id.includes(part));
}
