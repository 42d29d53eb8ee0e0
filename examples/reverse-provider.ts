// A provider in twelve lines: `agent --plugin ./examples/reverse-provider.ts --model reverse/any -p "stressed"` answers "desserts".
// An AI SDK package is as short: `create: ({ apiKey }, { fetch }) => createMistral({ apiKey, fetch })`.
import { definePlugin, provider, textModel } from "agent-runtime";

const reverse = provider({
  id: "reverse",
  keyless: true,
  create: () => () =>
    textModel(async function* (prompt) {
      const last = prompt.at(-1);
      const texts = last?.role === "user" ? last.content.flatMap((part) => (part.type === "text" ? [part.text] : [])) : [];
      yield [...texts.join("\n")].reverse().join("");
    }),
});

export default definePlugin({ name: "reverse", setup: () => ({ providers: [reverse] }) });
