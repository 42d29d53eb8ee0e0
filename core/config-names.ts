import { knownConfigKeys, suggestKey } from "./config-check.ts";
import { isTree, type Tree } from "./config-files.ts";

/** Older names as today's: `mode` → `agent`, `maxSteps` → `steps`, unknown keys of a profile → its `options`, as opencode does. */
export async function renewNames(value: Tree): Promise<Tree> {
  const { mode, ...rest } = value;
  if (!isTree(mode) && !isTree(value.agent)) return value;
  const profiles: Tree = {};
  if (isTree(mode)) for (const [name, profile] of Object.entries(mode)) profiles[name] = isTree(profile) ? { mode: "primary", ...profile } : profile;
  if (isTree(value.agent))
    for (const [name, profile] of Object.entries(value.agent))
      profiles[name] = isTree(profile) && isTree(profiles[name]) ? { ...profiles[name], ...profile } : profile;
  for (const [name, profile] of Object.entries(profiles)) if (isTree(profile)) profiles[name] = await renewProfile(profile);
  return { ...rest, agent: profiles };
}

async function renewProfile({ maxSteps, ...profile }: Tree): Promise<Tree> {
  const known = await knownConfigKeys(["agent", "name"]);
  const result: Tree = maxSteps === undefined ? {} : { steps: maxSteps };
  const extra: Tree = {};
  for (const [key, value] of Object.entries(profile)) {
    const isExtra = !known.includes(key) && (await suggestKey(["agent", "name", key])) === "";
    (isExtra ? extra : result)[key] = value;
  }
  if (Object.keys(extra).length > 0) result.options = isTree(result.options) ? { ...extra, ...result.options } : (result.options ?? extra);
  return result;
}
