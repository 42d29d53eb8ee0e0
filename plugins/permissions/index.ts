import { definePlugin, z } from "agent-runtime";
import { judge } from "./judge.ts";

/** Judges every call by the permission mode and the permission map of the configuration. */
export default definePlugin({
  name: "permissions",
  options: z.strictObject({}),
  setup: () => ({
    hooks: {
      permission: (request, { config, cwd, roots = [] }) => judge(request, { mode: config.permissionMode ?? "auto", map: config.permission, cwd, roots }),
    },
  }),
});
