import { AgentError } from "./errors.ts";
import type { PromptEnvironment } from "./prompt-run.ts";
import type { Session, Sessions } from "./session.ts";

/** Sessions stay open between the prompts of a runtime, so that a long one is read once. */
export function createOpenSessions(sessions: Sessions, cwd: string): Pick<PromptEnvironment, "openSession" | "openChild"> & { close(): Promise<void> } {
  const open = new Map<string, Session>();
  const keep = (session: Session) => {
    open.set(session.id, session);
    return session;
  };
  const goOn = async (id: string) => open.get(id) ?? keep(await sessions.open(id));
  return {
    async openSession(request, { continueNewest, fork, title, sessionId }) {
      const id = request.session ?? (continueNewest ? await newestOf(sessions, cwd) : undefined);
      if (id !== undefined) return { session: fork ? keep(await sessions.fork(id)) : await goOn(id), resumed: true };
      if (sessionId !== undefined && open.has(sessionId)) return { session: await goOn(sessionId), resumed: true };
      return { session: keep(await sessions.create({ cwd, ...(title !== undefined && { title }), ...(sessionId !== undefined && { id: sessionId }) })), resumed: false };
    },
    async openChild(parentId, { sessionId, description }) {
      if (sessionId !== undefined) return { session: await goOn(sessionId), resumed: true };
      return { session: keep(await sessions.create({ cwd, parentId, ...(description !== undefined && { title: description }) })), resumed: false };
    },
    async close() {
      await Promise.all([...open.values()].map((session) => session.close()));
      open.clear();
    },
  };
}

async function newestOf(sessions: Sessions, cwd: string): Promise<string> {
  const id = await sessions.newest(cwd);
  if (id === undefined) throw new AgentError("SESSION_NOT_FOUND", { id: "of this workspace to go on with" });
  return id;
}
