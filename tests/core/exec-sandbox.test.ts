import { describe, test } from "vitest";
import { HAS_SANDBOX } from "../fixtures/sandboxed.ts";

// What holds for commands holds in the sandbox too.
if (HAS_SANDBOX) {
  process.env.AGENT_TEST_SANDBOX = "1";
  await import("./exec.test.ts");
} else {
  describe("commands in the sandbox", () => test.skip("need bubblewrap, which is not there or does not work", () => {}));
}
