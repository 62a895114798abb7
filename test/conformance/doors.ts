// Every door of both programs that takes a signed text, with real keys and the real check behind it.

import { LIMITS } from "../../src/protocol/limits.ts";
import { FIRST_PREV_SHA256 } from "../../src/protocol/receipt.ts";
import { TYP } from "../../src/protocol/trust.ts";
import { type JobContext, verifyJob } from "../../src/trust/job.ts";
import { licenseStanding, openLicense } from "../../src/trust/license.ts";
import { verifyOrder } from "../../src/trust/order.ts";
import { openQuarantine } from "../../src/trust/quarantine.ts";
import { openReceipt } from "../../src/trust/receipt.ts";
import { admit, EMPTY_WINDOW } from "../../src/trust/replay-window.ts";
import { verifyReply } from "../../src/trust/reply.ts";
import { openSeal } from "../../src/trust/seal.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { openTrust, type TrustSet } from "../../src/trust/trust-set.ts";
import { AGENT, ISSUER, JOB_ID, makeWorld, NOW_S, trustOf, type World } from "../unit/trust/signing-world.ts";
import { type Door, type Doors, type Feature, type Surroundings, told, verdictOf } from "./door.ts";
import { jwsDoor } from "./jws-door.ts";
import { rekeyDoor, serverDoors } from "./server-doors.ts";

export const INST = "i".repeat(22);
const RID = "r".repeat(22);
const BODY = new TextEncoder().encode("body");
const URL = "https://control.example/v1/heartbeat";

export async function makeDoors(): Promise<{ readonly doors: Doors; readonly world: World }> {
  const world = await makeWorld();
  const list = [...agentDoors(world), ...ownDoors(world), ...serverDoors(world), await rekeyDoor(world)];
  const doors = Object.fromEntries(list.map((door) => [door.name, door])) as unknown as Doors;
  return { doors, world };
}

/** The trust set with its keys as the surroundings want them. */
async function trustIn({ root, trust, trustClaims }: World, { keyRow }: Surroundings): Promise<TrustSet> {
  if (keyRow === undefined) return trust;
  const keys = trustClaims.keys.map((row) => ({ ...row, ...keyRow }));
  return await trustOf(root, { ...trustClaims, keys });
}

/** What the agent takes from the Control Plane. */
function agentDoors(world: World): Door[] {
  const { keys, root } = world;
  const own = { jkt: world.agent.kid, agentId: AGENT };
  return [
    jwsDoor({
      name: "trust set",
      typ: TYP.trust,
      key: root,
      features: ["kid", "times"],
      claims: world.trustClaims,
      maxBytes: LIMITS.TRUST_DOCUMENT_BYTES,
      show: (text) => verdictOf(() => openTrust({ v: 1, root: root.jwk, trust: text as string }, NOW_S)),
    }),
    jwsDoor({
      name: "license",
      typ: TYP.license,
      key: keys.license,
      features: ["kid", "key set", "issuer", "agent", "times", "lifetime"],
      claims: world.license,
      show: async (text, surroundings) => {
        const trust = await trustIn(world, surroundings);
        let standing = "";
        const verdict = await verdictOf(async () => {
          standing = licenseStanding((await openLicense(text as string, trust, own)).claims, NOW_S);
        });
        return standing === "" || standing === "valid" ? verdict : `license ${standing}`;
      },
    }),
    jobDoor(world),
    orderDoor(world),
    jwsDoor({
      name: "reply",
      typ: TYP.reply,
      key: keys.order,
      features: ["kid", "key set", "agent"],
      claims: { agent: AGENT, rid: RID, sha256: sha256Of(BODY) },
      show: async (text, surroundings) => {
        const trust = await trustIn(world, surroundings);
        const ctx = { trust, agentId: AGENT, rid: RID, nowS: NOW_S, url: URL };
        return await verdictOf(() => verifyReply(text as string, BODY, ctx));
      },
      tells: (code) => `WIRE_REPLY_UNSIGNED < ${code}`,
    }),
  ];
}

function jobDoor(world: World): Door {
  return jwsDoor({
    name: "job",
    typ: TYP.job,
    key: world.keys.job,
    features: ["kid", "key set", "issuer", "agent", "license", "epoch", "times", "lifetime", "once"],
    claims: world.job,
    maxBytes: LIMITS.JWS_BYTES,
    show: async (text, surroundings) => {
      const before = admit(EMPTY_WINDOW, world.job.seq);
      const context: JobContext = {
        trust: await trustIn(world, surroundings),
        license: world.license,
        window: surroundings.again && before.ok ? before.window : EMPTY_WINDOW,
        acceptedBefore: () => false,
        nowS: NOW_S,
      };
      const verification = await verifyJob(text, context);
      if (verification.verdict === "verified") return "accepted";
      return "why" in verification ? told(verification.why) : verification.verdict;
    },
  });
}

function orderDoor(world: World): Door {
  return jwsDoor({
    name: "order",
    typ: TYP.order,
    key: world.keys.order,
    features: ["kid", "key set", "issuer", "agent", "epoch", "times", "lifetime", "once"],
    claims: {
      v: 1,
      iss: ISSUER,
      aud: AGENT,
      sub: "order",
      jkt: world.agent.kid,
      epoch: 1,
      seq: 1,
      order: { type: "recover", inst: INST },
      iat: NOW_S,
      nbf: NOW_S,
      exp: NOW_S + 600,
    },
    show: async (text, surroundings) => {
      const verification = await verifyOrder(text, {
        trust: await trustIn(world, surroundings),
        license: world.license,
        jkt: world.agent.kid,
        inst: INST,
        lastSeq: surroundings.again ? 1 : 0,
        nowS: NOW_S,
      });
      return verification.verdict === "verified" ? "accepted" : told(verification.why);
    },
  });
}

/** What the agent signs with its own key, and either side opens. */
function ownDoors({ agent }: World): Door[] {
  const features: readonly Feature[] = ["kid", "own key"];
  return [
    jwsDoor({
      name: "receipt",
      typ: TYP.receipt,
      key: agent,
      features,
      claims: RECEIPT,
      maxBytes: LIMITS.BEAT_RECEIPTS_BYTES,
      show: (text) => verdictOf(() => openReceipt(text, agent.jwk)),
    }),
    jwsDoor({
      name: "seal",
      typ: TYP.seal,
      key: agent,
      features,
      claims: { v: 1, agent: AGENT, ctr: 1, trust_root: "t".repeat(43), files: {} },
      show: (text) => verdictOf(() => openSeal(text, agent.jwk)),
    }),
    jwsDoor({
      name: "quarantine note",
      typ: TYP.quarantine,
      key: agent,
      features,
      claims: { v: 1, iss: AGENT, epoch: 1, code: "FINGERPRINT_MISMATCH", reason: "it moved", iat: NOW_S },
      show: (text) => verdictOf(() => openQuarantine(text, agent)),
    }),
  ];
}

const RECEIPT = {
  v: 1,
  iss: AGENT,
  seq: 1,
  prev_sha256: FIRST_PREV_SHA256,
  jti: JOB_ID,
  attempt: 1,
  job_sha256: FIRST_PREV_SHA256,
  policy_sha256: null,
  policy_owner: null,
  grant: null,
  refusal: null,
  outcome: "cancelled",
  reason: "order_cancel",
  detail: null,
  accepted_at: NOW_S * 1000,
  started_at: null,
  finished_at: NOW_S * 1000,
  host: { hostname: "host", agent_version: "1.2.3" },
  sandbox: null,
  usage: null,
  result: null,
  log: null,
  survivors: null,
};
