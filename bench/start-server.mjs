import { fork } from "node:child_process";
import http from "node:http";
import { fileURLToPath } from "node:url";

/** Starts the scripted server in a process of its own. `readLog` gives what it has answered since it was asked last. */
export async function startServer() {
  const server = fork(fileURLToPath(new URL("server.mjs", import.meta.url)), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const port = await new Promise((resolve) => server.once("message", resolve));
  const readLog = () =>
    new Promise((resolve, reject) => {
      http
        .get({ port, path: "/log" }, (response) =>
          response
            .setEncoding("utf8")
            .toArray()
            .then((parts) => resolve(JSON.parse(parts.join(""))), reject),
        )
        .on("error", reject);
    });
  return { baseURL: `http://127.0.0.1:${port}/v1`, readLog, kill: () => server.kill() };
}
