/*
 * Secrets that only their name or their randomness tells: `password=…`, headers, query strings, long words of chance. This also
 * hits an ordinary word of a program now and then, so it is for text that is kept as knowledge, not for text that is worked with.
 * Each expression is linear on any input: what follows a name is bounded.
 */

const PASSWORD = "passw(?:or)?[dt]|passwd|kennwort|passphrase|pwd";
const NAME = `${PASSWORD}|secret|token|credentials?|auth|(?:api|access|account|private|secret|signing|encryption|master|service)[_-]?key(?:[_-]?id)?`;
const BETWEEN = "[ \\t]{0,8}(?:=>|:=|={1,3}|:)[ \\t]{0,8}|[ \\t]{1,4}(?:(?:is|ist|lautet)[ \\t]{1,4})?";
const NAMED = new RegExp(
  `(?<name>${NAME})(?<between>\\\\*["'\`]?\\]?(?:${BETWEEN}))(?:(?<quote>\\\\*["'\`])(?<quoted>[^"'\`\\\\\\r\\n]{1,512})|(?<bare>[^\\s"'\`,;&<>(){}[\\]\\\\]{1,512}))`,
  "gi",
);
const IS_PASSWORD = new RegExp(`^(?:${PASSWORD})$`, "i");

/** What a program says of a password, in quotes. */
const ABOUT_PASSWORDS = /^(?:(?:current-|new-)?password|string|required|optional|invalid|missing|hidden|number|boolean|hashed|encrypted)$/i;

/** What always goes. A group named `keep…` stays before the mark. */
const SURE = new RegExp(
  [
    "(?<keepScheme>\\bauthorization\\\\*[\"']?[ \\t]{0,4}[:=][ \\t]{0,4}\\\\*[\"']?(?:basic|digest|negotiate)[ \\t]{1,4})[^\\s\"'\\\\,;]{6,4096}",
    "(?<keepHeader>\\bauthorization\\\\*[\"']?[ \\t]{0,4}[:=][ \\t]{0,4}\\\\*[\"']?(?:[a-z]{1,12}[ \\t]{1,4})?)(?=[^\\s\"'\\\\,;]{0,200}\\d)[\\w.~+/=:-]{8,4096}",
    "(?<keepCookie>\\bcookie\\\\*[\"']?[ \\t]{0,4}:[ \\t]{0,4}\\\\*[\"']?)[^\\s=;\"'\\\\]{1,200}=[^\"'\\\\\\r\\n]{1,4096}",
    "(?<keepQuery>[?&][\\w.-]{0,40}(?:key|sig|signature|code|session(?:id)?)=)(?=[^\\s&#\"'<>\\\\]{0,200}\\d)[^\\s&#\"'<>\\\\]{8,512}",
    "(?<keepUser>\\s(?:-u|--user|--proxy-user)[ =]\\\\*[\"']?[^\\s:\"'$]{1,64}:)(?!\\$)[^\\s\"'\\\\]{4,256}",
    "(?<keepSsh>\\bsshpass[ \\t]{1,4}-p[ \\t]{0,4}\\\\*[\"']?)(?!\\$)[^\\s\"'\\\\]{4,256}",
    "(?<keepHook>\\b(?:hooks\\.slack\\.com/services|discord(?:app)?\\.com/api/webhooks)/)[\\w/-]{16,256}",
    "(?<![\\w-])(?:SG\\.[\\w-]{16,64}\\.[\\w-]{16,128}|\\d{8,10}:AA[\\w-]{30,64}|AGE-SECRET-KEY-1[0-9A-Z]{20,100}|SK[0-9a-f]{32})(?![\\w-])",
  ].join("|"),
  "gi",
);

const WORD = /[\w+/-]{32,2048}={0,2}/g;

/** With `mark` in the place of each. What is marked already stays as it is. */
export function replaceNamedSecrets(text: string, mark: string): string {
  const named = text.replace(
    SURE,
    (...match) => (Object.values(match.at(-1) as Record<string, string | undefined>).find((kept) => kept !== undefined) ?? "") + mark,
  );
  return named.replace(NAMED, (whole, ...match) => replaceValue(whole, match as never, mark)).replace(WORD, (word) => replaceRandom(word, mark));
}

interface NamedParts {
  name: string;
  between: string;
  quote?: string;
  quoted?: string;
  bare?: string;
}

function replaceValue(whole: string, match: [...unknown[], number, string, NamedParts], mark: string): string {
  const [at, text, parts] = match.slice(-3) as [number, string, NamedParts];
  const { name, between, quote = "", quoted, bare } = parts;
  const value = quoted ?? bare ?? "";
  const isCalled = bare !== undefined && text[at + whole.length] === "(" && /^[\w$.]+$/.test(bare);
  const isSecret = !isCalled && !isPlaceholder(value) && isValue(value, { ...parts, before: () => text.slice(Math.max(0, at - 80), at) });
  if (!isSecret) return whole;
  // JSON stays JSON.
  const isNumber = bare !== undefined && /^"\s*:/.test(between) && /^-?\d/.test(bare);
  return name + between + quote + (isNumber ? `"${mark}"` : mark);
}

/** Stands for a secret, or says where it is: `$TOKEN`, `<your key>`, `config.key`, `/run/secret`, `xxxx`. */
const isPlaceholder = (value: string): boolean =>
  /^(?:\*+|x+|\.+|\$\{?\w*\}?|[<%{[].*|\.{0,2}\/.*|https?:.*|your[-_ ].*|change-?me)$/i.test(value) ||
  /^[A-Za-z_$][\w$]{0,23}(?:\.[A-Za-z_$][\w$]{0,23})+$/.test(value);

function isValue(value: string, { name, between, quoted, before }: NamedParts & { before: () => string }): boolean {
  const isPassword = IS_PASSWORD.test(name);
  const isAssigned = /[:=]/.test(between);
  const isPassphrase = /^passphrase$/i.test(name) && quoted !== undefined;
  if (value.length < 4 || (/\s/.test(value) && !isPassphrase)) return false;
  // Only a flag, or a machine's login, has nothing but a space before its value.
  if (!isAssigned && /\blogin[ \t]+\S{1,40}[ \t]+$/.test(before())) return isPassword;
  if (!isAssigned && !/is|lautet/i.test(between) && !/--[\w-]{0,40}$/.test(before())) return false;
  if (!/\p{L}/u.test(value)) return isPassword && isAssigned;
  if (/\d/.test(value)) return value.length >= (isPassword ? 5 : 8);
  if (/.[!@#$%^*+=?~]/.test(value)) return isPassword;
  if (isPassword && quoted !== undefined) return value.length >= 6 && !ABOUT_PASSWORDS.test(value);
  return /=$/.test(between) && (isPassword || (name === name.toUpperCase() && /(?:^|[\s"'])(?:[A-Z]+_)*$/.test(before()))) && value.length >= 6;
}

/** Of a path or an address the parts that are random, else the whole of it. */
function replaceRandom(word: string, mark: string): string {
  const parts = word.split("/").map((part) => (part.length >= 32 && isRandom(part) ? mark : part));
  if (parts.includes(mark)) return parts.join("/");
  return isRandom(word) ? mark : word;
}

const kindOf = (sign: string): number => (/\d/.test(sign) ? 0 : sign === sign.toUpperCase() ? 1 : 2);

/** Letters of both cases and digits that take turns more often than in any name: base64, not hex, ids or camelCase. */
function isRandom(word: string): boolean {
  const kinds = [...word.slice(0, 512).replace(/[^A-Za-z0-9]/g, "")].map(kindOf);
  if ([0, 1, 2].some((kind) => kinds.filter((each) => each === kind).length < 2)) return false;
  return kinds.filter((kind, at) => at > 0 && kind !== kinds[at - 1]).length >= 0.42 * (kinds.length - 1);
}
