// The doors of the Control Plane: client assertion, proof of possession, access token.

import { createHash, createHmac } from "node:crypto";
import { rekey } from "../../src/control-plane/activation/rekey.ts";
import type { Services } from "../../src/control-plane/api/services.ts";
import { checkAssertion } from "../../src/control-plane/auth/assertion.ts";
import { makeBearer, openBearer } from "../../src/control-plane/auth/bearer.ts";
import { checkProof } from "../../src/control-plane/auth/dpop.ts";
import { DpopNonces } from "../../src/control-plane/auth/dpop-nonce.ts";
import type { AgentPrincipal } from "../../src/control-plane/auth/principal.ts";
import { SeenProofs } from "../../src/control-plane/auth/seen-proofs.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { type LicenseClaims, TYP } from "../../src/protocol/trust.ts";
import type { RekeyRequest } from "../../src/protocol/wire.ts";
import { makeSealingKey } from "../../src/trust/keys.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { anySigningKey } from "../support/authority.ts";
import { AGENT, ISSUER, NOW_S, type World } from "../unit/trust/signing-world.ts";
import { type Door, verdictOf } from "./door.ts";
import { jwsDoor } from "./jws-door.ts";

export const PROOF_URL = "https://control.example/v1/heartbeat";
export const TOKEN_URL = "https://control.example/v1/token";
const BODY = new TextEncoder().encode("body");
const SECRET = new Uint8Array(32).fill(7);
const ACCOUNT = `acc_${"t".repeat(20)}` as LicenseClaims["tenant"];
export const NONCES = new DpopNonces(new Uint8Array(32).fill(9));
const digest = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("base64url");

export function serverDoors({ agent }: World): Door[] {
  const token = makeBearer(SECRET, { accountId: ACCOUNT, agentId: AGENT, jkt: agent.kid }, ISSUER, {
    nowS: NOW_S,
    jti: "j".repeat(22),
  });
  const proven = { jwk: agent.jwk, jkt: agent.kid, iatS: NOW_S, proof: "p" };
  const audiences = [TOKEN_URL, "https://control.example"];
  return [
    jwsDoor({
      name: "client assertion",
      typ: TYP.assertion,
      key: agent,
      features: ["kid", "own key", "times", "lifetime"],
      claims: { iss: AGENT, sub: AGENT, aud: TOKEN_URL, jti: "a".repeat(22), iat: NOW_S, exp: NOW_S + 60 },
      show: (text) => verdictOf(() => checkAssertion(text as string, proven, { audiences, nowS: NOW_S })),
      tells: (code) => `API_UNAUTHENTICATED < ${code}`,
    }),
    jwsDoor({
      name: "proof",
      typ: TYP.dpop,
      key: agent,
      features: ["jwk", "times", "once"],
      claims: {
        htm: "POST",
        htu: PROOF_URL,
        jti: "d".repeat(22),
        iat: NOW_S,
        bsha: digest(BODY),
        ath: digest(token),
        nonce: NONCES.current(NOW_S),
      },
      show: (text, { again }) =>
        verdictOf(async () => {
          const target = { method: "POST", url: PROOF_URL, body: BODY, bearer: { token, jkt: agent.kid } };
          const ctx = { nonces: NONCES, seen: new SeenProofs(), nowMs: NOW_S * 1000 };
          await checkProof(text as string, target, ctx);
          if (again) await checkProof(text as string, target, ctx);
        }),
      tells: (code) => `DPOP_INVALID < ${code}`,
    }),
    bearerDoor(token),
  ];
}

/** Where a recovered agent shows its new key: the request is right in all but the proof under attack. */
export async function rekeyDoor({ agent, keys, trust }: World): Promise<Door> {
  const next = await anySigningKey();
  const sealing = (await makeSealingKey()).key;
  const order = await signJws(TYP.order, keys.order, {
    ...{ v: 1, iss: ISSUER, aud: AGENT, sub: "order", jkt: agent.kid, epoch: 1, seq: 1 },
    ...{ order: { type: "recover", inst: "i".repeat(22) }, iat: NOW_S, nbf: NOW_S, exp: NOW_S + 600 },
  });
  const proven = { jwk: agent.jwk, jkt: agent.kid, iatS: NOW_S, proof: "p" };
  const principal: AgentPrincipal = {
    kind: "agent",
    accountId: ACCOUNT,
    agentId: AGENT,
    untilS: NOW_S + 600,
    proven,
  };
  // What comes after the proof is the database's to say.
  const services = {
    keys: { current: () => ({ trust }) },
    store: { write: async () => ({ reply: {}, fresh: false }) },
  } as unknown as Services;
  return jwsDoor({
    name: "rekey proof",
    typ: TYP.rekey,
    key: next,
    features: ["kid", "agent"],
    claims: {
      v: 1,
      agent: AGENT,
      old_jkt: agent.kid,
      order_sha256: sha256Of(order),
      sealing_x: sealing.jwk.x,
    },
    show: (text) =>
      verdictOf(() => {
        const request = {
          v: 1,
          order,
          identity_jwk: next.jwk,
          sealing_jwk: sealing.jwk,
          proof: text as string,
        };
        return rekey(request as RekeyRequest, principal, services, NOW_S * 1000);
      }),
    tells: (code) => `REKEY_PROOF_INVALID < ${code}`,
  });
}

function bearerDoor(token: string): Door {
  const [header = "", payload = ""] = token
    .split(".")
    .map((part) => Buffer.from(part, "base64url").toString());
  return {
    name: "bearer",
    typ: TYP.bearer,
    features: new Set(["secret", "times"]),
    header: JSON.parse(header) as Record<string, unknown>,
    claims: JSON.parse(payload) as Record<string, unknown>,
    key: null,
    seal: async (input) => createHmac("sha256", SECRET).update(input).digest("base64url"),
    maxBytes: LIMITS.SMALL_JWS_BYTES,
    show: (text) => verdictOf(() => openBearer(SECRET, text as string, NOW_S)),
    tells: () => "BEARER_INVALID",
  };
}
