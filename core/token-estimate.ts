import type { Message } from "./message.ts";

/** Where nothing has been measured: the rule of thumb for English text (platform.openai.com/tokenizer). */
export const CHARACTERS_PER_TOKEN = 4;
/** Chinese has about one character a token, indented code six: what lies beyond is no ratio but a count that is wrong, and teaches nothing. */
const LEAST = 0.5;
const MOST = 8;
/** Requests below this many characters tell more of the frame around the text than of the text. */
const LEAST_CHARACTERS = 400;
/** Share of the newest request in the running ratio. */
const WEIGHT = 0.3;
/** A file of any kind: an image is 1,000 to 1,600 tokens, whatever its bytes. */
const FILE_CHARACTERS = 4_000;
/** Models that are remembered; the oldest goes. */
const MODELS = 100;

/** Tokens of so many characters (UTF-16 units), rounded up. */
export const estimateTokens = (characters: number, charactersPerToken = CHARACTERS_PER_TOKEN): number => Math.ceil(characters / charactersPerToken);

/** Whether so many characters can be so many tokens. */
export const isCount = (characters: number, tokens: number): boolean => characters / tokens >= LEAST && characters / tokens <= MOST;

/** Characters per token, per model: 4 at first, then what the provider's own counts say. In memory alone. */
export interface TokenEstimator {
  ratio(model: string): number;
  /** Takes in what a request of so many characters really was. A count of 0 tokens means that nobody has counted; one that cannot be is left aside. */
  calibrate(model: string, request: { characters: number; tokens: number }): void;
}

export function createTokenEstimator(): TokenEstimator {
  const ratios = new Map<string, number>();
  return {
    ratio: (model) => ratios.get(model) ?? CHARACTERS_PER_TOKEN,
    calibrate(model, { characters, tokens }) {
      if (characters < LEAST_CHARACTERS || !isCount(characters, tokens)) return;
      const seen = characters / tokens;
      const before = ratios.get(model);
      ratios.delete(model);
      ratios.set(model, before === undefined ? seen : before + WEIGHT * (seen - before));
      if (ratios.size > MODELS) ratios.delete(ratios.keys().next().value as string);
    },
  };
}

const measured = new WeakMap<Message, number>();

/** Characters of a message that a model reads. Measured once for each message, so a long conversation costs no more per step. */
export function charactersOf(message: Message): number {
  const known = measured.get(message);
  if (known !== undefined) return known;
  const characters = typeof message.content === "string" ? message.content.length : message.content.reduce((sum, part) => sum + charactersOfPart(part), 0);
  measured.set(message, characters);
  return characters;
}

type Part = Exclude<Message["content"], string>[number];

function charactersOfPart(part: Part): number {
  if (part.type === "text" || part.type === "reasoning") return part.text.length;
  if (part.type === "tool-call") return part.toolName.length + jsonLength(part.input);
  if (part.type === "file") return FILE_CHARACTERS;
  if (part.type !== "tool-result") return 0;
  const { output } = part;
  return output.type === "text" || output.type === "error-text" ? output.value.length : jsonLength(output);
}

const jsonLength = (value: unknown): number => JSON.stringify(value ?? null).length;
