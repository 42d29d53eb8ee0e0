import { AgentError, errorMessage } from "./errors.ts";
import { check } from "./schema.ts";
import type { JsonSchema } from "./tool.ts";

/** What the system prompt says to a model whose answer must satisfy a schema. */
export const outputInstruction = (schema: JsonSchema): string =>
  `Your final answer must be one JSON value and nothing else: no prose, no code fence. It must satisfy this JSON Schema:\n${JSON.stringify(schema)}`;

/** Throws OPTION_INVALID for a schema that no answer could be checked against. */
export async function checkOutputSchema(schema: JsonSchema): Promise<void> {
  await check(schema, null).catch((error: unknown) => {
    throw new AgentError("OPTION_INVALID", { option: "The output schema", reason: errorMessage(error) });
  });
}

/** The checked value of an answer, or the reason why it does not satisfy the schema. A code fence around it is forgiven. */
export async function readOutput(text: string, schema: JsonSchema): Promise<{ value: unknown; reason?: undefined } | { reason: string }> {
  const json = /^```(?:json)?\s*([\s\S]*?)\s*```$/.exec(text.trim())?.[1] ?? text;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return { reason: "it is not JSON." };
  }
  return check(schema, value);
}
