import { AgentError } from "./errors.ts";
import { type FilePart, isToolFiles, type Message } from "./message.ts";
import { acceptsMedia, mediaKind, nameOfKind } from "./modalities.ts";
import type { PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import type { Route } from "./route.ts";

/**
 * The same models, each asked without files that it does not take: where tools have read them, a line of text says what is left
 * out. What a user attached is never left out: the model is not asked, MEDIA_REFUSED. What a provider refuses is learned,
 * and asked once more without; so a picture that a tool has read does not end a run.
 */
export const withoutRefusedMedia = (routes: Route[], run: PromptRun): Route[] => routes.map((route) => withoutRefused(route, run));

function withoutRefused(route: Route, run: PromptRun): Route {
  const { refusedMedia: refused, log } = run.environment;
  const { model } = route;
  const isTaken = ({ mediaType }: FilePart) => acceptsMedia(model, mediaType, { config: run.config, refused }) !== false;
  const ask: Route["ask"] = async (request, step) => {
    const sent = leaveOut(request, (file, isFromTool) => {
      if (isTaken(file)) return file;
      const media = nameOfKind(mediaKind(file.mediaType));
      if (isFromTool) return { type: "text", text: `(${file.filename ?? "A file"} is left out, because ${model} takes no ${media}.)` };
      const reason = refused.get(`${model} ${mediaKind(file.mediaType)}`) ?? "the configuration says so (modalities).";
      throw new AgentError("MEDIA_REFUSED", { model, media, reason });
    });
    try {
      return await route.ask(sent, step);
    } catch (error) {
      const kinds = refusedKinds(error, sent);
      if (kinds.length === 0) throw error;
      for (const kind of kinds) refused.set(`${model} ${kind}`, String((error as AgentError).data.reason));
      log.warn(`${model} takes no ${kinds.map(nameOfKind).join(" and no ")}: what tools read of them is left out from now on.`);
      return ask(request, step);
    }
  };
  // All else stays that of the route, and is asked of it when it is needed.
  return Object.create(route, { ask: { value: ask } });
}

type UserPart = Extract<Message, { role: "user" }>["content"][number];

function leaveOut(request: ModelRequest, replace: (file: FilePart, isFromTool: boolean) => UserPart): ModelRequest {
  const lean = (message: Message): Message => {
    if (message.role !== "user") return message;
    const content = message.content.map((part) => (part.type === "file" ? replace(part, isToolFiles(message)) : part));
    return content.some((part, index) => part !== message.content[index]) ? { ...message, content } : message;
  };
  const { entries, messages } = request;
  if (messages !== undefined) return { ...request, messages: messages.map(lean) };
  return { ...request, entries: entries.map((entry) => ({ ...entry, message: lean(entry.message) })) };
}

/** Kinds of the files of a request that was refused because of them: the one that the provider names, where it names one. */
function refusedKinds(error: unknown, { entries, messages = entries.map(({ message }) => message) }: ModelRequest): string[] {
  if (!(error instanceof AgentError) || error.code !== "MEDIA_REFUSED") return [];
  const files = messages.flatMap((message) => (message.role === "user" ? message.content.filter((part) => part.type === "file") : []));
  const kinds = [...new Set(files.map(({ mediaType }) => mediaKind(mediaType)))];
  const named = kinds.filter((kind) => kind === error.data.kind);
  return named.length > 0 ? named : kinds;
}
