// The signing half of a Control Plane: its keys, and everything it signs with them, true or false as asked.

import {
  type AccountId,
  type AgentId,
  type ControlPlaneId,
  type LicenseId,
  newAccountId,
  newControlPlaneId,
  newJobId,
  newLicenseId,
} from "../../src/protocol/ids.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import type { Order, OrderClaims } from "../../src/protocol/order.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import { DEFAULT_LIMITS } from "../../src/protocol/scope.ts";
import {
  type Fingerprint,
  type LicenseClaims,
  type TrustClaims,
  type TrustDocument,
  TYP,
} from "../../src/protocol/trust.ts";
import { makeSealingKey, makeSigningKey, type SigningKey, thumbprint } from "../../src/trust/keys.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { openTrust, type TrustSet } from "../../src/trust/trust-set.ts";

export const random = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));
export const nonce = (): string => Buffer.from(random(16)).toString("base64url");
export const anySigningKey = async (): Promise<SigningKey> => (await makeSigningKey()).key;

export const FINGERPRINT: Fingerprint = { v: 1, components: {}, id: `fp_${"f".repeat(32)}` };

/** One key of each class. */
export async function makeKeys() {
  const [root, job, order, license] = await Promise.all([0, 1, 2, 3].map(anySigningKey));
  if (!root || !job || !order || !license) throw new Error("no keys");
  return { root, job, order, license, enrol: (await makeSealingKey()).key };
}
export type Keys = Awaited<ReturnType<typeof makeKeys>>;

export interface EnrolledAgent {
  readonly id: AgentId;
  readonly jwk: Ed25519Jwk;
  readonly jkt: string;
}

export class Authority {
  readonly issuer: ControlPlaneId;
  readonly lic: LicenseId;
  readonly account: AccountId;
  keys: Keys;
  trustClaims: TrustClaims;
  private readonly nowS: () => number;
  /** Who holds which key, or held it. */
  private readonly holders: Map<string, EnrolledAgent>;
  private known: EnrolledAgent | null;
  private seq: number;

  private constructor(keys: Keys, nowS: () => number, like: Authority | null) {
    this.keys = keys;
    this.nowS = nowS;
    this.issuer = like?.issuer ?? newControlPlaneId(random);
    this.lic = like?.lic ?? newLicenseId(random);
    this.account = like?.account ?? newAccountId(random);
    this.trustClaims = like?.trustClaims ?? this.trustOf(keys, 1);
    this.known = like?.known ?? null;
    this.holders = new Map(like?.holders);
    this.seq = like?.seq ?? 0;
  }

  /** The same at this instant; both go on by themselves. */
  fork(): Authority {
    return new Authority(this.keys, this.nowS, this);
  }

  static async make(nowS: () => number): Promise<Authority> {
    return new Authority(await makeKeys(), nowS, null);
  }

  get agent(): EnrolledAgent {
    if (this.known === null) throw new Error("nobody is enrolled");
    return this.known;
  }

  /** Knows this agent under this key from now on; another's keys are remembered as having been. */
  async enrol(id: AgentId, jwk: Ed25519Jwk): Promise<void> {
    this.known = { id, jwk, jkt: await thumbprint(jwk) };
    this.holders.set(this.known.jkt, this.known);
  }

  /** The agent whose key this is or was. */
  holder(jkt: string): EnrolledAgent | null {
    return this.holders.get(jkt) ?? null;
  }

  /** New keys under the same root, as after a rotation that nobody was there to see. */
  async rotate(): Promise<void> {
    const { root, enrol } = this.keys;
    this.keys = { ...(await makeKeys()), root, enrol };
    this.trustClaims = this.trustOf(this.keys, this.trustClaims.seq + 1);
  }

  trustOf(keys: Keys, seq: number): TrustClaims {
    const nowS = this.nowS();
    return {
      v: 1,
      iss: this.issuer,
      seq,
      iat: nowS,
      exp: nowS + 90 * 86_400,
      keys: (["job", "order", "license"] as const).map((use) => ({
        use,
        kid: keys[use].kid,
        jwk: keys[use].jwk,
        nbf: nowS - 60,
        exp: nowS + 60 * 86_400,
      })),
      enrol: { kid: keys.enrol.kid, jwk: keys.enrol.jwk },
      fp_salt: "s".repeat(22),
    };
  }

  async trustDocument(root = this.keys.root, claims = this.trustClaims): Promise<TrustDocument> {
    return { v: 1, root: root.jwk, trust: await signJws(TYP.trust, root, claims) };
  }

  async trustSet(): Promise<TrustSet> {
    return await openTrust(await this.trustDocument(), this.nowS());
  }

  licenseClaims(over: Partial<LicenseClaims> = {}): LicenseClaims {
    const nowS = this.nowS();
    return {
      iss: this.issuer,
      sub: this.agent.id,
      aud: "agentina",
      jti: nonce(),
      lic: this.lic,
      tenant: this.account,
      plan: "self-hosted",
      max_agents: 3,
      max_concurrent_tasks_per_agent: 2,
      kinds: ["test.run"],
      fp: FINGERPRINT,
      weak: true,
      cnf: { jkt: this.agent.jkt },
      epoch: 1,
      era: 1,
      iat: nowS,
      nbf: nowS,
      exp: nowS + 30 * 86_400,
      offline_grace_s: 7 * 86_400,
      ...over,
    };
  }

  async license(over: Partial<LicenseClaims> = {}, key = this.keys.license): Promise<string> {
    return await signJws(TYP.license, key, this.licenseClaims(over));
  }

  jobClaims(over: Partial<JobClaims> = {}): JobClaims {
    const nowS = this.nowS();
    return {
      v: 1,
      iss: this.issuer,
      aud: this.agent.id,
      sub: "job",
      jti: newJobId(random),
      attempt: 1,
      seq: ++this.seq,
      epoch: 1,
      lic: this.lic,
      kind: "test.run",
      payload: { source: { type: "empty" }, run: ["true"] },
      scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: [] },
      limits: DEFAULT_LIMITS,
      on_lost: "fail",
      iat: nowS,
      nbf: nowS,
      exp: nowS + 600,
      ...over,
    };
  }

  orderClaims(order: Order, over: Partial<OrderClaims> = {}): OrderClaims {
    const nowS = this.nowS();
    return {
      v: 1,
      iss: this.issuer,
      aud: this.agent.id,
      sub: "order",
      jkt: this.agent.jkt,
      epoch: 1,
      seq: 1,
      order,
      iat: nowS,
      nbf: nowS,
      exp: nowS + 900,
      ...over,
    };
  }

  async order(order: Order, over: Partial<OrderClaims> = {}, key = this.keys.order): Promise<string> {
    return await signJws(TYP.order, key, this.orderClaims(order, over));
  }

  async job(claims: JobClaims, key = this.keys.job): Promise<string> {
    return await signJws(TYP.job, key, claims);
  }

  /** Signs exactly these header and payload texts, whatever they say. */
  async raw(payload: string, header = this.jobHeader(), key = this.keys.job): Promise<string> {
    const input = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
    const signature = await crypto.subtle.sign("Ed25519", key.privateKey, Buffer.from(input));
    return `${input}.${Buffer.from(signature).toString("base64url")}`;
  }

  jobHeader(over: object = {}): string {
    return JSON.stringify({ alg: "EdDSA", kid: this.keys.job.kid, typ: TYP.job, ...over });
  }

  /** The header that stands for the bytes of a heartbeat reply. */
  async reply(
    body: string,
    rid: string,
    over: { readonly agent?: string; readonly key?: SigningKey } = {},
  ): Promise<string> {
    const claims = { agent: over.agent ?? this.agent.id, rid, sha256: sha256Of(body) };
    return await signJws(TYP.reply, over.key ?? this.keys.order, claims);
  }
}
