import { orAborted } from "./abort.ts";
import { errorMessage } from "./errors.ts";
import type { Emit } from "./events.ts";
import { type HookContext, type HookRunner, type PermissionRequest, type PermissionVerdict, strictest } from "./hooks.ts";
import type { PermissionAnswer, RuntimeOptions } from "./runtime.ts";

export interface PermitDependencies {
  hooks: HookRunner;
  ask: RuntimeOptions["ask"];
  /** What a person allowed for good; lives as long as the runtime. */
  grants: Set<string>;
  emit: Emit;
  newId(prefix: "per"): string;
  context: HookContext;
  /** The same call as others would judge it, who set bounds to this run. */
  ceilings: HookContext[];
}

/** The hooks' strictest verdict; where it is *ask*, the answer of a person, and deny when nobody can answer. */
export async function permit(request: PermissionRequest, dependencies: PermitDependencies): Promise<PermissionVerdict> {
  const { hooks, context, ceilings } = dependencies;
  const verdicts = await Promise.all([context, ...ceilings].map((at) => hooks.permission(request, at)));
  const verdict = strictest(verdicts) ?? { decision: "allow" };
  if (verdict.decision !== "ask" || isGranted(request, dependencies.grants)) return verdict.decision === "deny" ? verdict : { decision: "allow" };
  if (dependencies.ask === undefined)
    return { decision: "deny", reason: `${verdict.reason ?? `${request.tool} needs the permission of a person`} and nobody can be asked.` };
  return askPerson(request, verdict, dependencies);
}

async function askPerson(
  request: PermissionRequest,
  verdict: PermissionVerdict,
  { ask, grants, emit, newId, context }: PermitDependencies,
): Promise<PermissionVerdict> {
  const id = newId("per");
  emit({ type: "permission.request", id, callId: request.callId, tool: request.tool, patterns: request.patterns, title: verdict.reason ?? request.tool });
  const asked = (async () => (ask as NonNullable<RuntimeOptions["ask"]>)({ ...request, id }, context.signal))();
  const answer: PermissionAnswer = await orAborted(asked, context.signal).catch((error: unknown) => {
    context.signal.throwIfAborted();
    throw new Error(`Permission could not be asked: ${errorMessage(error)}`);
  });
  if (answer === "always") for (const pattern of request.patterns) grants.add(grantOf(request, pattern));
  if (answer === "once" || answer === "always") return { decision: "allow" };
  if (typeof answer === "object") return { decision: "deny", reason: answer.reject };
  return { decision: "deny", reason: `a person rejected this call of ${request.tool}. Try another way, or stop and say what is needed.` };
}

const grantOf = ({ permission }: PermissionRequest, pattern: string): string => `${permission} ${pattern}`;

const isGranted = (request: PermissionRequest, grants: Set<string>): boolean =>
  request.patterns.length > 0 && request.patterns.every((pattern) => grants.has(grantOf(request, pattern)));
