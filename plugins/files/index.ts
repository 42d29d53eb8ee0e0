import { definePlugin, z } from "agent-runtime";
import { editTool } from "./edit.ts";
import { globTool } from "./glob.ts";
import { grepTool } from "./grep.ts";
import { listTool } from "./list.ts";
import { multieditTool } from "./multiedit.ts";
import { patchTool } from "./patch.ts";
import { readTool } from "./read.ts";
import { createReadRecord } from "./read-record.ts";
import { writeTool } from "./write.ts";

/** The file tools. Those that read and change files share a record of which version of a file each session has seen. */
export default definePlugin({
  name: "files",
  options: z.strictObject({}),
  setup: () => {
    const record = createReadRecord();
    return {
      tools: [readTool(record), writeTool(record), editTool(record), multieditTool(record), patchTool(record), listTool, globTool, grepTool],
      dispose: () => record.settled(),
    };
  },
});
