// Goal: guessing is slowed down for whoever guesses, in bounded memory, and nobody honest notices.
// Method: the buckets with times as arguments; a real server for what a client sees.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { addressOf, FAILURES, RateLimit, SIGN_INS } from "../../../src/control-plane/auth/rate-limit.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { mint, startTestControlPlane, type TestControlPlane } from "./support/control-plane.ts";
import { ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
beforeAll(async () => {
  control = await startTestControlPlane();
});
afterAll(async () => {
  await control.close();
});

const passes = (limit: RateLimit, name: string, nowMs: number): boolean => {
  try {
    limit.check(name, nowMs);
    limit.spend(name, nowMs);
    return true;
  } catch (error) {
    if (isFault(error, "API_RATE_LIMITED")) return false;
    throw error;
  }
};

describe("a limit", () => {
  test("lets so many through at once, then one for each while", () => {
    const limit = new RateLimit({ burst: 3, everyMs: 1_000 });
    const at = (...times: number[]) => times.map((nowMs) => passes(limit, "a", nowMs));
    expect(at(0, 0, 0, 0)).toEqual([true, true, true, false]);
    expect(at(999, 1_000, 1_001, 2_000)).toEqual([false, true, false, true]);
    expect(passes(limit, "b", 2_000)).toBeTrue();
    expect(at(60_000, 60_000, 60_000, 60_000)).toEqual([true, true, true, false]);
  });

  test("says how long to wait", () => {
    const limit = new RateLimit({ burst: 1, everyMs: 7_000 });
    limit.spend("a", 0);
    expect(() => limit.check("a", 1_500)).toThrow("6 s");
  });

  test("remembers only so many names", () => {
    const limit = new RateLimit({ burst: 1, everyMs: 1_000 });
    for (let name = 0; name < 10_001; name++) limit.spend(String(name), 0);
    expect(passes(limit, "0", 0)).toBeTrue();
    expect(passes(limit, "10000", 0)).toBeFalse();
  });
});

describe("an address", () => {
  test.each([
    ["203.0.113.5", null, "203.0.113.5"],
    ["203.0.113.5", "198.51.100.1", "203.0.113.5"],
    ["127.0.0.1", "198.51.100.1", "198.51.100.1"],
    ["::ffff:127.0.0.1", "1.2.3.4, ::ffff:198.51.100.1", "198.51.100.1"],
    ["::1", "2001:db8::7", "2001:db8::7"],
    ["127.0.0.1", "<script>", "127.0.0.1"],
    [null, null, ""],
  ] as const)("of %s, for %s, is %s", (peer, forwarded, expected) => {
    expect(addressOf(peer, forwarded)).toBe(expected);
  });
});

describe("over the wire", () => {
  test("who guesses is told to wait, and others on other addresses are not", async () => {
    const attempt = (address: string) =>
      fetch(`${control.url}${ROUTES.activate}`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-forwarded-for": address },
        body: "{}",
      });
    const statuses: number[] = [];
    for (let turn = 0; turn < FAILURES.burst + 1; turn++)
      statuses.push((await attempt("198.51.100.7")).status);
    expect(new Set(statuses.slice(0, -1))).toEqual(new Set([401]));
    const refused = await attempt("198.51.100.7");
    expect([refused.status, Number(refused.headers.get("retry-after")) > 0]).toEqual([429, true]);
    expect(((await refused.json()) as { code: string }).code).toBe("API_RATE_LIMITED");
    expect((await attempt("198.51.100.8")).status).toBe(401);
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    expect((await agent.beat()).slot.held).toBeTrue();
  });

  test("a key gets as many access tokens as any agent needs, and no more", async () => {
    expect(SIGN_INS.everyMs * 10).toBeLessThan(LIMITS.BEARER_TTL_S * 1_000);
    const agent = await ScriptedAgent.enrol(control.url, await mint(control));
    let refused = 0;
    for (let turn = 0; turn < SIGN_INS.burst; turn++) if ((await agent.signIn()).status === 429) refused += 1;
    expect(refused).toBe(1);
  });
});
