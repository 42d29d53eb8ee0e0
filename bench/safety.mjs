// What safety costs, each part beside a yardstick of the same run: npm run bench:safety [-- part].
// A part is one function in a file of its own; it gives rows of [what, ours, yardstick, goal].
const parts = {
  "permission check": async () => (await import("./safety-permission.mjs")).measurePermissionCheck(),
  redactor: async () => (await import("./safety-redactor.mjs")).measureRedactor(),
  sandbox: async () => (await import("./safety-sandbox.mjs")).measureSandbox(),
};

const wanted = process.argv.slice(2).join(" ");
const widths = [64, 16, 30, 0];
const print = (cells) => console.log(cells.map((cell, at) => cell.padEnd(widths[at])).join(""));

console.log(`Node ${process.version}, medians.\n`);
print(["what", "agent", "yardstick", "goal"]);
for (const [name, measure] of Object.entries(parts)) if (name.includes(wanted)) for (const row of await measure()) print(row);
