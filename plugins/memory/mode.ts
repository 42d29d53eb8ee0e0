/** One type of observation, or one concept: what it is called and when it is meant. */
export interface Meaning {
  name: string;
  /** For the extraction model: one short sentence. */
  when: string;
}

/**
 * What a memory pays attention to, as data. A plugin brings its own by the extension "memory.mode"; the option `mode` of
 * the memory chooses one by its name.
 *
 *     definePlugin({ name: "law", setup: () => ({ extensions: { "memory.mode": [{ name: "law", extends: "code", types: [...] }] } }) });
 */
export interface Mode {
  name: string;
  /** The mode that fills in what is left out: "code" by default. */
  extends?: string;
  /** The first is taken where a reply names none. */
  types: Meaning[];
  concepts: Meaning[];
  /** Pieces of the extractor's instructions. */
  prompts: {
    /** Who the extractor is. */
    role: string;
    /** What is worth remembering. */
    record: string;
    /** What is not. */
    skip: string;
    /** How a session is summed up. */
    summary: string;
    /** Language of what is written, or other wishes; "" is none. */
    style: string;
  };
}
