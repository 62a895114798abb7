// Goal: requests carry what the server needs to believe them, each lack is made good once and at once, and what cannot be
// made good is told as what it is.
// Method: the real session against the scripted Control Plane, which checks every proof, in virtual time.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { openSession, type SessionDeps } from "../../../src/agent/session.ts";
import {
  type BearerFile,
  readBearerFile,
  STATE_FORMAT,
  statePaths,
  writeBearerFile,
} from "../../../src/agent/state-files.ts";
import { refusalOf } from "../../../src/agent/transport.ts";
import { fault } from "../../../src/fault/fault.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import { ROUTES } from "../../../src/protocol/wire.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";
import { refuses, silent, slow } from "../../support/lies.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { type Route, ScriptedControl } from "../../support/scripted-control.ts";
import { wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";

const dir = scratchDirectory("session");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function world(over: Partial<SessionDeps> = {}) {
  const time = new VirtualTime();
  const control = await ScriptedControl.make(time);
  const identity = await anySigningKey();
  const agentId = newAgentId(random);
  await control.enrol(agentId, identity.jwk);
  const saved: BearerFile[] = [];
  const deps: SessionDeps = {
    url: control.url,
    agentId,
    identity,
    transport: wireTo(control),
    clock: time,
    random,
    loadBearer: () => null,
    saveBearer: (bearer) => saved.push(bearer),
    ...over,
  };
  const session = openSession(deps);
  const put = (signal?: AbortSignal) =>
    session.send({
      method: "PUT",
      path: `${ROUTES.log("job_x", 1)}?stream=main&offset=0`,
      body: Buffer.from("hello"),
      maxReplyBytes: 4096,
      accept: "application/json",
      ...(signal === undefined ? {} : { signal }),
    });
  const count = (route: Route) => control.to(route).length;
  return { time, control, session, deps, put, count, saved, [Symbol.dispose]: () => time[Symbol.dispose]() };
}

describe("the server's nonce", () => {
  test("is learnt from a refusal, sent with one more try, and kept", async () => {
    using w = await world();
    w.control.dpopNonce = "n1";
    await w.put();
    expect([w.count("token"), w.count("log")]).toEqual([2, 1]);
    await w.put();
    expect([w.count("token"), w.count("log")]).toEqual([2, 2]);
    w.control.dpopNonce = "n2";
    await w.put();
    expect([w.count("token"), w.count("log")]).toEqual([2, 4]);
    expect(w.control.violations).toEqual([]);
  });

  test("is learnt from every answer, also a good one", async () => {
    using w = await world();
    w.control.dpopNonce = "n1";
    await w.put();
    w.control.next("log", async (honest, _, control) => {
      const response = await honest();
      control.dpopNonce = "n2";
      response.headers.set("dpop-nonce", "n2");
      return response;
    });
    await w.put();
    await w.put();
    expect(w.count("log")).toBe(3);
  });

  test("a server that wants another one each time gets two tries, not more", async () => {
    using w = await world();
    await w.put();
    w.control.always("log", refuses(401, "USE_DPOP_NONCE", { headers: { "dpop-nonce": "never" } }));
    expect((await faultOf(w.put())).code).toBe("WIRE_UNAUTHORIZED");
    expect(w.count("log")).toBe(3);
  });

  test("each try for a token carries an assertion of its own", async () => {
    using w = await world();
    w.control.dpopNonce = "n1";
    await w.put();
    const assertions = w.control
      .to("token")
      .map(({ body }) => new URLSearchParams(Buffer.from(body).toString()).get("client_assertion"));
    expect(new Set(assertions).size).toBe(2);
  });
});

describe("the bearer", () => {
  test("is asked for once, used while it lasts, and renewed half a minute before its end", async () => {
    using w = await world();
    for (let i = 0; i < 10; i++) {
      await w.put();
      await w.time.advance(56_900);
    }
    expect(w.count("token")).toBe(1);
    await w.time.advance(2_000);
    await w.put();
    expect(w.count("token")).toBe(2);
    expect(w.saved).toHaveLength(2);
  });

  test("that the server no longer takes is replaced and the request sent once more", async () => {
    using w = await world();
    await w.put();
    w.control.tokens.clear();
    await w.put();
    expect([w.count("token"), w.count("log")]).toEqual([2, 3]);
  });

  test("that is refused twice is a fault, after two tries", async () => {
    using w = await world();
    await w.put();
    w.control.always("log", refuses(401, "BEARER_INVALID"));
    expect((await faultOf(w.put())).code).toBe("WIRE_UNAUTHORIZED");
    expect([w.count("token"), w.count("log")]).toEqual([2, 3]);
  });

  test("is asked for once by requests that want it at the same time, also after it was refused", async () => {
    using w = await world();
    await Promise.all(Array.from({ length: 10 }, () => w.put()));
    expect(w.count("token")).toBe(1);
    w.control.tokens.clear();
    await Promise.all(Array.from({ length: 10 }, () => w.put()));
    expect(w.count("token")).toBe(2);
    expect(w.control.violations).toEqual([]);
  });

  test("that was refused while another request already fetched a newer one is not fetched a third time", async () => {
    using w = await world();
    await w.put();
    w.control.tokens.clear();
    w.control.next("log", async (honest) => await honest(), slow(1_000));
    const both = Promise.all([w.put(), w.put()]);
    await w.time.advance(2_000);
    await both;
    expect([w.count("token"), w.count("log")]).toEqual([2, 5]);
  });

  test("whose request failed is asked for anew by the next", async () => {
    using w = await world();
    w.control.next("token", refuses(503, "API_BUSY"));
    expect((await faultOf(w.put())).code).toBe("WIRE_SERVER_ERROR");
    await w.put();
    expect(w.count("token")).toBe(2);
  });

  test("that cannot be saved serves all the same", async () => {
    using w = await world({
      saveBearer: () => {
        throw fault("STATE_DISK_FULL", { path: "bearer.json" });
      },
    });
    await w.put();
    await w.put();
    expect(w.count("token")).toBe(1);
  });

  test("of the last life is used by this one", async () => {
    using w = await world();
    await w.put();
    const session = openSession({ ...w.deps, loadBearer: () => w.saved[0] ?? null });
    await session.send({
      method: "GET",
      path: ROUTES.trust,
      maxReplyBytes: 65_536,
      accept: "application/json",
    });
    expect(w.count("token")).toBe(1);
  });

  test.each([
    ["nothing", () => undefined],
    ["garbage", (path: string) => writeFileSync(path, "\u0000\u0001 {")],
    ["a cut document", (path: string) => writeFileSync(path, '{"format":1,"access_tok')],
    ["a document of another form", (path: string) => writeFileSync(path, '{"format":1,"token":"x"}')],
    ["a later format", (path: string) => writeFileSync(path, '{"format":9}')],
    ["far too much", (path: string) => writeFileSync(path, "x".repeat(1_000_000))],
    ["a link", (path: string) => symlinkSync("/etc/passwd", path)],
    ["a directory", (path: string) => mkdirSync(path)],
  ])("file that holds %s counts as none", (_, make) => {
    const { bearer } = statePaths(dir);
    rmSync(bearer, { recursive: true, force: true });
    make(bearer);
    expect(readBearerFile(dir)).toBeNull();
  });

  test("file comes back as it was written", () => {
    rmSync(statePaths(dir).bearer, { recursive: true, force: true });
    const bearer = { format: STATE_FORMAT, access_token: "t", expires_at_s: 5 } as const;
    writeBearerFile(dir, bearer);
    expect(readBearerFile(dir)).toEqual(bearer);
  });
});

describe("a clock that is wrong", () => {
  test.each([
    [3_600_000, 3_600],
    [-90_000, 90],
  ])("by %i ms is told as that when the server refuses the proof", async (skewMs, seconds) => {
    using w = await world();
    w.control.skewMs = skewMs;
    w.control.always("token", refuses(401, "DPOP_INVALID"));
    const why = await faultOf(w.put());
    expect([why.code, why.params["seconds"]]).toEqual(["WIRE_CLOCK_SKEW", seconds]);
    expect(w.session.clockOffsetMs()).toBe(skewMs);
  });

  test("is told in the server's own words where it has them", async () => {
    using w = await world();
    w.control.always("token", refuses(401, "WIRE_CLOCK_SKEW", { params: { seconds: 77 } }));
    const why = await faultOf(w.put());
    expect([why.code, why.params["seconds"]]).toEqual(["WIRE_CLOCK_SKEW", 77]);
  });

  test("by little, a refused proof is a refused proof", async () => {
    using w = await world();
    w.control.skewMs = 5_000;
    w.control.always("token", refuses(401, "DPOP_INVALID"));
    expect((await faultOf(w.put())).code).toBe("WIRE_UNAUTHORIZED");
  });

  test("does not keep a forgotten token from being replaced", async () => {
    using w = await world();
    await w.put();
    w.control.skewMs = 45_000; // told from 30 s on, taken up to 60
    await w.put();
    w.control.tokens.clear();
    await w.put();
    expect(w.count("token")).toBe(2);
  });

  test("moves nothing: the times in proofs stay the host's own", async () => {
    using w = await world();
    w.control.skewMs = 50_000;
    await w.put();
    await w.put();
    expect(w.control.violations).toEqual([]); // it holds them against the true time
  });
});

describe("streams", () => {
  test("are authorised with the nonce at hand, and what they are refused for is learnt", async () => {
    using w = await world();
    await w.put();
    w.control.dpopNonce = "n9";
    const transport = wireTo(w.control);
    const get = async () => {
      const path = ROUTES.blob("0".repeat(64));
      const headers = await w.session.authorize("GET", path);
      const url = new URL(path, w.control.url).href;
      return await transport({
        method: "GET",
        url,
        headers,
        maxReplyBytes: 10,
        accept: "application/octet-stream",
      });
    };
    const first = await faultOf(get());
    expect(refusalOf(first)?.problem).toBe("USE_DPOP_NONCE");
    w.session.learn(first);
    expect(refusalOf(await faultOf(get()))?.problem).toBe("API_NOT_FOUND");
    w.control.tokens.clear();
    const forgotten = await faultOf(get());
    expect(refusalOf(forgotten)?.problem).toBe("BEARER_INVALID");
    w.session.learn(forgotten);
    expect(refusalOf(await faultOf(get()))?.problem).toBe("API_NOT_FOUND");
    w.session.learn(fault("WIRE_UNREACHABLE", { url: "x", why: "y" })); // says nothing
    expect(w.control.violations).toEqual([]);
  });
});

describe("an end that is asked for", () => {
  test.each(["log", "token"] as const)("ends a request that hangs at its %s", async (route) => {
    using w = await world();
    w.control.always(route, silent);
    const over = new AbortController();
    const sent = faultOf(w.put(over.signal));
    await w.time.settle();
    over.abort();
    expect((await sent).code).toBe("WIRE_UNREACHABLE");
    expect(w.time.pending).toBe(0);
  });
});
