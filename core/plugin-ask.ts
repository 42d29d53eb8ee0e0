import { wait } from "./abort.ts";
import { answerOf } from "./ask.ts";
import type { Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { Emit } from "./events.ts";
import type { AskAnswer } from "./hooks.ts";
import { newId } from "./id.ts";
import type { Log } from "./log.ts";
import type { ModelOpener } from "./open-model.ts";
import { openChain } from "./open-routes.ts";
import type { PluginAskRequest } from "./plugin.ts";
import { type Rests, readRetry, route, type StepContext } from "./route.ts";

/** What asking outside of a run takes; the same for every plugin of a configuration. */
export interface PluginAskDependencies {
  config: Readonly<Config>;
  untrusted: readonly string[];
  rests: Rests;
  log: Log;
  passedOver: Set<string>;
  /** Models of providers with these options over those of the configuration. */
  openerWith(options: PluginAskRequest["providerOptions"]): ModelOpener;
  /** `provider/model` of those that have refused a schema of their answer. */
  withoutSchema: Set<string>;
}

/** Asks a chain of models for a plugin while no run may be there. Throws what the last model of the chain has failed with. */
export async function askForPlugin(request: PluginAskRequest, dependencies: PluginAskDependencies): Promise<AskAnswer> {
  const { config, rests, openerWith, withoutSchema } = dependencies;
  const { signal, messages, system = "", outputSchema } = request;
  signal.throwIfAborted();
  const opener = openerWith(request.providerOptions);
  const models = await openChain(await chainOf(request, opener, dependencies), { ...dependencies, opener });
  const outside = { wait, now: Date.now, random: Math.random, rests };
  const chain = route(
    models.map((model) => withOptionalSchema(model, withoutSchema)),
    readRetry(config.retry),
    outside,
  );
  const { temperature, maxOutputTokens } = request;
  const settings = {
    headers: {},
    providerOptions: {},
    ...(temperature !== undefined && { temperature }),
    ...(maxOutputTokens !== undefined && { maxOutputTokens }),
  };
  const step: StepContext = { messageId: newId("msg"), emit: teller(request), newId, now: Date.now, caughtUp: () => undefined, signal };
  const turn = await chain.ask({ system, entries: [], messages, tools: [], settings, ...(outputSchema !== undefined && { outputSchema }) }, step);
  return answerOf(turn, chain.model);
}

/** A provider without a model means its default, and with one it is of that provider; neither, the model of the configuration. */
async function chainOf({ model, provider }: PluginAskRequest, opener: ModelOpener, { config, untrusted }: PluginAskDependencies) {
  const { resolveChain } = await import("./models.ts");
  return resolveChain({ model, fallback: [] }, { config, configSource: undefined, profile: undefined, provider, untrusted, ...opener });
}

type Model = Parameters<typeof route>[0][number];

/** As a router says that none of a model's hosts takes a schema: it has no such model. */
const REFUSALS = new Set(["REQUEST_INVALID", "MODEL_UNAVAILABLE"]);

/** Not every model takes a schema of its answer. One that refuses the request is asked without, now and from then on. */
function withOptionalSchema(model: Model, refused: Set<string>): Model {
  const { ask } = model;
  const bare: Model["ask"] = ({ outputSchema: _schema, ...request }, step) => ask(request, step);
  return Object.assign(Object.create(model) as Model, {
    ask: async (request: Parameters<Model["ask"]>[0], step: StepContext) => {
      if (request.outputSchema === undefined || refused.has(model.model)) return bare(request, step);
      try {
        return await ask(request, step);
      } catch (error) {
        if (!(error instanceof AgentError) || !REFUSALS.has(error.code)) throw error;
        const turn = await bare(request, step);
        refused.add(model.model);
        return turn;
      }
    },
  });
}

function teller({ on }: PluginAskRequest): Emit {
  return (event) => {
    if (event.type === "retry") on?.({ type: "retry", from: event.model, to: event.model, ...event.error });
    if (event.type === "fallback") on?.({ type: "fallback", from: event.from, to: event.to, ...event.error });
  };
}
