// A Control Plane's keys and an agent's, made for real, and the texts one signs for the other.

import * as v from "valibot";
import {
  AgentIdSchema,
  ControlPlaneIdSchema,
  JobIdSchema,
  LicenseIdSchema,
} from "../../../src/protocol/ids.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import { DEFAULT_LIMITS } from "../../../src/protocol/scope.ts";
import { type KeyUse, type LicenseClaims, type TrustClaims, TYP } from "../../../src/protocol/trust.ts";
import { makeSealingKey, makeSigningKey, type SigningKey } from "../../../src/trust/keys.ts";
import { signJws } from "../../../src/trust/sign-jws.ts";
import { openTrust, type TrustSet } from "../../../src/trust/trust-set.ts";

/** 2025-06-01T00:00:00Z, seconds. */
export const NOW_S = 1_748_736_000;

const id = (prefix: string, letter: string) => `${prefix}_${letter.repeat(20)}`;
export const AGENT = v.parse(AgentIdSchema, id("agt", "a"));
export const LICENSE_ID = v.parse(LicenseIdSchema, id("lic", "l"));
export const ISSUER = v.parse(ControlPlaneIdSchema, id("cp", "c"));
export const JOB_ID = v.parse(JobIdSchema, id("job", "j"));

export interface World {
  readonly root: SigningKey;
  readonly keys: Readonly<Record<KeyUse, SigningKey>>;
  readonly agent: SigningKey;
  readonly trustClaims: TrustClaims;
  readonly trust: TrustSet;
  readonly license: LicenseClaims;
  readonly job: JobClaims;
}

const freshKey = async () => (await makeSigningKey()).key;

export async function makeWorld(): Promise<World> {
  const [root, job, order, license, agent] = await Promise.all([1, 2, 3, 4, 5].map(freshKey));
  if (!root || !job || !order || !license || !agent) throw new Error("no keys");
  const keys = { job, order, license };
  const enrol = (await makeSealingKey()).key;
  const trustClaims: TrustClaims = {
    v: 1,
    iss: ISSUER,
    seq: 7,
    iat: NOW_S - 1000,
    exp: NOW_S - 1000 + 90 * 86_400,
    keys: (["job", "order", "license"] as const).map((use) => ({
      use,
      kid: keys[use].kid,
      jwk: keys[use].jwk,
      nbf: NOW_S - 1000,
      exp: NOW_S + 86_400,
    })),
    enrol: { kid: enrol.kid, jwk: enrol.jwk },
    fp_salt: "s".repeat(22),
  };
  return {
    root,
    keys,
    agent,
    trustClaims,
    trust: await trustOf(root, trustClaims),
    license: licenseClaims(agent.kid),
    job: jobClaims(),
  };
}

/** The trust set of these claims under `root`. */
export async function trustOf(root: SigningKey, claims: object, nowS = NOW_S): Promise<TrustSet> {
  return await openTrust({ v: 1, root: root.jwk, trust: await signJws(TYP.trust, root, claims) }, nowS);
}

export const jobClaims = (): JobClaims => ({
  v: 1,
  iss: ISSUER,
  aud: AGENT,
  sub: "job",
  jti: JOB_ID,
  attempt: 1,
  seq: 1,
  epoch: 1,
  lic: LICENSE_ID,
  kind: "test.run",
  payload: { source: { type: "empty" }, run: ["true"] },
  scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: [] },
  limits: DEFAULT_LIMITS,
  on_lost: "fail",
  iat: NOW_S,
  nbf: NOW_S,
  exp: NOW_S + 600,
});

export const licenseClaims = (jkt: string): LicenseClaims => ({
  iss: ISSUER,
  sub: AGENT,
  aud: "agentina",
  jti: "license-0001",
  lic: LICENSE_ID,
  tenant: `acc_${"t".repeat(20)}` as LicenseClaims["tenant"],
  plan: "self-hosted",
  max_agents: 3,
  max_concurrent_tasks_per_agent: 2,
  kinds: ["test.run"],
  fp: { v: 1, components: {}, id: `fp_${"f".repeat(32)}` },
  weak: true,
  cnf: { jkt },
  epoch: 1,
  era: 1,
  iat: NOW_S,
  nbf: NOW_S,
  exp: NOW_S + 30 * 86_400,
  offline_grace_s: 7 * 86_400,
});

/** A compact JWS with any header, payload and signature, right or wrong. */
export const compact = (header: string, payload: string, signature: Uint8Array): string =>
  [Buffer.from(header), Buffer.from(payload), Buffer.from(signature)]
    .map((part) => part.toString("base64url"))
    .join(".");

/** Signs exactly these header and payload texts, whatever they say. */
export async function signRaw(key: SigningKey, header: string, payload: string): Promise<string> {
  const input = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
  const signature = await crypto.subtle.sign("Ed25519", key.privateKey, Buffer.from(input));
  return `${input}.${Buffer.from(signature).toString("base64url")}`;
}
