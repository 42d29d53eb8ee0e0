/**
 * Notices that nobody reads stdout any more while nothing is written to it, as in a long tool call: Node says so only at
 * the next write. A small child polls stdout for the hang-up; it holds a pipe from us, so it ends when we do, however.
 * It has our stdout as 3: what a child has as 0, 1 or 2 is made blocking at its start, for us too, and a write of ours
 * to a reader who is behind would then hold everything up, signals and time limits as well.
 */
const WATCH = [
  "use IO::Poll qw(POLLERR POLLHUP POLLIN);",
  "open(my $out, '>&=', 3); my $poll = IO::Poll->new; $poll->mask($out => POLLERR | POLLHUP); $poll->mask(*STDIN => POLLIN | POLLHUP);",
  "while ($poll->poll(-1) > 0) { exit 0 if $poll->events(*STDIN); exit 3 if $poll->events($out); }",
].join(" ");
const GONE = 3;

/** Calls `onClosed` when the reader of stdout has gone. The result of the call ends the watch. Without perl nothing is noticed. */
export async function watchClosedOutput(onClosed: () => void): Promise<() => void> {
  const { spawn } = await import("node:child_process");
  const child = spawn("perl", ["-e", WATCH], { stdio: ["pipe", "ignore", "ignore", 1], env: { PATH: process.env.PATH } });
  child.on("error", () => {});
  child.on("exit", (code) => code === GONE && onClosed());
  child.stdin?.on("error", () => {});
  child.unref();
  return () => child.kill("SIGKILL");
}
