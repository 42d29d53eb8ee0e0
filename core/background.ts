import { joinSignals, orAborted } from "./abort.ts";
import { AgentError } from "./errors.ts";
import type { TaskOptions, TaskResult } from "./tool.ts";

/** Tasks in the background of one prompt at the same time, those of its tasks included. */
const MOST_TASKS = 8;

/** How many a prompt has. */
interface TaskCount {
  running: number;
}

/** Runs a task to its end. Calls `begun` with the id of its session, and never rejects. */
type RunToEnd = (signal: AbortSignal, begun: (sessionId: string) => void) => Promise<TaskResult>;

/** The tasks that a run has started and waits for at its end only. */
export interface BackgroundTasks {
  readonly count: TaskCount;
  /** Resolves when the task has begun, with the status `running`, or with its result where it ended before that. Throws TASKS_CROWDED. */
  start(task: TaskOptions, run: RunToEnd): Promise<TaskResult>;
  /** What is to be told of those that have ended, each once. */
  takeEnded(): string[];
  /** Resolves when all have ended: whether there is anything to tell. Rejects when the run is aborted. */
  allEnded(): Promise<boolean>;
  /** Ends those that still run. */
  stop(): Promise<void>;
}

/** They end when `signal` aborts. `count`: that of the run whose task this one is. */
export function createBackgroundTasks(signal: AbortSignal, count: TaskCount = { running: 0 }): BackgroundTasks {
  const running = new Set<Promise<void>>();
  const ended: string[] = [];
  const stopping = new AbortController();
  return {
    count,
    async start(task, run) {
      if (count.running >= MOST_TASKS) throw new AgentError("TASKS_CROWDED", { limit: MOST_TASKS });
      count.running++;
      const { signal: own, release } = joinSignals([signal, stopping.signal], undefined);
      let begin = (_sessionId: string) => {};
      let hasBegun = false;
      const begun = new Promise<TaskResult>((resolve) => {
        begin = (sessionId) => resolve({ sessionId, text: "", status: "running", steps: 0 });
      });
      const result = run(own, (sessionId) => {
        hasBegun = true;
        begin(sessionId);
      });
      const over = result.then((last) => {
        release();
        count.running--;
        running.delete(over);
        if (hasBegun) ended.push(describeEnd(task, last));
      });
      running.add(over);
      return Promise.race([begun, result]);
    },
    takeEnded: () => ended.splice(0),
    async allEnded() {
      while (running.size > 0) await orAborted(Promise.all(running), signal);
      return ended.length > 0;
    },
    async stop() {
      stopping.abort(new AgentError("INTERRUPTED"));
      await Promise.all(running);
    },
  };
}

const NAME_LENGTH = 60;

function describeEnd({ description, prompt }: TaskOptions, { status, sessionId, text, error }: TaskResult): string {
  const name = description ?? prompt.slice(0, NAME_LENGTH);
  const head = `The background task "${name}" has ended: ${status} (task_id: ${sessionId}).`;
  if (status === "success") return `${head} Its answer:\n${text}`;
  return `${head} ${error ?? "No reason is given."}${text === "" ? "" : `\nIts last words: ${text}`}`;
}
