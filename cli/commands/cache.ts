import { AgentError } from "agent-runtime";
import { clearResponseCache, measureResponseCache, responseCacheDirectory } from "agent-runtime/host";

export interface CacheCommandContext {
  dataDir: string;
  write(text: string): void;
}

/** `agent cache | cache clear`. Resolves to the exit code; throws AgentErrors. */
export const cacheCommand = {
  name: "cache",
  description: "Show how much the answers take that --cache keeps, or remove them.",
  usage: ["cache", "cache clear"],
  async run([action, ...rest]: string[], { dataDir, write }: CacheCommandContext): Promise<number> {
    const unknown = action === "clear" ? rest[0] : action;
    if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "cache command", name: unknown, suggestion: "Use cache or cache clear. " });
    const dir = responseCacheDirectory(dataDir);
    const isClearing = action === "clear";
    const { answers, bytes } = await (isClearing ? clearResponseCache(dir) : measureResponseCache(dir));
    write(`${isClearing ? "Removed " : ""}${answers} ${answers === 1 ? "answer" : "answers"}, ${bytes} bytes${isClearing ? "" : ` in ${dir}`}\n`);
    return 0;
  },
};
