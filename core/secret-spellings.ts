/**
 * The forms in which a secret passes through JSON (once and twice), URLs, HTML, hex and base64, and as the bytes of UTF-8
 * read one by one. What a program makes of it otherwise (reversed, encrypted, packed) is not among them.
 */
export function spellingsOf(secret: string): string[] {
  const whole = Buffer.from(secret, "utf8");
  const json = escapeJson(secret);
  const ascii = json.replace(/[^\0-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const url = encodeURIComponent(whole.toString("utf8"));
  const form = url.replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  const urls = [url, form, url.replaceAll("%20", "+"), form.replaceAll("%20", "+")].flatMap((text) => [
    text,
    text.replace(/%../g, (code) => code.toLowerCase()),
  ]);
  const html = secret.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const hex = whole.toString("hex");
  const forms = [secret, json, ascii, json.replaceAll("/", "\\/"), escapeJson(json), escapeJson(ascii), ...urls, encodeURIComponent(url)];
  const quoted = [html, html.replaceAll('"', "&quot;").replaceAll("'", "&#39;"), secret.replaceAll("'", `'\\''`)];
  return [...new Set([...forms, ...quoted, hex, hex.toUpperCase(), whole.toString("latin1"), ...base64Of(whole)])];
}

const escapeJson = (text: string): string => JSON.stringify(text).slice(1, -1);

/**
 * Base64 of the secret wherever it stands in the encoded bytes: 0, 1 or 2 bytes after a group of three, without the
 * characters that it shares with its neighbours. In both alphabets.
 */
function base64Of(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
    const whole = encoded.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
    return [whole, whole.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
