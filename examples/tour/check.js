import { greet } from "./src/greeting.js";

const greeting = greet("Ada");
if (greeting === "Hello, Ada!") {
  console.log(`ok: ${greeting}`);
} else {
  console.error(`failed: expected "Hello, Ada!", got "${greeting}"`);
  process.exitCode = 1;
}
