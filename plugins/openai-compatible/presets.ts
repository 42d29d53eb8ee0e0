/** One endpoint that speaks the chat-completions wire. */
export interface Preset {
  name: string;
  baseURL: string;
  /** Variables that may hold the key; none: no key is needed. */
  env?: string[];
  /** Variables that set an option. */
  envOptions?: Record<string, string>;
  /** It takes `prompt_cache_key`. Others refuse a request with a field that they do not know. */
  cacheKey?: true;
}

/** Services by the addresses of their OpenAI-compatible interfaces and their usual variables; local servers by their usual ports. */
export const PRESETS: Readonly<Record<string, Preset>> = {
  openai: { name: "OpenAI", baseURL: "https://api.openai.com/v1", env: ["OPENAI_API_KEY"], envOptions: { OPENAI_BASE_URL: "baseURL" }, cacheKey: true },
  anthropic: { name: "Anthropic", baseURL: "https://api.anthropic.com/v1", env: ["ANTHROPIC_API_KEY"] },
  google: {
    name: "Google Gemini",
    baseURL: "https://generativelanguage.googleapis.com/v1beta/openai",
    env: ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
  },
  groq: { name: "Groq", baseURL: "https://api.groq.com/openai/v1", env: ["GROQ_API_KEY"] },
  mistral: { name: "Mistral", baseURL: "https://api.mistral.ai/v1", env: ["MISTRAL_API_KEY"] },
  deepseek: { name: "DeepSeek", baseURL: "https://api.deepseek.com/v1", env: ["DEEPSEEK_API_KEY"] },
  ollama: { name: "Ollama", baseURL: "http://127.0.0.1:11434/v1" },
  lmstudio: { name: "LM Studio", baseURL: "http://127.0.0.1:1234/v1" },
  llamacpp: { name: "llama.cpp", baseURL: "http://127.0.0.1:8080/v1" },
};
