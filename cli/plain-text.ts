import { withoutControls } from "agent-runtime/host";

export { withoutControls };

/** Text that cannot steer a terminal, on one line of at most `limit` characters. */
export function oneLine(text: string, limit = 160): string {
  const line = withoutControls(text.replace(/\s+/g, " ")).trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}
