/** Makes text safe to show and to keep. Pure; the secrets it knows never leave it. */
export interface Redactor {
  /** Known secrets and what looks like a key are replaced by `[redacted]`; the same string where there is none. */
  redact(text: string): string;
  /** The same for every string and key of a JSON value; the same object where nothing changed. Other objects are left as they are. */
  redactValue<T>(value: T): T;
  /** One more known secret; one of less than 8 characters is ignored, because it would hit ordinary words. */
  add(secret: string): void;
}

const MARK = "[redacted]";
const MIN_SECRET_LENGTH = 8;

/*
 * What looks like a key. Each is linear on any input: a start is tied to a boundary, or what follows is bounded.
 * A group named `keep…` stays before the mark.
 */
const LOOKS_LIKE_A_KEY = new RegExp(
  [
    // OpenAI, OpenRouter (sk-or-v1-), Anthropic (sk-ant-). A digit tells a key from "sk-learn-documentation".
    "(?<![A-Za-z0-9])sk-(?=[\\w-]{0,80}\\d)[\\w-]{16,}",
    "(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}",
    "github_pat_\\w{20,}",
    "(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}",
    "(?<![A-Za-z0-9])xox[abeoprs]-[\\w-]{10,}",
    "(?<![\\w-])eyJ[\\w-]{8,}\\.eyJ[\\w-]{8,}(?:\\.[\\w-]*)?",
    "-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----))*(?:-----END [A-Z ]{0,40}-----)?",
    "(?<keepUrl>://[^\\s/:@\"'<>]{0,256}:)[^\\s/@\"'<>]{1,256}(?=@)",
    "(?<keepBearer>\\b[Bb]earer\\s{1,8})(?=[\\w.~+/=-]{0,200}\\d)[\\w.~+/=-]{16,}",
  ].join("|"),
  "g",
);

/** Stands in every text that a pattern can match, and hardly in another. Short and without a loop: it is what clean text costs. */
const TRACES = ["sk-", "gh[pousr]_", "github_pat_", "AKIA", "xox[abeoprs]-", "eyJ", "PRIVATE KEY", "://[^\\s/@]{0,520}@", "earer\\s"];

/** `secrets` are values as they are; each is also found in base64 (at any alignment), URL-encoded and JSON-escaped. */
export function createRedactor(secrets: Iterable<string> = []): Redactor {
  const known = new Set<string>();
  for (const secret of secrets) if (secret.length >= MIN_SECRET_LENGTH) known.add(secret);
  let expressions: { suspicion: RegExp; literal: RegExp } | undefined;

  const prepare = () => {
    // Longest first, so that a secret that begins another one does not leave the other's end.
    const literals = [...new Set([...known].flatMap(spellingsOf))].sort((a, b) => b.length - a.length).map(escapePattern);
    return { suspicion: new RegExp([...literals, ...TRACES].join("|")), literal: new RegExp(literals.join("|") || "(?!)", "g") };
  };
  const redact = (text: string): string => {
    expressions ??= prepare();
    if (!expressions.suspicion.test(text)) return text;
    // Known secrets first: a pattern that begins before one could end within it.
    return text.replace(expressions.literal, MARK).replace(LOOKS_LIKE_A_KEY, (...match) => {
      const { keepUrl, keepBearer } = match.at(-1) as Record<string, string | undefined>;
      return (keepUrl ?? keepBearer ?? "") + MARK;
    });
  };

  return {
    redact,
    redactValue: <T>(value: T): T => redactValue(value, redact) as T,
    add(secret) {
      if (secret.length < MIN_SECRET_LENGTH || known.has(secret)) return;
      known.add(secret);
      expressions = undefined;
    },
  };
}

function redactValue(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === "string") return redact(value);
  if (value instanceof URL) return redactUrl(value, redact);
  if (Array.isArray(value)) {
    const items = value.map((item) => redactValue(item, redact));
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  if (!isPlainObject(value)) return value;
  const entries = Object.entries(value);
  const safe = entries.map(([key, item]): [string, unknown] => [redact(key), redactValue(item, redact)]);
  return safe.some(([key, item], index) => key !== entries[index]![0] || item !== entries[index]![1]) ? Object.fromEntries(safe) : value;
}

function redactUrl(url: URL, redact: (text: string) => string): URL {
  const safe = redact(url.href);
  return safe === url.href ? url : new URL(URL.canParse(safe) ? safe : "about:blank");
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

const escapePattern = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

/** The forms in which a secret passes through JSON, URLs and base64. */
function spellingsOf(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const url = encodeURIComponent(Buffer.from(secret, "utf8").toString("utf8"));
  const lowerUrl = url.replace(/%../g, (code) => code.toLowerCase());
  return [secret, json, json.replaceAll("/", "\\/"), url, lowerUrl, url.replaceAll("%20", "+"), ...base64Of(secret)];
}

/**
 * Base64 of the secret wherever it stands in the encoded bytes: 0, 1 or 2 bytes after a group of three, without the
 * characters that it shares with its neighbours. In both alphabets.
 */
function base64Of(secret: string): string[] {
  const bytes = Buffer.from(secret, "utf8");
  return [0, 1, 2].flatMap((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
    const whole = encoded.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
    return [whole, whole.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
