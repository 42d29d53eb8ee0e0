import { orAborted } from "./abort.ts";
import { showHidden } from "./clean-text.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { Emit } from "./events.ts";
import { type HookContext, type HookRunner, type PermissionRequest, type PermissionVerdict, strictest, type ToolCall } from "./hooks.ts";
import type { PermissionAnswer, RuntimeOptions } from "./runtime.ts";
import type { Question } from "./tool.ts";

export interface AskDependencies {
  ask: RuntimeOptions["ask"];
  emit: Emit;
  newId(prefix: "per"): string;
  signal: AbortSignal;
}

export interface PermitDependencies extends AskDependencies {
  hooks: HookRunner;
  /** What a person allowed for good; lives as long as the runtime. */
  grants: Set<string>;
  context: HookContext;
  /** The same call as others would judge it, who set bounds to this run. */
  ceilings: HookContext[];
}

/** The hooks' strictest verdict; where it is *ask*, the answer of a person, and deny when nobody can answer. */
export async function permit(request: PermissionRequest, dependencies: PermitDependencies): Promise<PermissionVerdict> {
  const { hooks, context, ceilings, grants } = dependencies;
  const verdicts = await Promise.all([context, ...ceilings].map((at) => hooks.permission(request, at)));
  const verdict = strictest(verdicts) ?? { decision: "allow" };
  if (verdict.decision === "deny") return verdict;
  const { effect } = verdict;
  const allowed: PermissionVerdict = { decision: "allow", ...(effect !== undefined && { effect }) };
  const covered = (verdict.always ?? request.patterns).map((pattern) => `${request.permission} ${pattern}`);
  const isGranted = covered.length > 0 && covered.every((grant) => grants.has(grant));
  // Whoever is asked a question need not be asked whether they may be.
  if (verdict.decision === "allow" || request.effect === "ask" || isGranted) return allowed;
  const { always } = verdict;
  const answer = await askPerson({ request, title: verdict.reason ?? request.tool, ...(always !== undefined && { always }) }, dependencies);
  if (answer === "always") for (const grant of covered) grants.add(grant);
  return answer === "once" || answer === "always" ? allowed : toRefusal(answer, request, verdict);
}

type Refusal = Exclude<PermissionAnswer, "once" | "always">;

function toRefusal(answer: Refusal, { tool }: PermissionRequest, { reason }: PermissionVerdict): PermissionVerdict {
  if (answer === "nobody") return { decision: "deny", reason: `${reason ?? `${tool} needs the permission of a person`} and nobody can be asked.` };
  if (answer === "reject") return { decision: "deny", reason: `a person rejected this call of ${tool}. Try another way, or stop and say what is needed.` };
  return { decision: "deny", reason: "reject" in answer ? answer.reject : `a person says: ${answer.answer}` };
}

/** What a call asks a person: their words, "yes" where they only agree, undefined where nobody can answer. Throws PERMISSION_DENIED where they do not want to. */
export async function putQuestion({ question, options }: Question, { id: callId, tool }: ToolCall, dependencies: AskDependencies): Promise<string | undefined> {
  const asked = { question, ...(options !== undefined && { options }) };
  const request: PermissionRequest = { tool, permission: tool, effect: "ask", input: asked, patterns: ["*"], callId, ...asked };
  const answer = await askPerson({ request, title: question }, dependencies);
  if (answer === "nobody") return undefined;
  if (answer === "once" || answer === "always") return "yes";
  if (typeof answer === "object" && "answer" in answer) return answer.answer;
  const reason =
    answer === "reject" ? "a person does not want to answer this. Decide without it, or say in the final answer what has to be known." : answer.reject;
  throw new AgentError("PERMISSION_DENIED", { reason });
}

async function askPerson(
  { request, title, always }: { request: PermissionRequest; title: string; always?: string[] },
  { ask, emit, newId, signal }: AskDependencies,
): Promise<PermissionAnswer> {
  if (ask === undefined) return "nobody";
  // Who is told of a request after the abort is never told that it is over.
  signal.throwIfAborted();
  const id = newId("per");
  const { callId, tool, patterns, question, options } = request;
  emit({
    type: "permission.request",
    id,
    callId,
    tool,
    // Whoever decides sees all of it, and in its order.
    patterns: patterns.map(showHidden),
    title: showHidden(title),
    ...(always !== undefined && { always: always.map(showHidden) }),
    ...(question !== undefined && { question: showHidden(question) }),
    ...(options !== undefined && { options: options.map(showHidden) }),
  });
  const asked = (async () => ask({ ...request, id }, signal))();
  return orAborted(asked, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new Error(`${question === undefined ? "Permission" : "The question"} could not be asked: ${errorMessage(error)}`);
  });
}
