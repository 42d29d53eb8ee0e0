import type { Tool, ToolContext, ToolResult } from "agent-runtime";
import { isObject } from "./connection.ts";
import { requiredOf } from "./read-schema.ts";
import { type ListedTool, toolNameOf } from "./read-tools.ts";

interface Caller {
  readonly configured: { name: string };
  call(tool: string, input: unknown, context: ToolContext): Promise<ToolResult>;
}

/**
 * A tool of a server as any other tool. Whatever the server says that it does, it may run something. Rules are matched
 * against both of its names: `server__tool`, and `server_tool` as opencode has it.
 */
export function createTool({ name, description, schema }: ListedTool, prefix: string, server: Caller): Tool {
  const full = toolNameOf(prefix, name);
  const short = full.replace("__", "_");
  return {
    name: full,
    description: description === "" ? `A tool of the MCP server ${prefix}.` : description,
    input: createInput(schema),
    effect: "run",
    permission: short,
    // Who switches off what opencode calls it means this one.
    insteadOf: [short],
    run: (input, context) => server.call(name, input, context),
  };
}

/** Told to the model, and left to the server to check: its schema is foreign, and nothing is made of it that runs. */
function createInput(schema: Record<string, unknown>): Tool["input"] {
  const { required = [] } = requiredOf(schema);
  const faultOf = (value: unknown): string | undefined => {
    if (!isObject(value)) return "it must be an object.";
    const missing = required.filter((name) => !Object.hasOwn(value, name));
    return missing.length === 0 ? undefined : `${missing.join(", ")} is missing.`;
  };
  return {
    "~standard": {
      version: 1,
      vendor: "mcp",
      validate(value: unknown) {
        const fault = faultOf(value);
        return fault === undefined ? { value } : { issues: [{ message: fault }] };
      },
      jsonSchema: { input: () => schema },
    },
  };
}
