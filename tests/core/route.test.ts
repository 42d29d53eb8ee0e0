import { describe, expect, test } from "vitest";
import { wait } from "../../core/abort.ts";
import { AgentError, type ErrorCode } from "../../core/errors.ts";
import type { EventFacts } from "../../core/events.ts";
import { NO_TOKENS } from "../../core/message.ts";
import { createRests } from "../../core/rests.ts";
import { type RetryOptions, type Route, type RouteDependencies, route, type StepContext, withCompaction } from "../../core/route.ts";
import type { Turn } from "../../core/turn.ts";

const turn: Turn = {
  message: { role: "assistant", content: [{ type: "text", text: "ok" }] },
  calls: [],
  text: "ok",
  reason: "stop",
  tokens: NO_TOKENS,
  costSource: "unknown",
};
const request = { system: "", entries: [], tools: [], settings: { headers: {}, providerOptions: {} } };
const failure = (code: ErrorCode, data: object = {}) => new AgentError(code, { model: "m", reason: "r", ...data });

/** A model that fails with these errors, one a request, and then answers. `shows` is emitted before each. */
function model(id: string, failures: (Error | undefined)[] = [], shows?: string): Route & { asked: number } {
  return {
    model: id,
    isFree: id.endsWith(":free"),
    asked: 0,
    async ask(_request, step) {
      const error = failures[this.asked++];
      if (shows !== undefined) step.emit({ type: "text.delta", messageId: step.messageId, partId: "p", delta: shows });
      if (error !== undefined) throw error;
      return turn;
    },
  };
}

const always = (id: string, error: Error, shows?: string) => model(id, Array(100).fill(error), shows);

/** A clock that only waiting moves on. */
function world({ random = () => 0.999_999, ...over }: Partial<RouteDependencies> = {}) {
  const waits: number[] = [];
  const events: EventFacts[] = [];
  const clock = { now: 1_000_000 };
  const dependencies: RouteDependencies = {
    wait: async (ms) => {
      waits.push(ms);
      clock.now += ms;
    },
    now: () => clock.now,
    random,
    rests: createRests({ redact: (text) => text, now: () => clock.now }),
    ...over,
  };
  const step: StepContext = {
    messageId: "msg_1",
    emit: (event) => events.push(event),
    newId: (prefix) => prefix,
    now: () => clock.now,
    caughtUp: () => undefined,
    signal: new AbortController().signal,
  };
  const ask = (routes: Route[], options: Partial<RetryOptions> = {}) => {
    const chain = route(routes, { maxRetries: 5, budgetMs: 600_000, ...options }, dependencies);
    return chain.ask(request, step).then(
      () => chain.model,
      (error: AgentError) => error.code ?? error.message,
    );
  };
  return { ask, waits, events, clock, step, dependencies, told: () => events.map((event) => event.type) };
}

describe("retries on one model", () => {
  test("wait half a second, doubled each time, with full jitter", async () => {
    const { ask, waits } = world();
    expect(await ask([always("p/a", failure("OVERLOADED"))])).toBe("OVERLOADED");
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000]);
    const low = world({ random: () => 0 });
    await low.ask([always("p/a", failure("OVERLOADED"))]);
    expect(low.waits).toEqual([0, 0, 0, 0, 0]);
    const middle = world({ random: () => 0.5 });
    await middle.ask([always("p/a", failure("OVERLOADED"))]);
    expect(middle.waits).toEqual([250, 500, 1000, 2000, 4000]);
  });

  test("wait 30 s at most", async () => {
    const { ask, waits } = world();
    await ask([always("p/a", failure("NETWORK_FAILED"))], { maxRetries: 9 });
    expect(waits.slice(5)).toEqual([16_000, 30_000, 30_000, 30_000]);
  });

  test("are told, each with its number, its wait and its error", async () => {
    const { ask, events } = world();
    expect(await ask([model("p/a", [failure("OVERLOADED"), failure("STREAM_CUT")])])).toBe("p/a");
    expect(events).toMatchObject([
      { type: "retry", attempt: 1, delayMs: 500, model: "p/a", error: { code: "OVERLOADED" } },
      { type: "retry", attempt: 2, delayMs: 1000, model: "p/a", error: { code: "STREAM_CUT" } },
    ]);
  });

  test("keep a Retry-After to the millisecond", async () => {
    const { ask, waits } = world({ random: () => 0 });
    await ask([model("p/a", [failure("RATE_LIMITED", { retryAfterMs: 12_345 })])]);
    expect(waits).toEqual([12_345]);
  });

  test("never come before a Retry-After that the budget does not cover: it fails at once", async () => {
    const { ask, waits } = world();
    expect(await ask([always("p/a", failure("RATE_LIMITED", { retryAfterMs: 600_001 }))])).toBe("RATE_LIMITED");
    expect(waits).toEqual([]);
  });

  test("stop when the budget is spent, and there are none without a budget", async () => {
    const { ask, waits } = world();
    await ask([always("p/a", failure("RATE_LIMITED", { retryAfterMs: 4000 }))], { budgetMs: 9000 });
    expect(waits).toEqual([4000, 4000]);
    const none = world();
    expect(await none.ask([always("p/a", failure("OVERLOADED"))], { budgetMs: 0 })).toBe("OVERLOADED");
    expect(none.waits).toEqual([]);
  });

  test.each([
    "REQUEST_INVALID",
    "AUTH_REFUSED",
    "QUOTA_EXCEEDED",
    "MODEL_UNAVAILABLE",
    "CONTENT_REFUSED",
    "CONTEXT_OVERFLOW",
  ] as const)("are not made on %s", async (code) => {
    const broken = always("p/a", failure(code));
    const { ask, waits } = world();
    expect(await ask([broken])).toBe(code);
    expect([broken.asked, waits.length]).toEqual([1, 0]);
  });

  test("an abort during a wait ends it at once", async () => {
    const abort = new AbortController();
    const { step, dependencies } = world({ wait });
    const chain = route([always("p/a", failure("RATE_LIMITED", { retryAfterMs: 60_000 }))], { maxRetries: 5, budgetMs: 600_000 }, dependencies);
    const startedAt = performance.now();
    const asked = chain.ask(request, {
      ...step,
      signal: abort.signal,
      emit: (event) => event.type === "retry" && setImmediate(() => abort.abort(new Error("stopped"))),
    });
    await expect(asked).rejects.toThrow("stopped");
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });
});

describe("falling over", () => {
  test("goes to the next model when the retries of the first are used up, and says so", async () => {
    const { ask, events, told } = world();
    expect(await ask([always("p/a", failure("OVERLOADED")), model("q/b")])).toBe("q/b");
    expect(told()).toEqual(["retry", "retry", "retry", "retry", "retry", "fallback"]);
    expect(events.at(-1)).toMatchObject({ from: "p/a", to: "q/b", error: { code: "OVERLOADED" } });
  });

  test("happens at once where a Retry-After is over the budget", async () => {
    const { ask, waits } = world();
    expect(await ask([always("p/a", failure("RATE_LIMITED", { retryAfterMs: 700_000 })), model("p/b")])).toBe("p/b");
    expect(waits).toEqual([]);
  });

  test("happens at once for a model that is not there", async () => {
    const { ask, told } = world();
    expect(await ask([always("p/a", failure("MODEL_UNAVAILABLE")), model("p/b")])).toBe("p/b");
    expect(told()).toEqual(["fallback"]);
  });

  test.each(["REQUEST_INVALID", "AUTH_REFUSED", "CONTENT_REFUSED", "CONTEXT_OVERFLOW", "KEY_MISSING"] as const)("never happens on %s", async (code) => {
    const other = model("q/b");
    expect(await world().ask([always("p/a", failure(code)), other])).toBe(code);
    expect(other.asked).toBe(0);
  });

  test("happens on a refused key where that is wanted", async () => {
    const refused = () => always("p/a", failure("AUTH_REFUSED"));
    const { ask, told } = world();
    expect(await ask([refused(), model("p/b")], { fallbackOnAuth: true })).toBe("p/b");
    expect(told()).toEqual(["fallback"]);
    expect(await world().ask([refused()], { fallbackOnAuth: true })).toBe("AUTH_REFUSED");
  });

  test("never happens on an error of our own making", async () =>
    expect(await world().ask([always("p/a", new TypeError("a slip")), model("q/b")])).toBe("a slip"));

  test("without credit goes to a free model or to another provider, and nowhere else", async () => {
    const broke = () => always("p/a", failure("QUOTA_EXCEEDED"));
    const paid = model("p/b");
    expect(await world().ask([broke(), paid, model("p/c:free")])).toBe("p/c:free");
    expect(await world().ask([broke(), paid, model("q/d")])).toBe("q/d");
    expect(await world().ask([broke(), paid])).toBe("QUOTA_EXCEEDED");
    expect(paid.asked).toBe(0);
  });

  test("voids what was shown before another word is shown", async () => {
    const { ask, told } = world();
    await ask([model("p/a", [failure("STREAM_CUT")], "half")]);
    expect(told()).toEqual(["text.delta", "text.void", "retry", "text.delta"]);
    const chain = world();
    await chain.ask([always("p/a", failure("STREAM_CUT"), "half"), model("q/b", [], "whole")], { maxRetries: 0 });
    expect(chain.told()).toEqual(["text.delta", "text.void", "fallback", "text.delta"]);
    expect(chain.events[1]).toMatchObject({ messageId: "msg_1", reason: "STREAM_CUT" });
  });

  test("voids what was shown of an answer that nobody follows", async () => {
    const { ask, told } = world();
    await ask([always("p/a", failure("REQUEST_INVALID"), "half")]);
    expect(told()).toEqual(["text.delta", "text.void"]);
  });
});

describe("a resting model", () => {
  const options = { maxRetries: 0 };

  test("goes last while another is available, and is asked again after 30 s", async () => {
    const { ask, clock } = world();
    const weak = model("p/a", [failure("OVERLOADED")]);
    const strong = model("q/b");
    expect(await ask([weak, strong], options)).toBe("q/b");
    expect(await ask([weak, strong], options)).toBe("q/b");
    expect([weak.asked, strong.asked]).toEqual([1, 2]);
    clock.now += 30_001;
    expect(await ask([weak, strong], options)).toBe("p/a");
  });

  test("is not passed over in silence", async () => {
    const { ask, events } = world();
    const routes = [model("p/a", [failure("OVERLOADED")]), model("q/b")];
    await ask(routes, options);
    await ask(routes, options);
    const said = (message: string) => ({ type: "fallback", from: "p/a", to: "q/b", error: { code: "OVERLOADED", message: expect.stringMatching(message) } });
    expect(events).toEqual([said("failed"), said("it rests for 30 s more")]);
  });

  test("rests as long as its Retry-After says", async () => {
    const { ask, clock } = world();
    const weak = model("p/a", [failure("RATE_LIMITED", { retryAfterMs: 900_000 })]);
    await ask([weak, model("q/b")], options);
    clock.now += 899_000;
    expect(await ask([weak, model("q/b")], options)).toBe("q/b");
    clock.now += 2000;
    expect(await ask([weak, model("q/b")], options)).toBe("p/a");
  });

  test("is tried all the same when all others failed, and the last is always tried", async () => {
    const { ask, dependencies } = world();
    const forever = { until: 2_000_000, at: 0, failures: 1, error: { code: "OVERLOADED", message: "busy" } };
    for (const id of ["p/a", "q/b"]) await dependencies.rests.put(id, () => forever);
    expect(await ask([model("p/a"), model("q/b")], options)).toBe("p/a");
    await dependencies.rests.put("p/a", () => forever);
    expect(await ask([model("p/a"), always("r/c", failure("OVERLOADED"))], options)).toBe("p/a");
    expect(await ask([always("p/a", failure("OVERLOADED"))], options)).toBe("OVERLOADED");
  });

  test("rests twice as long with each failure in a row, up to 10 min; an answer ends the row", async () => {
    const { ask, clock, dependencies } = world();
    const weak = model("p/a", [...Array(7).fill(failure("OVERLOADED")), undefined, failure("OVERLOADED")]);
    const restOf = async () => {
      await ask([weak, model("q/b")], options);
      const rest = await dependencies.rests.get("p/a");
      clock.now = rest?.until ?? clock.now;
      return rest && rest.until - rest.at;
    };
    const rests = [];
    for (let i = 0; i < 9; i++) rests.push(await restOf());
    expect(rests).toEqual([30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000, undefined, 30_000]);
  });

  test("that has answered alone starts a new row, and rests no longer", async () => {
    const { ask, dependencies } = world();
    const weak = model("p/a", [failure("RATE_LIMITED", { retryAfterMs: 3_600_000 })]);
    await ask([weak, model("q/b")], options);
    expect(await ask([weak], options)).toBe("p/a");
    expect(await dependencies.rests.get("p/a")).toBeUndefined();
  });

  test("that failed goes on resting when what it was asked before is answered", async () => {
    const { ask, clock, dependencies } = world();
    const slow = model("p/a");
    const { ask: answer } = slow;
    slow.ask = async function (given, step) {
      clock.now += 10;
      await ask([always("p/a", failure("RATE_LIMITED", { retryAfterMs: 3_600_000 })), model("q/b")], options);
      return answer.call(this, given, step);
    };
    expect(await ask([slow, model("q/b")], options)).toBe("p/a");
    expect(await dependencies.rests.get("p/a")).toMatchObject({ failures: 1 });
  });

  test("has failed once where requests that ran at the same time have failed", async () => {
    const { ask, dependencies } = world();
    await Promise.all([1, 2, 3].map(() => ask([always("p/a", failure("OVERLOADED")), model("q/b")])));
    expect(await dependencies.rests.get("p/a")).toMatchObject({ failures: 1 });
  });

  test("starts a new row when its last failure lies an hour back, and never rests for longer than a day", async () => {
    const { ask, clock, dependencies } = world();
    const fail = (data = {}) => ask([always("p/a", failure("RATE_LIMITED", data)), model("q/b")], options);
    await fail();
    clock.now += 30_000 + 3_600_001;
    await fail();
    expect(await dependencies.rests.get("p/a")).toMatchObject({ failures: 1 });
    clock.now += 30_000;
    await fail({ retryAfterMs: 1e12 });
    expect((await dependencies.rests.get("p/a"))!.until - clock.now).toBe(86_400_000);
  });

  test("rests for a failure that is not the request's, and for no other", async () => {
    const restsAfter = async (code: ErrorCode, more = {}) => {
      const { ask, dependencies } = world();
      await ask([always("p/a", failure(code)), model("q/b")], { ...options, ...more });
      return (await dependencies.rests.get("p/a")) !== undefined;
    };
    for (const code of ["RATE_LIMITED", "OVERLOADED", "NETWORK_FAILED", "STREAM_CUT", "QUOTA_EXCEEDED", "MODEL_UNAVAILABLE"] as const)
      expect(await restsAfter(code), code).toBe(true);
    for (const code of ["REQUEST_INVALID", "AUTH_REFUSED", "CONTENT_REFUSED", "CONTEXT_OVERFLOW", "ANSWER_EMPTY", "KEY_MISSING"] as const)
      expect(await restsAfter(code), code).toBe(false);
    expect(await restsAfter("AUTH_REFUSED", { fallbackOnAuth: true })).toBe(true);
  });

  test("is known by its host and key, not by its name alone", async () => {
    const { ask } = world();
    const at = (id: string, failures: Error[] = []) => Object.assign(model("p/a", failures), { id });
    await ask([at("p/a here", [failure("OVERLOADED")]), model("q/b")], options);
    expect(await ask([at("p/a here"), model("q/b")], options)).toBe("q/b");
    expect(await ask([at("p/a there"), model("q/b")], options)).toBe("p/a");
  });

  test("without credit is not followed by one of the same credit either while it rests", async () => {
    const { ask, events } = world();
    const broke = model("p/a", [failure("QUOTA_EXCEEDED"), failure("QUOTA_EXCEEDED"), failure("QUOTA_EXCEEDED")]);
    const paid = model("p/b");
    expect(await ask([broke, paid], options)).toBe("QUOTA_EXCEEDED");
    expect(await ask([broke, paid], options)).toBe("QUOTA_EXCEEDED");
    expect(events).toEqual([]);
    expect(await ask([broke, paid, model("q/c")], options)).toBe("q/c");
    expect(await ask([broke, paid, model("p/c:free")], options)).toBe("p/c:free");
    expect([broke.asked, paid.asked]).toEqual([2, 0]);
  });

  test("is not asked about where there is no other", async () => {
    const asked: string[] = [];
    const rests = { get: async (id: string) => void asked.push(id), put: async (id: string) => void asked.push(id), clear: async () => {} };
    const { ask } = world({ rests });
    expect(await ask([model("p/a")])).toBe("p/a");
    expect(asked).toEqual([]);
  });
});

describe("a conversation that is too long", () => {
  const { step } = world();

  test("is compacted once and asked once more", async () => {
    const asked: unknown[] = [];
    const shorter = { ...request, system: "shorter" };
    const tooLong: Route = {
      model: "p/a",
      async ask(given) {
        asked.push(given.system);
        if (given !== shorter) throw failure("CONTEXT_OVERFLOW");
        return turn;
      },
    };
    expect(await withCompaction(tooLong, async () => shorter).ask(request, step)).toBe(turn);
    expect(asked).toEqual(["", "shorter"]);
  });

  test("fails when it is still too long, or when nobody can compact it", async () => {
    const tooLong = always("p/a", failure("CONTEXT_OVERFLOW"));
    await expect(withCompaction(tooLong, async () => request).ask(request, step)).rejects.toMatchObject({ code: "CONTEXT_OVERFLOW" });
    expect(tooLong.asked).toBe(2);
    await expect(withCompaction(always("p/a", failure("CONTEXT_OVERFLOW")), async () => undefined).ask(request, step)).rejects.toMatchObject({
      code: "CONTEXT_OVERFLOW",
    });
  });
});
