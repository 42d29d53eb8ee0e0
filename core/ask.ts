import type { Emit } from "./events.ts";
import type { Ask, AskAnswer, AskRequest, RequestSettings } from "./hooks.ts";
import { newId } from "./id.ts";
import { openModels } from "./open-routes.ts";
import { settingsOf } from "./prepare-request.ts";
import { hookContext, type PromptRun, withinLimits } from "./prompt-run.ts";
import type { Route } from "./route.ts";
import type { Turn } from "./turn.ts";

/** Lets a plugin ask a model within a run. `own` is the chain of the run, `toChain` makes one like it of other models. */
export function createAsk(run: PromptRun, own: Route, toChain: (models: Route[]) => Route): Ask {
  // Retries and fallbacks are told of; the words are not those of the conversation.
  const emit: Emit = (event) => {
    if (event.type === "retry" || event.type === "fallback") run.emit(event);
  };
  return async (request) => {
    run.signal.throwIfAborted();
    const chain = request.model === undefined ? own : toChain(await openModels(run, request.model));
    const route = withinLimits(chain, run, 0);
    const settings = await run.environment.hooks.transform("request", settingsFor(request, run), hookContext(run));
    const { system = "", messages, outputSchema } = request;
    const step = { messageId: newId("msg"), emit, newId, now: Date.now, caughtUp: run.channel.caughtUp, signal: run.signal };
    const turn = await route.ask({ system, entries: [], messages, tools: [], settings, ...(outputSchema !== undefined && { outputSchema }) }, step);
    return answerOf(turn, route.model);
  };
}

/** The sampling of the run is meant for its own models; where its answers shall end is not meant for this one. */
function settingsFor({ model, maxOutputTokens }: AskRequest, run: PromptRun): RequestSettings {
  const { stop: _stop, maxOutputTokens: _limit, ...sampling } = settingsOf(run);
  return { ...(model === undefined ? sampling : { headers: {}, providerOptions: {} }), ...(maxOutputTokens !== undefined && { maxOutputTokens }) };
}

export const answerOf = (turn: Turn, model: string): AskAnswer => ({
  text: turn.text,
  reason: turn.reason,
  model,
  tokens: turn.tokens,
  ...(turn.costUsd !== undefined && { costUsd: turn.costUsd }),
});
