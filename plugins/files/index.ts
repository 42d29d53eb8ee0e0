import { definePlugin, z } from "agent-runtime";
import { editTool } from "./edit.ts";
import { globTool } from "./glob.ts";
import { grepTool } from "./grep.ts";
import { listTool } from "./list.ts";
import { readTool } from "./read.ts";
import { createReadRecord } from "./read-record.ts";
import { writeTool } from "./write.ts";

/** The file tools. `read`, `write` and `edit` share a record of which version of a file each session has seen. */
export default definePlugin({
  name: "files",
  options: z.strictObject({}),
  setup: () => {
    const record = createReadRecord();
    return { tools: [readTool(record), writeTool(record), editTool(record), listTool, globTool, grepTool] };
  },
});
