// A provider in twelve lines: `agent --plugin ./examples/reverse-provider.ts --model reverse/any -p "stressed"` answers "desserts".
// An AI SDK package is as short: `create: ({ apiKey }, { fetch }) => createMistral({ apiKey, fetch })`.
import { definePlugin, provider, textModel } from "agent-runtime";

const reverse = provider({
  id: "reverse",
  keyless: true,
  create: () => () =>
    textModel(async function* (prompt) {
      yield [...prompt].reverse().join("");
    }),
});

export default definePlugin({ name: "reverse", setup: () => ({ providers: [reverse] }) });
