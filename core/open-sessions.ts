import { AgentError } from "./errors.ts";
import type { PromptEnvironment } from "./prompt-run.ts";
import type { Session, Sessions } from "./session.ts";

/** A session for one prompt, which calls `release` at its end. */
export interface OpenedSession {
  session: Session;
  resumed: boolean;
  release(): void;
}

/** Sessions that stay open while no prompt has them; each holds a file, a lock and its conversation. */
const IDLE_SESSIONS = 8;

/**
 * The last sessions stay open between the prompts of a runtime, so that a long one is read once. One prompt at a time has
 * a session: the words of two would mix in it. Throws SESSION_BUSY and what `Sessions` throws.
 */
export function createOpenSessions(sessions: Sessions, cwd: string): Pick<PromptEnvironment, "openSession" | "openChild"> & { close(): Promise<void> } {
  const open = new Map<string, Session>();
  const busy = new Set<string>();
  const take = (session: Session, resumed: boolean): OpenedSession => {
    const { id } = session;
    if (busy.has(id)) throw new AgentError("SESSION_BUSY", { id, pid: process.pid });
    open.delete(id); // To its new place: the last one.
    open.set(id, session);
    busy.add(id);
    const release = () => {
      busy.delete(id);
      closeOldest(open, busy);
    };
    return { session, resumed, release };
  };
  const goOn = async (id: string) => take(open.get(id) ?? (await sessions.open(id)), true);
  return {
    async openSession(request, { continueNewest, fork, title, sessionId }) {
      const id = request.session ?? (continueNewest ? await newestOf(sessions, cwd) : undefined) ?? (await existing(sessions, sessionId));
      if (id !== undefined) return fork ? take(await sessions.fork(id), true) : goOn(id);
      return take(await sessions.create({ cwd, ...(title !== undefined && { title }), ...(sessionId !== undefined && { id: sessionId }) }), false);
    },
    async openChild(parentId, { sessionId, description }) {
      if (sessionId === undefined) return take(await sessions.create({ cwd, parentId, ...(description !== undefined && { title: description }) }), false);
      // The id comes from a model: it may go on with what this session started, and with nothing else.
      const { meta } = open.get(sessionId) ?? (await sessions.read(sessionId));
      if (meta.parentId !== parentId) throw new AgentError("SESSION_NOT_FOUND", { id: sessionId });
      if (busy.has(sessionId)) throw new AgentError("TASK_BUSY", { id: sessionId });
      return goOn(sessionId);
    },
    async close() {
      await Promise.all([...open.values()].map((session) => session.close()));
      open.clear();
    },
  };
}

function closeOldest(open: Map<string, Session>, busy: Set<string>): void {
  const idle = [...open].filter(([id]) => !busy.has(id));
  for (const [id, session] of idle.slice(0, -IDLE_SESSIONS)) {
    open.delete(id);
    void session.close();
  }
}

async function newestOf(sessions: Sessions, cwd: string): Promise<string> {
  const id = await sessions.newest(cwd);
  if (id === undefined) throw new AgentError("SESSION_NOT_FOUND", { id: "of this workspace to go on with" });
  return id;
}

/** The id, where there is such a session already. */
async function existing(sessions: Sessions, id: string | undefined): Promise<string | undefined> {
  if (id === undefined) return undefined;
  return (await sessions.list()).some((meta) => meta.id === id) ? id : undefined;
}
