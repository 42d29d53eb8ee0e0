import { ALIASES } from "./aliases.ts";
import type { ModelInfo, Provider } from "./provider.ts";

/** A model that failed, and what is known of the others of its provider. */
export interface FailedModel {
  provider: Provider;
  /** As it was sent, without the provider's name. */
  modelId: string;
  /** What is sent for each name that the configuration has. */
  configured: ReadonlyMap<string, string>;
  /** What the provider lists; undefined where nobody knows. */
  listed: ModelInfo[] | undefined;
}

const MOST_SUGGESTIONS = 3;

/** For a model that is not there: those that may be meant, and the same with or without the ending that makes it free. */
export async function suggestModels(failed: FailedModel): Promise<string[]> {
  const { provider, modelId, listed } = failed;
  const sibling = siblingOf(failed);
  const isListed = (id: string) => listed?.some((model) => model.id === id) ?? false;
  const also = sibling === undefined ? "" : saySibling(sibling, listed && isListed(sibling.id));
  if (isListed(modelId)) return ["It is in the provider's list, but not for this request or this account.", also];
  const known = idsOf(failed).filter((id) => also === "" || listed === undefined || id !== sibling?.id);
  const near = (await nearest(modelId, known)).map((id) => `${provider.id}/${id}`);
  return [near.length === 0 ? "" : `Did you mean ${near.join(" or ")}?`, also];
}

/** Where the provider gives no list, what is known without it: from the configuration, the aliases, the default. */
function idsOf({ provider, modelId, configured, listed }: FailedModel): string[] {
  const others = [...configured].filter(([, sent]) => sent !== modelId);
  if (listed !== undefined) {
    const ids = new Set(listed.map(({ id }) => id));
    return [...new Set([...ids, ...others.flatMap(([name, sent]) => (ids.has(sent) ? [name] : []))])];
  }
  const prefix = `${provider.id}/`;
  const aliased = Object.values(ALIASES).flatMap((id) => (id.startsWith(prefix) ? [id.slice(prefix.length)] : []));
  return [...new Set([...others.map(([name]) => name), ...aliased, ...(provider.defaultModel ? [provider.defaultModel.id] : [])])];
}

/** `"vendor/name:ending"` → `"name"` */
const nameOf = (id: string): string => id.slice(id.lastIndexOf("/") + 1).replace(/:.*/, "");

/** By edits of the whole id, or of the name alone: the same name of another vendor, or with another ending, is near. */
async function nearest(asked: string, known: string[]): Promise<string[]> {
  const { distance } = await import("fastest-levenshtein");
  const [whole, name] = [asked.toLowerCase(), nameOf(asked).toLowerCase()];
  const measured = known.map((id) => {
    const far = distance(id.toLowerCase(), whole);
    const farByName = name === "" ? Number.POSITIVE_INFINITY : distance(nameOf(id).toLowerCase(), name);
    const isNear = far <= Math.max(2, Math.floor(asked.length / 4)) || farByName <= Math.floor(name.length / 4);
    return { id, far, least: Math.min(far, farByName + 1), isNear };
  });
  const near = measured.filter(({ id, isNear }) => isNear && id !== asked);
  return near
    .sort((a, b) => a.least - b.least || a.far - b.far)
    .slice(0, MOST_SUGGESTIONS)
    .map(({ id }) => id);
}

interface Sibling {
  id: string;
  /** `provider/model` */
  model: string;
  isFree: boolean;
}

function siblingOf({ provider: { id: provider, freeSuffix }, modelId }: FailedModel): Sibling | undefined {
  if (freeSuffix === undefined) return undefined;
  const isFree = !modelId.endsWith(freeSuffix);
  const id = isFree ? `${modelId}${freeSuffix}` : modelId.slice(0, -freeSuffix.length);
  return { id, model: `${provider}/${id}`, isFree };
}

/** `isThere`: undefined where nobody knows. */
function saySibling({ model, isFree }: Sibling, isThere: boolean | undefined): string {
  if (isThere === undefined) return isFree ? `It may be there for nothing: ${model}` : `It may no longer be free: ${model}`;
  if (!isThere) return "";
  return isFree ? `For nothing: ${model}` : `It is no longer free: ${model}`;
}

/** Another model that costs nothing: the provider's own choice, else the first that is known to call tools. */
export function suggestFreeModel({ provider, modelId, listed }: FailedModel): string {
  const { freeSuffix, defaultModel } = provider;
  const isFree = ({ id, price }: ModelInfo) => (freeSuffix !== undefined && id.endsWith(freeSuffix)) || (price?.input === 0 && price.output === 0);
  const free = (listed ?? (defaultModel ? [{ id: defaultModel.id }] : [])).filter(
    (model: ModelInfo) => isFree(model) && model.tools !== false && model.id !== modelId,
  );
  const chosen = free.find(({ id }) => id === defaultModel?.id) ?? free.find(({ tools }: ModelInfo) => tools === true) ?? free[0];
  return chosen === undefined ? "" : `A free model: ${provider.id}/${chosen.id}`;
}
