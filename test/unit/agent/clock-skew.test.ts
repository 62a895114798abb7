// Goal: a host whose clock is wrong is told how far off it is, works on nothing it cannot be sure of, and is back by itself
// once the clock is right; a wrong clock never ends an agent.
// Method: the real loop against the scripted Control Plane, which checks every proof's time, the host's clock moved.

import { describe, expect, test } from "bun:test";
import { refuses } from "../../support/lies.ts";
import { World } from "./world.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** The Control Plane's clock is `skewMs` ahead of the host's, and holds every proof against it (RFC 9449 section 4.3, 11). */
function judgesTime(world: World): void {
  const { control, time } = world;
  for (const route of ["token", "heartbeat", "log"] as const) {
    control.always(route, async (honest, exchange, self) => {
      const payload = exchange.headers.get("dpop")?.split(".")[1] ?? "";
      const { iat } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { iat: number };
      const seconds = Math.abs(Math.floor((time.wallMs() + control.skewMs) / 1000) - iat);
      if (seconds <= 60) return await honest();
      return await refuses(401, "WIRE_CLOCK_SKEW", { params: { seconds } })(honest, exchange, self);
    });
  }
}

describe("a clock that is wrong from the start", () => {
  test.each([
    ["two hours behind", 2 * HOUR_MS],
    ["a minute and a half ahead", -90_000],
    ["a day ahead", -DAY_MS],
    ["half a year ahead, past the key set's own end", -180 * DAY_MS],
  ])("%s: told as that, tried again, and over once it is right", async (_, skewMs) => {
    await using world = await World.make();
    judgesTime(world);
    world.control.skewMs = skewMs;
    await world.start();
    await world.time.advance(10 * 60_000);
    expect([world.exit, world.failure]).toEqual([null, null]);
    expect(world.control.beats).toEqual([]);
    const failures = world.heard("beat.failed");
    expect(failures.length).toBeGreaterThan(5);
    const seconds = Math.abs(skewMs) / 1000;
    for (const { code, why } of failures) {
      expect([code, why]).toEqual(["WIRE_CLOCK_SKEW", expect.stringContaining(`is ${seconds} s away`)]);
    }
    world.control.skewMs = 0;
    await world.time.advanceUntil(() => world.control.beats.length > 0, 120_000);
    expect(world.exit).toBeNull();
  });
});

describe("a clock that jumps", () => {
  test.each([
    ["an hour back", -HOUR_MS],
    ["an hour ahead", HOUR_MS],
    ["to 1970", null],
  ])("%s under a running job: the job runs on and its outcome arrives", async (_, jumpMs) => {
    await using world = await World.make();
    judgesTime(world);
    await world.start();
    const job = await world.startJob();
    const right = world.time.wallMs();
    world.time.setWall(jumpMs === null ? 86_400_000 : right + jumpMs);
    // The Control Plane's clock does not jump along.
    world.control.skewMs = right - world.time.wallMs();
    await world.time.advance(3 * 60_000);
    expect([world.exit, world.failure]).toEqual([null, null]);
    world.pool.tasks[0]?.report({ end: "failed", reason: "tests_failed" });
    await world.time.until(() => world.hasEnded(job));
    world.time.setWall(world.time.wallMs() + world.control.skewMs);
    world.control.skewMs = 0;
    await world.time.advanceUntil(() => world.row(job)?.state === "delivered", 240_000);
    expect(world.exit).toBeNull();
  });
});
