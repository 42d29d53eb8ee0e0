import { AgentError } from "./errors.ts";
import { formatModelId } from "./model-id.ts";
import { type ModelChain, resolveChain } from "./models.ts";
import type { PromptEnvironment, PromptRun } from "./prompt-run.ts";
import type { Route } from "./route.ts";

/** Opens the chain. Models that have no key, or may not be asked, are passed over while another one may, with one warning. */
export async function openRoutes(run: PromptRun): Promise<Route[]> {
  const { environment, request, profile, config } = run;
  const { opener, options } = environment;
  const chain = await resolveChain(request, {
    config,
    configSource: options.modelSource,
    profile,
    provider: options.provider,
    fallbackSource: environment.fallbackSource,
    untrusted: environment.untrusted,
    ...opener,
  });
  const routes = await openChain(chain, environment);
  run.chain = routes.map(({ model }) => model);
  announceModel(run, chain, (routes[0] as Route).model);
  return routes;
}

/** Opens models beside the chain of the run: only those that are named, as whole ids. */
export async function openModels({ environment, config }: PromptRun, model: string | string[]): Promise<Route[]> {
  const { opener, untrusted } = environment;
  const chain = await resolveChain({ model, fallback: [] }, { config, configSource: undefined, profile: undefined, untrusted, ...opener });
  return openChain(chain, environment);
}

/** Models that have no key, or may not be asked, are passed over while another one may. */
export async function openChain(chain: Pick<ModelChain, "ids">, environment: Pick<PromptEnvironment, "opener" | "passedOver" | "log">): Promise<Route[]> {
  const routes: Route[] = [];
  const passed = new Map<string, AgentError>();
  for (const id of chain.ids) {
    try {
      routes.push(await environment.opener.open(id));
    } catch (error) {
      if (!(error instanceof AgentError) || !PASSED_OVER.includes(error.code)) throw error;
      passed.set(formatModelId(id), error);
    }
  }
  if (routes[0] === undefined) throw [...passed.values()][0] ?? new AgentError("MODEL_UNSET", { providers: "none" });
  warnOfPassed(passed, environment);
  return routes;
}

const PASSED_OVER = ["KEY_MISSING", "MODEL_NOT_FREE"];

/** Once in the life of a runtime: every prompt of a session would say the same. */
function warnOfPassed(passed: Map<string, AgentError>, { passedOver, log }: Pick<PromptEnvironment, "passedOver" | "log">): void {
  const news = [...passed].filter(([model]) => !passedOver.has(model));
  for (const [model] of news) passedOver.add(model);
  const listed = (code: string, say: (model: string, error: AgentError) => string) =>
    news.flatMap(([model, error]) => (error.code === code ? [say(model, error)] : [])).join(", ");
  const [keyless, paid] = [listed("KEY_MISSING", (model, { data }) => `${model} (${data.variable})`), listed("MODEL_NOT_FREE", (model) => model)];
  if (keyless !== "") log.warn(`Passed over, because no key is set: ${keyless}.`);
  if (paid !== "") log.warn(`Passed over, because only free models may be asked (limits.freeOnly): ${paid}.`);
}

function announceModel(run: PromptRun, { requested, source, ids }: ModelChain, model: string): void {
  const slash = model.indexOf("/");
  run.last.model = model;
  run.emit({
    type: "model.resolved",
    requested,
    selector: model,
    providerId: model.slice(0, slash),
    modelId: model.slice(slash + 1),
    source,
    matchesRequest: ids[0] !== undefined && formatModelId(ids[0]) === model,
  });
}
