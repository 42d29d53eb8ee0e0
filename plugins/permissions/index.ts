import { definePlugin, z } from "agent-runtime";

/** Judges every call by the permission mode and the permission map of the configuration. */
export default definePlugin({
  name: "permissions",
  options: z.strictObject({}),
  setup: () => ({
    hooks: {
      // What a repository says must not run where commands only read.
      env: async (env, { config: { permissionMode } }) =>
        permissionMode === "readonly" || permissionMode === "plan" ? { ...env, ...(await import("./repository.ts")).READ_ONLY_GIT } : undefined,
      // Loaded with the first call: an answer without one does not wait for it.
      permission: async (request, { config, cwd, roots = [], isSecret }) => {
        const { judge } = await import("./judge.ts");
        return judge(request, { mode: config.permissionMode ?? "auto", map: config.permission, cwd, roots, isSecret });
      },
    },
  }),
});
