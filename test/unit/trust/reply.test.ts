// Goal: nothing of a heartbeat reply is used unless these very bytes were signed for this agent and this request.
// Method: one reply signed for real, then each part of the binding changed.

import { beforeAll, expect, test } from "bun:test";
import { isFault } from "../../../src/fault/fault.ts";
import { TYP } from "../../../src/protocol/trust.ts";
import { verifyReply } from "../../../src/trust/reply.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { AGENT, makeWorld, NOW_S, type World } from "./signing-world.ts";

const RID = "r".repeat(22);
const BODY = new TextEncoder().encode('{"v":1}');

let world: World;
beforeAll(async () => {
  world = await makeWorld();
});

interface Change {
  readonly claims?: object;
  readonly body?: Uint8Array;
  readonly by?: "job" | "order";
  readonly typ?: string;
  readonly nowS?: number;
}

async function outcome({ claims = {}, body = BODY, by = "order", typ = TYP.reply, nowS = NOW_S }: Change) {
  const header = await signJws(typ, world.keys[by], {
    agent: AGENT,
    rid: RID,
    sha256: sha256Of(BODY),
    ...claims,
  });
  return await judged(header, body, nowS);
}

async function judged(header: string | null, body: Uint8Array, nowS = NOW_S): Promise<string> {
  try {
    await verifyReply(header, body, {
      trust: world.trust,
      agentId: AGENT,
      rid: RID,
      nowS,
      url: "https://x/",
    });
    return "accepted";
  } catch (error) {
    return isFault(error) ? `${error.code} ${error.retry}` : String(error);
  }
}

test("the reply that was signed is accepted", async () => {
  expect(await outcome({})).toBe("accepted");
});

test.each<[string, Change]>([
  ["for another agent", { claims: { agent: `agt_${"x".repeat(20)}` } }],
  ["for another request", { claims: { rid: "x".repeat(22) } }],
  ["of other bytes", { body: new TextEncoder().encode('{"v":1} ') }],
  ["of no bytes", { body: new Uint8Array() }],
  ["with a claim too many", { claims: { extra: 1 } }],
  ["signed by a job key", { by: "job" }],
  ["of a job's type", { typ: TYP.job }],
  ["signed after its key's time", { nowS: NOW_S + 90_000 }],
])("a signature %s is refused, and asked for again later", async (_, change) => {
  expect(await outcome(change)).toBe("WIRE_REPLY_UNSIGNED backoff");
});

test("no signature, and what is none, is refused", async () => {
  expect(await judged(null, BODY)).toBe("WIRE_REPLY_UNSIGNED backoff");
  expect(await judged("", BODY)).toBe("WIRE_REPLY_UNSIGNED backoff");
  expect(await judged("x".repeat(20_000), BODY)).toBe("WIRE_REPLY_UNSIGNED backoff");
});
