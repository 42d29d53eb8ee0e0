import { AgentError } from "./errors.ts";
import { type FilePart, isToolFiles, type Message } from "./message.ts";
import { acceptsMedia, mediaKind, nameOfKind } from "./modalities.ts";
import type { PromptRun } from "./prompt-run.ts";
import type { ModelRequest } from "./request.ts";
import type { Route } from "./route.ts";

/**
 * The same models, each asked without files that it does not take: where tools have read them, a line of text says what is
 * left out. What a user attached is never left out: the model is not asked, MEDIA_REFUSED. What a provider refuses, of all
 * files of a kind or of a single one, is learned, and asked once more without; so a picture that a tool has read does not
 * end a run.
 */
export const withoutRefusedMedia = (routes: Route[], run: PromptRun): Route[] => routes.map((route) => withoutRefused(route, run));

function withoutRefused(route: Route, run: PromptRun): Route {
  const { refusedMedia, log, redactor } = run.environment;
  const { model } = route;
  const spoiled = new WeakMap<FilePart, string>();
  const replace = (file: FilePart, isFromTool: boolean): UserPart => {
    const kind = mediaKind(file.mediaType);
    const media = nameOfKind(kind);
    const leftOut = (reason: string): UserPart => ({ type: "text", text: `(${file.filename ?? "A file"} is left out, because ${reason})` });
    if (spoiled.has(file)) return leftOut(`${model} refused the request with it: ${spoiled.get(file)}`);
    if (acceptsMedia(model, file.mediaType, { config: run.config, refused: refusedMedia }) !== false) return file;
    if (isFromTool) return leftOut(`${model} takes no ${media}.`);
    const reason = refusedMedia.get(`${model} ${kind}`) ?? "the configuration says so (modalities).";
    throw new AgentError("MEDIA_REFUSED", { model, media, reason });
  };
  const learn = (error: AgentError, sent: ModelRequest): string | undefined => {
    const reason = redactor.redact(String(error.data.reason));
    const files = spoiledFiles(error, sent);
    for (const file of files) spoiled.set(file, reason);
    if (files.length > 0) return `${model} refused ${files.map(({ filename }) => filename ?? "a file").join(", ")}: it is left out from now on.`;
    const kinds = refusedKinds(error, sent);
    for (const kind of kinds) refusedMedia.set(`${model} ${kind}`, reason);
    return kinds.length === 0 ? undefined : `${model} takes no ${kinds.map(nameOfKind).join(" and no ")}: what tools read of them is left out from now on.`;
  };
  const ask: Route["ask"] = async (request, step) => {
    const sent = leaveOut(request, replace);
    try {
      return await route.ask(sent, step);
    } catch (error) {
      const learned = error instanceof AgentError ? learn(error, sent) : undefined;
      if (learned === undefined) throw error;
      log.warn(learned);
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

const messagesOf = ({ entries, messages = entries.map(({ message }) => message) }: ModelRequest): Message[] => messages;
const filesOf = (message: Message): FilePart[] => (message.role === "user" ? message.content.filter((part) => part.type === "file") : []);

/** Kinds of the files of a request that was refused because of them: the one that the provider names, where it names one. */
function refusedKinds(error: AgentError, request: ModelRequest): string[] {
  if (error.code !== "MEDIA_REFUSED") return [];
  const kinds = [
    ...new Set(
      messagesOf(request)
        .flatMap(filesOf)
        .map(({ mediaType }) => mediaKind(mediaType)),
    ),
  ];
  const named = kinds.filter((kind) => kind === error.data.kind);
  return named.length > 0 ? named : kinds;
}

/** A file that is damaged or too large, in the words of Anthropic, OpenAI, Google and llama.cpp. */
const SPOILED = new RegExp(
  [
    "(?:could not|unable to|failed to) (?:process|load|decode) (?:the )?(?:input )?(?:image|pdf|document)",
    "(?:unsupported|invalid|not a valid|not represent a valid) (?:image|pdf)",
    "\\b(?:image|pdf)\\b.{0,60}(?:exceeds?\\b|(?:is|was) not valid|does not match|password protected)",
    "maximum of \\d+ pdf pages",
  ].join("|"),
  "i",
);

/** The newest files of tools in a request that was refused for a file: those before have been taken. */
function spoiledFiles({ code, data }: AgentError, request: ModelRequest): FilePart[] {
  if (code !== "REQUEST_INVALID" || !SPOILED.test(String(data.reason))) return [];
  const newest = messagesOf(request).findLast((message) => isToolFiles(message) && filesOf(message).length > 0);
  return newest === undefined ? [] : filesOf(newest);
}
