// Goal: an agent that its restored Control Plane has forgotten shows its license once in a while, and nothing else of it
// changes.
// Method: the real session against the scripted Control Plane that says it knows no such agent, in virtual time.

import { expect, test } from "bun:test";
import { Readmission } from "../../../src/agent/readmit.ts";
import { openSession } from "../../../src/agent/session.ts";
import type { WireRequest } from "../../../src/agent/transport.ts";
import { newAgentId } from "../../../src/protocol/ids.ts";
import { type ReadmitRequest, ROUTES } from "../../../src/protocol/wire.ts";
import { makeSealingKey } from "../../../src/trust/keys.ts";
import { anySigningKey, random } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";
import { refuses } from "../../support/lies.ts";
import { ScriptedControl } from "../../support/scripted-control.ts";
import { wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";

async function world() {
  const time = new VirtualTime();
  const control = await ScriptedControl.make(time);
  const identity = await anySigningKey();
  const agentId = newAgentId(random);
  await control.enrol(agentId, identity.jwk);
  const sealing = (await makeSealingKey()).key.jwk;
  const shown: WireRequest[] = [];
  const events: string[] = [];
  const wire = wireTo(control);
  const session = openSession({
    url: control.url,
    agentId,
    identity,
    clock: time,
    random,
    loadBearer: () => null,
    saveBearer: () => undefined,
    credentials: () => ({ license: "the license", sealing }),
    log: (_, event) => events.push(event),
    transport: async (request) => {
      if (!request.url.endsWith(ROUTES.readmit)) return await wire(request);
      shown.push(request);
      const body = new TextEncoder().encode(JSON.stringify({ v: 1, agent_id: agentId }));
      return { status: 200, headers: new Headers(), body };
    },
  });
  const put = () =>
    session.send({
      method: "PUT",
      path: `${ROUTES.log("job_x", 1)}?stream=main&offset=0`,
      body: Buffer.from("hello"),
      maxReplyBytes: 4096,
      accept: "application/json",
    });
  return {
    time,
    control,
    identity,
    sealing,
    shown,
    events,
    put,
    [Symbol.dispose]: () => time[Symbol.dispose](),
  };
}

test("shows license and keys with a proof when nobody knows it, and goes on when it was taken back", async () => {
  using w = await world();
  w.control.next("token", refuses(401, "AGENT_UNKNOWN"));
  await w.put();
  const [request] = w.shown;
  const body = JSON.parse(new TextDecoder().decode(request?.body)) as ReadmitRequest;
  expect(body).toEqual({
    v: 1,
    license: "the license",
    identity_jwk: w.identity.jwk,
    sealing_jwk: w.sealing,
  });
  expect(request?.headers["dpop"]).toBeString();
  expect(request?.headers["authorization"]).toBeUndefined();
  expect([w.control.to("token").length, w.events]).toEqual([2, ["agent.readmitted"]]);
});

test("asks at most every five minutes, however often it is told that nobody knows it", async () => {
  using w = await world();
  w.control.always("token", refuses(401, "AGENT_UNKNOWN"));
  for (let i = 0; i < 20; i++) {
    expect((await faultOf(w.put())).code).toBe("WIRE_UNAUTHORIZED");
    await w.time.advance(60_000);
  }
  expect(w.shown).toHaveLength(4);
});

test("asks nobody when it is refused for any other reason", async () => {
  using w = await world();
  w.control.always("token", refuses(401, "API_UNAUTHENTICATED"));
  expect((await faultOf(w.put())).code).toBe("WIRE_UNAUTHORIZED");
  expect(w.shown).toHaveLength(0);
});

test("that has no license to show asks nobody", async () => {
  using time = new VirtualTime();
  const deps = { url: "https://control.example/", identity: await anySigningKey(), clock: time };
  const sent: unknown[] = [];
  const send = async (request: WireRequest) => {
    sent.push(request);
    throw new Error("nobody is to be asked");
  };
  expect(await new Readmission(deps).ask(send, undefined)).toBeFalse();
  expect(await new Readmission({ ...deps, credentials: () => null }).ask(send, undefined)).toBeFalse();
  expect(sent).toHaveLength(0);
});
