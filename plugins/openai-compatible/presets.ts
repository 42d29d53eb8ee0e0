import type { Provider } from "agent-runtime";

/** One endpoint that speaks the chat-completions wire. */
export interface Preset {
  name: string;
  baseURL: string;
  /** Variables that may hold the key; none: no key is needed. */
  env?: string[];
  /** Variables that set an option. */
  envOptions?: Record<string, string>;
  pages?: Provider["pages"];
  /** It takes `prompt_cache_key`. Others refuse a request with a field that they do not know. */
  cacheKey?: true;
}

/** Services by the addresses of their OpenAI-compatible interfaces and their usual variables; local servers by their usual ports. */
export const PRESETS: Readonly<Record<string, Preset>> = {
  openai: {
    name: "OpenAI",
    baseURL: "https://api.openai.com/v1",
    env: ["OPENAI_API_KEY"],
    envOptions: { OPENAI_BASE_URL: "baseURL" },
    cacheKey: true,
    pages: {
      keys: "https://platform.openai.com/api-keys",
      credits: "https://platform.openai.com/settings/organization/billing",
      activity: "https://platform.openai.com/usage",
      models: "https://platform.openai.com/docs/models",
      status: "https://status.openai.com",
    },
  },
  anthropic: {
    name: "Anthropic",
    baseURL: "https://api.anthropic.com/v1",
    env: ["ANTHROPIC_API_KEY"],
    pages: {
      keys: "https://console.anthropic.com/settings/keys",
      credits: "https://console.anthropic.com/settings/billing",
      activity: "https://console.anthropic.com/usage",
      models: "https://docs.anthropic.com/en/docs/about-claude/models",
      status: "https://status.anthropic.com",
    },
  },
  google: {
    name: "Google Gemini",
    baseURL: "https://generativelanguage.googleapis.com/v1beta/openai",
    env: ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
    pages: {
      keys: "https://aistudio.google.com/apikey",
      activity: "https://aistudio.google.com/usage",
      models: "https://ai.google.dev/gemini-api/docs/models",
      status: "https://aistudio.google.com/status",
    },
  },
  groq: {
    name: "Groq",
    baseURL: "https://api.groq.com/openai/v1",
    env: ["GROQ_API_KEY"],
    pages: {
      keys: "https://console.groq.com/keys",
      credits: "https://console.groq.com/settings/billing",
      activity: "https://console.groq.com/dashboard/usage",
      models: "https://console.groq.com/docs/models",
      status: "https://groqstatus.com",
    },
  },
  mistral: {
    name: "Mistral",
    baseURL: "https://api.mistral.ai/v1",
    env: ["MISTRAL_API_KEY"],
    pages: {
      keys: "https://console.mistral.ai/api-keys",
      credits: "https://console.mistral.ai/billing",
      activity: "https://console.mistral.ai/usage",
      models: "https://docs.mistral.ai/getting-started/models",
      status: "https://status.mistral.ai",
    },
  },
  deepseek: {
    name: "DeepSeek",
    baseURL: "https://api.deepseek.com/v1",
    env: ["DEEPSEEK_API_KEY"],
    pages: {
      keys: "https://platform.deepseek.com/api_keys",
      credits: "https://platform.deepseek.com/top_up",
      activity: "https://platform.deepseek.com/usage",
      models: "https://api-docs.deepseek.com/quick_start/pricing",
      status: "https://status.deepseek.com",
    },
  },
  ollama: { name: "Ollama", baseURL: "http://127.0.0.1:11434/v1" },
  lmstudio: { name: "LM Studio", baseURL: "http://127.0.0.1:1234/v1" },
  llamacpp: { name: "llama.cpp", baseURL: "http://127.0.0.1:8080/v1" },
};
