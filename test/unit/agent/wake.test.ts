// Goal: "beat now" is heard whenever it can be, costs little when it cannot, and never keeps the agent from ending.
// Method: the real listener with the real session against the scripted Control Plane under virtual time; once over a real
// socket.

import { describe, expect, test } from "bun:test";
import { openSession } from "../../../src/agent/session.ts";
import { httpTransport, type OpenStream, openHttpStream } from "../../../src/agent/transport.ts";
import { listenForWake } from "../../../src/agent/wake.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { answers, html, refuses, silent, unreachable } from "../../support/lies.ts";
import { ScriptedControl } from "../../support/scripted-control.ts";
import { serveScripted, streamsFrom, wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";

async function listener(options: { random01?: number; real?: string } = {}) {
  const time = new VirtualTime();
  const control = await ScriptedControl.make(time);
  const identity = await anySigningKey();
  const agentId = newAgentId(random);
  await control.enrol(agentId, identity.jwk);
  let wakes = 0;
  const over = new AbortController();
  const start = (url: string, transport = wireTo(control), openStream: OpenStream = streamsFrom(control)) => {
    const session = openSession({
      url,
      agentId,
      identity,
      transport,
      clock: time,
      random,
      loadBearer: () => null,
      saveBearer: () => undefined,
    });
    const onWake = () => {
      wakes += 1;
    };
    const timers = time;
    const random01 = () => options.random01 ?? 0.5;
    return listenForWake(
      { url, session, openStream, timers, random01, log: () => undefined, onWake },
      over.signal,
    );
  };
  const asked = () => control.to("wake").length;
  return {
    time,
    control,
    start,
    over,
    asked,
    wakes: () => wakes,
    [Symbol.dispose]: () => time[Symbol.dispose](),
  };
}

describe("a stream", () => {
  test("brings each call once, however it is cut into pieces, and nothing else", async () => {
    using w = await listener();
    const ended = w.start(w.control.url);
    await w.time.settle();
    for (const piece of [
      ": hello\n\n",
      "eve",
      "nt: be",
      "at\ndata: {}\n",
      "\n",
      "event: beat\r\ndata: {}\r\n\r\n",
    ]) {
      w.control.wake(piece);
      await w.time.settle();
    }
    expect(w.wakes()).toBe(2);
    for (const noise of [
      "event: other\n\n",
      "data: event: beat\n\n",
      "event: beats\n\n",
      ": event: beat\n\n",
    ]) {
      w.control.wake(noise);
    }
    await w.time.settle();
    expect(w.wakes()).toBe(2);
    w.over.abort();
    await ended;
    expect(w.time.pending).toBe(0);
    expect(w.control.violations).toEqual([]);
  });

  test("without line ends is not kept in memory", async () => {
    using w = await listener();
    const ended = w.start(w.control.url);
    await w.time.settle();
    for (let i = 0; i < 50; i++) w.control.wake("x".repeat(100_000));
    w.control.wake("\nevent: beat\n");
    await w.time.settle();
    expect(w.wakes()).toBe(1);
    w.over.abort();
    await ended;
  });

  test("that is silent for 45 s counts as dead and is opened anew; a comment keeps it alive", async () => {
    using w = await listener();
    const ended = w.start(w.control.url);
    for (let i = 0; i < 10; i++) {
      await w.time.advance(20_000);
      w.control.wake(": still here\n\n");
    }
    expect(w.asked()).toBe(1);
    await w.time.advance(44_000);
    expect(w.asked()).toBe(1);
    await w.time.advance(3_000);
    expect(w.asked()).toBe(2);
    w.over.abort();
    await ended;
    expect(w.time.pending).toBe(0);
  });
});

describe("trouble", () => {
  test.each([
    ["unreachable", unreachable],
    ["a login page", html],
    ["broken", answers(500)],
    ["gone", answers(404)],
    ["closing at once", answers(200, { "content-type": "text/event-stream" })],
  ])("a route that is %s is asked ever more rarely", async (_, lie) => {
    using w = await listener({ random01: 0.99 });
    w.control.always("wake", lie);
    const ended = w.start(w.control.url);
    await w.time.advance(600_000);
    expect(w.asked()).toBeGreaterThan(8);
    expect(w.asked()).toBeLessThan(18);
    w.over.abort();
    await ended;
    expect(w.time.pending).toBe(0);
  });

  test("a server that has no room says when to ask again", async () => {
    using w = await listener({ random01: 0 });
    w.control.next("wake", answers(503, { "retry-after": "120" }));
    const ended = w.start(w.control.url);
    await w.time.advance(119_000);
    expect(w.asked()).toBe(1);
    await w.time.advance(2_000);
    expect(w.asked()).toBe(2);
    w.over.abort();
    await ended;
  });

  test("a nonce asked for, a bearer forgotten: learnt, and made good by the next try", async () => {
    using w = await listener({ random01: 0 });
    w.control.next(
      "wake",
      refuses(401, "USE_DPOP_NONCE", { headers: { "dpop-nonce": "n1" } }),
      async (honest, _, control) => {
        control.tokens.clear();
        return await honest();
      },
    );
    const ended = w.start(w.control.url);
    await w.time.advance(10_000);
    expect([w.asked(), w.control.to("token").length]).toEqual([3, 2]);
    w.control.wake();
    await w.time.settle();
    expect(w.wakes()).toBe(1);
    w.over.abort();
    await ended;
    expect(w.control.violations).toEqual([]);
  });
});

describe("the end", () => {
  test.each(["wake", "token"] as const)("comes at once, also while the %s request hangs", async (route) => {
    using w = await listener();
    w.control.always(route, silent);
    const ended = w.start(w.control.url);
    await w.time.settle();
    w.over.abort();
    await ended;
    expect(w.time.pending).toBe(0);
  });

  test("comes at once in the pause between two tries", async () => {
    using w = await listener();
    w.control.always("wake", unreachable);
    const ended = w.start(w.control.url);
    await w.time.settle();
    w.over.abort();
    await ended;
    expect(w.time.pending).toBe(0);
  });

  test("comes at once over a real connection that stays open", async () => {
    using w = await listener();
    await using server = serveScripted(w.control);
    const ended = w.start(server.url, httpTransport, openHttpStream);
    await w.time.until(() => w.control.wakes.length === 1);
    w.control.wake();
    await w.time.until(() => w.wakes() === 1);
    w.over.abort();
    await ended;
  });
});
