import type { Config } from "./config.ts";
import { parseModelId } from "./model-id.ts";

/** What providers have said when they refused files, by `provider/model kind`. */
export type RefusedMedia = Map<string, string>;

/** The kind of a media type as models are described by it: image, pdf, audio, video, text. */
export const mediaKind = (mediaType: string): string => (mediaType === "application/pdf" ? "pdf" : (mediaType.split("/")[0] as string));

/** Several files of a kind, for texts. */
export const nameOfKind = (kind: string): string => (({ image: "images", pdf: "PDF" }) as Record<string, string>)[kind] ?? `${kind} files`;

/** Whether a model (`provider/model`) takes files of a media type, as its provider or the configuration says; undefined where nobody does. */
export function acceptsMedia(model: string, mediaType: string, { config, refused }: { config: Readonly<Config>; refused: RefusedMedia }): boolean | undefined {
  const kind = mediaKind(mediaType);
  if (refused.has(`${model} ${kind}`)) return false;
  const { provider, model: id } = parseModelId(model);
  const { modalities, attachment } = config.provider?.[provider]?.models?.[id] ?? {};
  return modalities?.input?.includes(kind) ?? attachment;
}
