import { describe, expect, test } from "vitest";
import type { Config } from "../../core/config.ts";
import { findProfile, profileConfig } from "../../core/profile.ts";

const inForce = (name: string | undefined, config: Config) => profileConfig(config, findProfile(name, config));

describe("a profile", () => {
  test("is the one that is named, else the default, else none", () => {
    const config: Config = { default_agent: "b", agent: { a: { prompt: "A" }, b: { prompt: "B" } } };
    expect(findProfile("a", config)?.prompt).toBe("A");
    expect(findProfile(undefined, config)?.prompt).toBe("B");
    expect(findProfile(undefined, {})).toBeUndefined();
  });

  test("that is not there or switched off is refused with the names of those that are", () => {
    const config: Config = { agent: { mine: {}, old: { disable: true } } };
    for (const name of ["nobody", "old", "constructor"]) {
      expect(() => findProfile(name, config)).toThrow(
        expect.objectContaining({ code: "AGENT_NOT_FOUND", message: expect.stringContaining("there are: build, mine, plan.") }),
      );
    }
  });

  test("plan may only look, also where the configuration adds to it", () => {
    expect(inForce("plan", {}).permissionMode).toBe("plan");
    expect(inForce("plan", { permissionMode: "yolo" }).permissionMode).toBe("plan");
    expect(inForce("plan", { permissionMode: "readonly" }).permissionMode).toBe("readonly");
    expect(inForce("plan", { agent: { plan: { model: "p/thinker" } } }).permissionMode).toBe("plan");
    expect(inForce("build", { permissionMode: "ask" }).permissionMode).toBe("ask");
  });

  test("lays its rules after those of the configuration, so that they count", () => {
    const config: Config = {
      permission: { bash: { "*": "ask", "git *": "allow" }, edit: "allow" },
      agent: { careful: { permission: { edit: "deny", bash: { "git push*": "deny" } } } },
    };
    const { permission } = inForce("careful", config);
    expect(Object.entries(permission ?? {})).toEqual([
      ["edit", "deny"],
      ["bash", { "*": "ask", "git *": "allow", "git push*": "deny" }],
    ]);
    expect(inForce("careful", { ...config, permission: "ask" }).permission).toEqual({ "*": "ask", edit: "deny", bash: { "git push*": "deny" } });
  });

  test("sets the sampling only where the configuration does not", () => {
    const agent = { warm: { temperature: 0.9, top_p: 0.8 } };
    expect(inForce("warm", { agent })).toMatchObject({ temperature: 0.9, topP: 0.8 });
    expect(inForce("warm", { agent, temperature: 0 })).toMatchObject({ temperature: 0, topP: 0.8 });
  });
});
