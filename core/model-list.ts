import { AgentError } from "./errors.ts";
import type { Fetch } from "./http.ts";

/** Who is asked, with what. */
export interface ModelListRequest {
  /** Id of the provider, for errors. */
  provider: string;
  headers?: Record<string, string>;
  fetch: Fetch;
}

/**
 * The list of an endpoint on the OpenAI wire: `GET {baseURL}/models`, which answers `{"data":[{"id":"…"}]}` or, with some
 * servers, the list alone; `null` is none. Ids are verbatim, entries without one are left out; other fields are not checked.
 * Throws an error with `statusCode` and `responseBody` for a refusal, RESPONSE_INVALID for what is no list, and what `fetch` throws.
 */
export async function fetchModelList<Listed extends { id: string }>(baseURL: string, { provider, headers = {}, fetch }: ModelListRequest): Promise<Listed[]> {
  const response = await fetch(`${baseURL}/models`, { headers });
  const text = await response.text();
  if (!response.ok)
    throw Object.assign(new Error(`GET /models: ${response.status} ${response.statusText}`), { statusCode: response.status, responseBody: text });
  const list = findList(text) as Listed[] | undefined;
  if (list === undefined) throw new AgentError("RESPONSE_INVALID", { model: provider, reason: "what it gave is no list of models." });
  return list.filter((entry) => typeof entry?.id === "string");
}

function findList(text: string): unknown[] | undefined {
  try {
    const body = JSON.parse(text) as { data?: unknown } | unknown[] | null;
    const list = Array.isArray(body) ? body : body?.data === null ? [] : body?.data;
    return Array.isArray(list) ? list : undefined;
  } catch {
    return undefined;
  }
}
