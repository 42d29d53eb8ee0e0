import { fstatSync } from "node:fs";
import type { Readable } from "node:stream";
import { isatty } from "node:tty";

/** What stands behind the standard input: a person, a file, a pipe or socket that can be silent, a device such as /dev/null, or nothing at all. */
export type StdinKind = "terminal" | "file" | "stream" | "device" | "nothing";

export interface Stdin {
  readonly kind: StdinKind;
  /**
   * Its bytes, read as they are asked for. Where nothing asks, nothing is read and nothing keeps the process alive.
   * Ends when the signal aborts.
   */
  read(signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** True when bytes wait that nobody has read; does not read them. False where that cannot be found out. */
  hasWaiting(): Promise<boolean>;
}

export function openStdin(): Stdin {
  return { kind: findKind(), read: (signal) => readStream(process.stdin, signal), hasWaiting };
}

/** All of it, as text. */
export async function readText(stdin: Stdin, signal: AbortSignal): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stdin.read(signal)) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function findKind(): StdinKind {
  try {
    const stat = fstatSync(0);
    if (stat.isFIFO() || stat.isSocket()) return "stream";
    if (stat.isFile()) return "file";
    return isatty(0) ? "terminal" : stat.isCharacterDevice() ? "device" : "nothing";
  } catch {
    return "nothing";
  }
}

async function* readStream(stream: Readable, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const stop = () => stream.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (!signal.aborted) for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    stream.destroy();
  }
}

/** FIONREAD, which Node does not offer: 0x541B on Linux, 0x4004667F on macOS. */
const COUNT_WAITING = 'my $n = pack("L", 0); exit 1 unless ioctl(STDIN, $^O eq "darwin" ? 0x4004667F : 0x541B, $n); print unpack("L", $n);';
const WAIT_MS = 1000;

async function hasWaiting(): Promise<boolean> {
  const { spawn } = await import("node:child_process");
  return new Promise((resolve) => {
    let output = "";
    const child = spawn("perl", ["-e", COUNT_WAITING], { stdio: ["inherit", "pipe", "ignore"], env: { PATH: process.env.PATH }, timeout: WAIT_MS });
    child.stdout.on("data", (piece: Buffer) => (output += piece.toString()));
    child.on("error", () => resolve(false));
    child.on("close", () => resolve(Number(output) > 0));
  });
}
