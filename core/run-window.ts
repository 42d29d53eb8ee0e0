import type { Entry, TokenCount } from "./message.ts";
import type { PromptRun } from "./prompt-run.ts";
import type { Route } from "./route.ts";
import { charactersOf, isCount } from "./token-estimate.ts";
import type { Turn } from "./turn.ts";
import type { WindowView } from "./window.ts";

/** Input tokens of one request above which a run is warned, once. */
export const WARN_TOKENS = 50_000;
/** Key of the session's state: where its window begins. A resumed session goes on with the same prefix. */
const STATE_KEY = "window.from";

/** How much of the conversation goes out, and how much that was. */
export interface RunWindow {
  /** What the next request holds of the conversation, beside so many characters of system prompt and tools. */
  view(entries: readonly Entry[], fixedCharacters: number): readonly Entry[];
  /** Takes in what the provider counted of the request that was answered. Whether it can be that. */
  learn(turn: Turn, model: string): boolean;
}

/** The window of one run: the configuration's, else the smallest that a provider of the chain wants; none by default. */
export async function createRunWindow(run: PromptRun, routes: Route[]): Promise<RunWindow> {
  const { environment, session, config, request } = run;
  const { log, estimator } = environment;
  const { messages = leastOf(routes), tokens, warnTokens = WARN_TOKENS } = config.window ?? {};
  const limits = { messages, tokens };
  const slideWindow = messages === undefined && tokens === undefined ? undefined : (await import("./window.ts")).slideWindow;
  const newest = session.entries().at(-1);
  const promptId = request.tools?.length ? undefined : newest?.id;
  const tellOnce = createTeller((view) => log.warn("The window leaves out messages.", { ...countsOf(view), limit: limits }));
  let sent = { characters: 0, hasFiles: false };
  let isWarned = false;
  return {
    view(entries, fixedCharacters) {
      const from = session.state.get<string>(STATE_KEY) ?? undefined;
      const view = slideWindow?.(entries, { limits, fixedCharacters, charactersPerToken: estimator.ratio(run.last.model ?? ""), promptId, from });
      if (view !== undefined && view.from !== from) session.state.set(STATE_KEY, view.from ?? null);
      if (view !== undefined) tellOnce(view);
      const shown = view?.entries ?? entries;
      sent = {
        characters: shown.reduce((sum, { message }) => sum + charactersOf(message), fixedCharacters),
        hasFiles: shown.some(holdsFile),
      };
      return shown;
    },
    learn(turn, model) {
      const input = inputOf(turn.tokens);
      estimator.calibrate(model, { characters: sent.characters, tokens: input });
      if (warnTokens !== false && !isWarned && input > warnTokens) {
        isWarned = true;
        log.warn(
          `A request to ${model} had ${input} input tokens, more than ${warnTokens}, and every further step has as many: set window or toolOutput.ratio in the configuration, or start a new session.`,
        );
      }
      // A file may be a picture or a book.
      return input > 0 && (sent.hasFiles || isCount(sent.characters, input));
    },
  };
}

const holdsFile = ({ message }: Entry): boolean => typeof message.content !== "string" && message.content.some(({ type }) => type === "file");

function leastOf(routes: Route[]): number | undefined {
  const limits = routes.flatMap(({ contextMessages }) => (contextMessages === undefined ? [] : [contextMessages]));
  return limits.length === 0 ? undefined : Math.min(...limits);
}

/** One line for each change, not one for each request. */
function createTeller(tell: (view: WindowView) => void): (view: WindowView) => void {
  let told = "0";
  return (view) => {
    const now = view.dropped === 0 && view.elided === 0 ? "0" : `${view.from}:${view.elided}`;
    if (now !== told && now !== "0") tell(view);
    told = now;
  };
}

const countsOf = ({ original, kept, dropped, elided, estimatedTokens }: WindowView) => ({ original, kept, dropped, elided, estimatedTokens });

const inputOf = ({ input, cache }: TokenCount): number => input + cache.read + cache.write;
