import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^agent-runtime$/, replacement: here("./core/index.ts") },
      { find: /^agent-runtime\/host$/, replacement: here("./core/host.ts") },
      { find: /^agent-runtime\/testing$/, replacement: here("./core/testing/index.ts") },
      { find: /^agent-runtime\/plugins$/, replacement: here("./plugins/index.ts") },
    ],
  },
  test: {
    include: ["tests/**/*.test.ts"],
    testTimeout: 90_000,
    hookTimeout: 90_000,
    pool: "forks",
    maxWorkers: "100%",
    reporters: process.env.CI ? ["default"] : ["dot"],
  },
});
