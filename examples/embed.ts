// The runtime inside a program: prints the answer of a model that needs no key.
import { createRuntime } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";

const runtime = await createRuntime({ plugins: builtins, config: { model: "demo/echo" }, persist: false });
for await (const event of runtime.prompt("Hello from a program.")) {
  if (event.type === "text") console.log(event.text);
}
await runtime.close();
