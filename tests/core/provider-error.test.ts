import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChatError } from "../../core/chat-completions.ts";
import { AgentError } from "../../core/errors.ts";
import { toProviderError } from "../../core/provider-error.ts";

const asked = { model: "openrouter/vendor/m", provider: "openrouter", variable: "OPENROUTER_API_KEY", keySource: "the environment" };
const NOW = Date.parse("2026-01-01T00:00:00Z");
const http = (statusCode: number, more: object = {}) =>
  Object.assign(new Error(`status ${statusCode}`), { statusCode, responseHeaders: {}, responseBody: "", ...more });
const read = (error: unknown) => toProviderError(error, asked, NOW);

describe("a model that takes no files of some kind", () => {
  test.each([
    [404, "No endpoints found that support image input", "images"],
    [400, "Invalid content type. image_url is only supported by certain models.", "images"],
    [400, "this model does not support image input (ref: b8bd630e)", "images"],
    [
      400,
      "Failed to deserialize the JSON body into the target type: messages[11]: unknown variant `image_url`, expected `text` at line 1 column 53929",
      "images",
    ],
    [422, "messages[1]: unknown variant `file`, expected `text`", "PDF"],
    [500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "images"],
    [500, "this model is missing data required for image input", "images"],
    [400, "Image input is not enabled for this model", "images"],
    [400, "Image inputs are not supported by this model.", "images"],
    [400, "Image input modality is not enabled for models/gemma-3-1b-it", "images"],
    [400, "Model does not support images. Please use a model that does.", "images"],
    [400, "At most 0 image(s) may be provided in one prompt.", "images"],
    [400, "some-model is not a multimodal model", "files of this kind"],
    [400, "This model does not support document content.", "PDF"],
  ])("is told by %i with the words %j", (status, message, media) => {
    const error = read(http(status, { responseBody: JSON.stringify({ error: { message, type: "invalid_request_error", code: null } }) }));
    expect([error.code, error.message]).toEqual(["MEDIA_REFUSED", `openrouter/vendor/m takes no ${media}: ${message}`]);
  });

  test("is told by a package of the AI SDK that cannot say it in the words of its vendor", () => {
    const error = Object.assign(new Error("'file part media type application/pdf' functionality not supported."), { name: "AI_UnsupportedFunctionalityError" });
    expect(read(error).message).toBe("openrouter/vendor/m takes no PDF: 'file part media type application/pdf' functionality not supported.");
  });

  test.each([
    [400, "Could not process image", "REQUEST_INVALID"],
    [400, "You uploaded an unsupported image. Please make sure your image is valid.", "REQUEST_INVALID"],
    [400, "unsupported image format: the model does not support image type image/bmp", "REQUEST_INVALID"],
    [400, "messages.0: image exceeds 5 MB maximum", "REQUEST_INVALID"],
    [400, "This image is not supported, it has no pixels", "REQUEST_INVALID"],
    [404, "No endpoints found that support tool use.", "MODEL_UNAVAILABLE"],
    [400, "This model does not support file_search.", "REQUEST_INVALID"],
    [500, "the image service is down", "OVERLOADED"],
    [429, "image input is not supported", "RATE_LIMITED"],
  ])("is not meant by %i with the words %j", (status, responseBody, code) => expect(read(http(status, { responseBody })).code).toBe(code));
});

describe("an HTTP status decides", () => {
  test.each([
    [400, "REQUEST_INVALID"],
    [401, "AUTH_REFUSED"],
    [402, "QUOTA_EXCEEDED"],
    [403, "AUTH_REFUSED"],
    [404, "MODEL_UNAVAILABLE"],
    [408, "OVERLOADED"],
    [413, "CONTEXT_OVERFLOW"],
    [422, "REQUEST_INVALID"],
    [429, "RATE_LIMITED"],
    [500, "OVERLOADED"],
    [502, "OVERLOADED"],
    [503, "OVERLOADED"],
    [529, "OVERLOADED"],
  ])("%i is %s", (status, code) => expect(read(http(status)).code).toBe(code));

  test.each([
    [400, "This model's maximum context length is 8192 tokens", "CONTEXT_OVERFLOW"],
    [400, "prompt is too long", "CONTEXT_OVERFLOW"],
    [403, "Input was flagged by moderation", "CONTENT_REFUSED"],
    [403, "Key limit exceeded", "QUOTA_EXCEEDED"],
    [400, "content_filter triggered", "CONTENT_REFUSED"],
    [429, "insufficient_quota", "QUOTA_EXCEEDED"],
    [500, "maximum context", "OVERLOADED"],
    [429, "Too many tokens, please wait before trying again.", "RATE_LIMITED"],
    [401, "insufficient_quota", "AUTH_REFUSED"],
    [400, "Unknown parameter: moderation_level", "REQUEST_INVALID"],
  ])("%i with the words %j is %s", (status, responseBody, code) => expect(read(http(status, { responseBody })).code).toBe(code));

  test("inside the body where the stream itself was answered with 200", () => {
    expect(read({ code: 429, message: "slow down" }).code).toBe("RATE_LIMITED");
    expect(read({ data: { error: { code: "503", message: "no" } } }).code).toBe("OVERLOADED");
  });

  test.each([
    [429, { code: "insufficient_quota" }, "QUOTA_EXCEEDED"],
    [429, { type: "tokens", code: "rate_limit_exceeded", message: "insufficient credits" }, "RATE_LIMITED"],
    [400, { code: "context_length_exceeded", message: "no" }, "CONTEXT_OVERFLOW"],
    [400, { type: "exceed_context_size_error" }, "CONTEXT_OVERFLOW"],
    [400, { code: "model_not_found", type: "invalid_request_error" }, "MODEL_UNAVAILABLE"],
    [403, { code: "model_not_found", type: "invalid_request_error" }, "MODEL_UNAVAILABLE"],
    [400, { status: "INVALID_ARGUMENT", details: [null, { reason: "API_KEY_INVALID" }] }, "AUTH_REFUSED"],
    [400, { code: "content_filter", innererror: { code: "ResponsibleAIPolicyViolation" } }, "CONTENT_REFUSED"],
    [403, { message: "no", metadata: { reasons: ["violence"] } }, "CONTENT_REFUSED"],
    [403, { type: "invalid_request_error" }, "AUTH_REFUSED"],
    [401, { code: "rate_limit_exceeded" }, "AUTH_REFUSED"],
    [503, { code: "context_length_exceeded" }, "OVERLOADED"],
    [400, { message: "vendor/m is not a valid model ID" }, "MODEL_UNAVAILABLE"],
    [400, { message: "it took 500 tokens, status 429" }, "REQUEST_INVALID"],
  ])("%i with the error %j is %s", (status, error, code) => {
    expect(read(http(status, { responseBody: JSON.stringify({ error }) })).code).toBe(code);
    expect(read(http(status, { responseBody: JSON.stringify([{ error }]) })).code).toBe(code);
    expect(read(http(status, { data: { error } })).code).toBe(code);
  });

  test("by the name that the provider gives it, where there is no number", () => {
    expect(read({ type: "overloaded_error", message: "no" }).code).toBe("OVERLOADED");
    expect(read({ error: { type: "authentication_error" } }).code).toBe("AUTH_REFUSED");
    expect(read(new ChatError({ code: "content_filter", message: "no" })).code).toBe("CONTENT_REFUSED");
  });

  test("and what a request repeats of itself in the body does not", () => {
    const responseBody = JSON.stringify({ error: { message: "bad field" }, input: "key limit exceeded, maximum context, flagged" });
    expect(read(http(400, { responseBody })).code).toBe("REQUEST_INVALID");
  });

  test("and one that is none is no answer", () => expect(read(http(302)).code).toBe("RESPONSE_INVALID"));

  test("and never a number inside a message", () => expect(read(new Error("wrote 429 bytes, then 500")).code).toBe("STREAM_CUT"));
});

test("the text says model, status and what the provider said, in one line without tags", () => {
  const { message, hint } = read(http(401, { data: { error: { message: "No auth\n  <b>credentials</b> found" } } }));
  expect(message).toBe("openrouter refused the key from the environment (401): No auth credentials found");
  expect(hint).toBe("Check the key.");
  expect(read(http(500, { message: "x".repeat(9000) })).message.length).toBeLessThan(600);
});

test.each([
  ['{"error":"model \'x\' not found"}', "model 'x' not found"],
  ['{"object":"error","message":"no such model"}', "no such model"],
  ['{"detail":"Not authenticated"}', "Not authenticated"],
  ["<html><style>p{}</style><p>upstream <b>is down</b></p>", "upstream is down"],
  ['{"cut', "status 500"],
  ["", "status 500"],
])("the reason is found in %j", (responseBody, reason) => expect(read(http(500, { responseBody })).data.reason).toBe(reason));

test("the reason holds what a provider behind the provider said", () => {
  const responseBody = JSON.stringify({ error: { code: 502, message: "Provider returned error", metadata: { raw: "no capacity in region" } } });
  expect(read(http(502, { responseBody })).data.reason).toBe("Provider returned error: no capacity in region");
});

test("the wait that a server asks for is told, and an empty one is none", () => {
  expect(read(http(429, { responseHeaders: { "retry-after": "7200" } })).message).toContain("(it asks to wait 7200 s)");
  expect(read(http(429, { responseHeaders: { "retry-after": "" } })).data).not.toHaveProperty("retryAfterMs");
});

test("a request that Node refuses to send is not tried again", () => {
  const refused = Object.assign(new TypeError("Invalid character in header content"), { code: "ERR_INVALID_CHAR" });
  expect(read(refused)).toMatchObject({ code: "REQUEST_INVALID", message: expect.stringContaining("(not sent)") });
});

describe("without a status", () => {
  test.each([
    ["AI_JSONParseError", "RESPONSE_INVALID"],
    ["AI_TypeValidationError", "RESPONSE_INVALID"],
    ["AI_LoadAPIKeyError", "KEY_MISSING"],
    ["AI_InvalidPromptError", "REQUEST_INVALID"],
    ["Error", "STREAM_CUT"],
  ])("%s is %s", (name, code) => expect(read(Object.assign(new Error("x"), { name })).code).toBe(code));

  test("an error of the table is kept, through what the SDK wraps around it, and gets the model's name", () => {
    const inner = new AgentError("PROVIDER_TIMEOUT", { model: "127.0.0.1", reason: "60 s of silence.", stage: "stall" });
    const outer = new Error("Cannot connect", { cause: new Error("wrapped", { cause: inner }) });
    expect(read(outer)).toMatchObject({
      code: "PROVIDER_TIMEOUT",
      message: "openrouter/vendor/m did not answer in time: 60 s of silence.",
      data: { stage: "stall" },
    });
  });

  test("whatever was thrown becomes a row: strings, nothing, errors that go round in a circle", () => {
    const circle = new Error("a");
    circle.cause = circle;
    for (const error of ["text", undefined, null, {}, 7, circle]) expect(read(error)).toBeInstanceOf(AgentError);
  });
});

describe("Retry-After", () => {
  const waitOf = (responseHeaders: Record<string, string>) => read(http(429, { responseHeaders })).data.retryAfterMs;

  test("is read in milliseconds, in seconds and as a date", () => {
    expect(waitOf({ "retry-after-ms": "1500" })).toBe(1500);
    expect(waitOf({ "retry-after": "2.5" })).toBe(2500);
    expect(waitOf({ "retry-after": "Thu, 01 Jan 2026 00:01:00 GMT" })).toBe(60_000);
    expect(waitOf({ "retry-after": "Thu, 01 Jan 2015 00:00:00 GMT" })).toBe(0);
    expect(waitOf({ "retry-after-ms": "10", "retry-after": "99" })).toBe(10);
  });

  test("is a date in each of the three forms of RFC 9110", () => {
    expect(waitOf({ "retry-after": "Thursday, 01-Jan-26 00:01:00 GMT" })).toBe(60_000);
    expect(waitOf({ "retry-after": "Thu Jan  1 00:01:00 2026" })).toBe(60_000);
  });

  test("is never cut short, whatever the clock says, and is at most a millisecond longer", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 41 }), fc.double({ min: 0, max: 1e5, noNaN: true }), (now, seconds) => {
        const headers = (name: string, value: string) => http(429, { responseHeaders: { [name]: value } });
        const wait = (error: unknown) => toProviderError(error, asked, now).data.retryAfterMs as number;
        const isExact = (waited: number, ms: number) => waited >= ms - 1e-6 && waited < ms + 1;
        const date = Math.ceil(now / 1000) * 1000 + Math.round(seconds) * 1000;
        const decimal = seconds.toFixed(3);
        return (
          isExact(wait(headers("retry-after", decimal)), Number(decimal) * 1000) &&
          isExact(wait(headers("retry-after-ms", decimal)), Number(decimal)) &&
          now + wait(headers("retry-after", new Date(date).toUTCString())) === date
        );
      }),
    );
  });

  test("that makes no sense is none", () => {
    for (const value of ["-5", "soon", "Infinity", "NaN", "5 s", "10-20"]) expect(waitOf({ "retry-after": value })).toBeUndefined();
    expect(waitOf({})).toBeUndefined();
  });
});
