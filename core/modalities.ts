import type { Config } from "./config.ts";
import { parseModelId } from "./model-id.ts";

/** Whether a model (`provider/model`) takes files of a media type, as the configuration says; undefined where it says nothing. */
export function acceptsMedia(config: Readonly<Config>, model: string, mediaType: string): boolean | undefined {
  const { provider, model: id } = parseModelId(model);
  const { modalities, attachment } = config.provider?.[provider]?.models?.[id] ?? {};
  const kind = mediaType === "application/pdf" ? "pdf" : (mediaType.split("/")[0] as string);
  return modalities?.input?.includes(kind) ?? attachment;
}
