import { joinSignals, orAborted } from "./abort.ts";
import { AgentError } from "./errors.ts";
import type { SessionState, TaskOptions, TaskResult } from "./tool.ts";

/** Tasks in the background of one prompt at the same time, those of its tasks included. */
const MOST_TASKS = 8;

/** How many a prompt has. */
interface TaskCount {
  running: number;
}

/** Runs a task to its end. Calls `begun` with the id of its session, and never rejects. */
type RunToEnd = (signal: AbortSignal, begun: (sessionId: string) => void) => Promise<TaskResult>;

/** How a task has ended, in our words, and its own ones. */
export interface EndedTask {
  text: string;
  words: string;
}

/** The tasks that a run has started and waits for at its end only. */
export interface BackgroundTasks {
  readonly count: TaskCount;
  /** Resolves when the task has begun, with the status `running`, or with its result where it ended before that. Throws TASKS_CROWDED. */
  start(task: TaskOptions, run: RunToEnd): Promise<TaskResult>;
  /** What is to be told of those that have ended, each once. */
  takeEnded(): EndedTask[];
  /** Resolves when all have ended, or `whenSaid` resolves before: whether there is anything to tell. Rejects when the run is aborted. */
  hasNews(whenSaid?: () => Promise<void>): Promise<boolean>;
  /** Ends those that still run. */
  stop(): Promise<void>;
}

export interface BackgroundSetup {
  /** They end when it aborts. */
  signal: AbortSignal;
  /** Of the session: it remembers those whose end it was not told, as the agent may be killed before. */
  state: SessionState;
  /** That of the run whose task this one is. */
  count: TaskCount | undefined;
}

export function createBackgroundTasks({ signal, state, count = { running: 0 } }: BackgroundSetup): BackgroundTasks {
  const running = new Set<Promise<void>>();
  const ends = createEnds(state);
  const stopping = new AbortController();
  return {
    count,
    async start(task, run) {
      if (count.running >= MOST_TASKS) throw new AgentError("TASKS_CROWDED", { limit: MOST_TASKS });
      count.running++;
      const { signal: own, release } = joinSignals([signal, stopping.signal], undefined);
      let begin = (_sessionId: string) => {};
      const begun = new Promise<TaskResult>((resolve) => {
        begin = (sessionId) => resolve({ sessionId, text: "", status: "running", steps: 0 });
      });
      const result = run(own, (sessionId) => {
        ends.expect(sessionId);
        begin(sessionId);
      });
      const over = result.then((last) => {
        release();
        count.running--;
        running.delete(over);
        ends.add(last.sessionId, describeEnd(task, last));
      });
      running.add(over);
      return Promise.race([begun, result]);
    },
    takeEnded: ends.take,
    async hasNews(whenSaid) {
      while (running.size > 0) if (await isSaidFirst(running, whenSaid, signal)) return true;
      return ends.hasAny();
    },
    async stop() {
      stopping.abort(new AgentError("INTERRUPTED"));
      await Promise.all(running);
    },
  };
}

/** False where all of them end first. */
function isSaidFirst(running: Iterable<Promise<void>>, whenSaid: (() => Promise<void>) | undefined, signal: AbortSignal): Promise<boolean> {
  const allEnded = Promise.all(running).then(() => false);
  return orAborted(whenSaid === undefined ? allEnded : Promise.race([allEnded, whenSaid().then(() => true)]), signal);
}

/** Where the state of the session has the ids of those that have begun and whose end it was not told. */
const STATE_KEY = "backgroundTasks";

/**
 * How tasks have ended that had begun, and the session was not told yet. The state is written with the session's next
 * entry: so a task is known with the answer of its call, and forgotten with what is told of its end.
 */
function createEnds(state: SessionState) {
  // One that was gone on with may stand here twice.
  const expected = readIds(state.get(STATE_KEY));
  const ends: (EndedTask & { id: string })[] = expected.map((id) => ({ id, text: describeLost(id), words: "" }));
  const keep = () => state.set(STATE_KEY, expected.length === 0 ? undefined : [...expected]);
  return {
    hasAny: () => ends.length > 0,
    expect(id: string) {
      expected.push(id);
      keep();
    },
    /** Of one that has not begun the call itself tells. */
    add(id: string, ended: EndedTask) {
      if (expected.includes(id)) ends.push({ id, ...ended });
    },
    take() {
      const taken = ends.splice(0);
      for (const { id } of taken) expected.splice(expected.indexOf(id), 1);
      if (taken.length > 0) keep();
      return taken.map(({ text, words }) => ({ text, words }));
    },
  };
}

const readIds = (kept: unknown): string[] => (Array.isArray(kept) ? kept.filter((id) => typeof id === "string") : []);

const describeLost = (sessionId: string): string =>
  `A background task has ended with the agent, without an answer (task_id: ${sessionId}). Go on with it if its answer is still needed.`;

const NAME_LENGTH = 60;

function describeEnd({ description, prompt }: TaskOptions, { status, sessionId, text, error }: TaskResult): EndedTask {
  const name = description ?? prompt.slice(0, NAME_LENGTH);
  const head = `The background task "${name}" has ended: ${status} (task_id: ${sessionId}).`;
  if (status === "success") return { text: `${head} Its answer:`, words: text };
  return { text: `${head} ${error ?? "No reason is given."}${text === "" ? "" : "\nIts last words:"}`, words: text };
}
