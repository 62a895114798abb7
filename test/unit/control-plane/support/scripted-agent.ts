// An agent that does exactly what a test says, over real HTTP with real keys: the other side of the wire.

import { parseActivationToken } from "../../../../src/protocol/activation-token.ts";
import type { JobClaims } from "../../../../src/protocol/job.ts";
import type { OrderClaims } from "../../../../src/protocol/order.ts";
import { FIRST_PREV_SHA256, type ReceiptClaims } from "../../../../src/protocol/receipt.ts";
import type { X25519Jwk } from "../../../../src/protocol/scalars.ts";
import {
  type Fingerprint,
  type LicenseClaims,
  type TrustDocument,
  TYP,
} from "../../../../src/protocol/trust.ts";
import {
  type ActivateReply,
  type BeatAnswer,
  type BeatReply,
  type BeatRequest,
  CLIENT_ASSERTION_TYPE,
  REPLY_HEADER,
  type RekeyReply,
  ROUTES,
} from "../../../../src/protocol/wire.ts";
import { makeSealingKey, makeSigningKey, type SigningKey } from "../../../../src/trust/keys.ts";
import { makeAssertion, makeProof, newNonce } from "../../../../src/trust/proof.ts";
import { signReceipt } from "../../../../src/trust/receipt.ts";
import { verifyReply } from "../../../../src/trust/reply.ts";
import { seal } from "../../../../src/trust/sealed-box.ts";
import { signJws } from "../../../../src/trust/sign-jws.ts";
import { sha256Of } from "../../../../src/trust/strict-jws.ts";
import { openTrust, pinTrust, type TrustSet } from "../../../../src/trust/trust-set.ts";
import { random } from "./control-plane.ts";

export const FINGERPRINT: Fingerprint = {
  v: 1,
  components: { machine_id: "m".repeat(22), product_uuid: "u".repeat(22) },
  id: `fp_${"f".repeat(32)}`,
};

export interface Reply<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: T;
}

export interface RekeyChanges {
  readonly identity?: SigningKey;
  readonly sealing?: X25519Jwk;
  readonly signer?: SigningKey;
  readonly claims?: object;
  /** The answer never arrives. */
  readonly lost?: boolean;
}

export interface ProofChanges {
  readonly jti?: string;
  readonly nowS?: number;
  readonly nonce?: string;
  readonly url?: string;
  readonly method?: string;
  readonly body?: Uint8Array;
  readonly key?: SigningKey;
  readonly accessToken?: string;
}

export class ScriptedAgent {
  readonly url: string;
  identity: SigningKey;
  agentId = "";
  trust: TrustSet;
  license = "";
  n = 0;
  nonce = "";
  inst = newNonce(random);
  dpopNonce: string | undefined;
  bearer = "";
  receiptSeq = 0;
  prevReceipt: string = FIRST_PREV_SHA256;
  epoch = 1;
  /** Number of the last order it has taken within its epoch. */
  orderSeq = 0;
  fingerprint = FINGERPRINT;
  /** How far its clock is ahead of this process's. */
  aheadS = 0;

  constructor(url: string, identity: SigningKey, trust: TrustSet) {
    this.url = url;
    this.identity = identity;
    this.trust = trust;
  }

  /** Fetches and pins the key set, makes keys, redeems the token, asks for a bearer. */
  static async enrol(url: string, token: string, aheadS = 0): Promise<ScriptedAgent> {
    const agent = await ScriptedAgent.withKeys(url, token);
    agent.aheadS = aheadS;
    const reply = await agent.activate(token);
    if (reply.status !== 200) throw new Error(reply.text);
    await agent.signIn();
    return agent;
  }

  static async withKeys(url: string, token: string): Promise<ScriptedAgent> {
    const document = (await (await fetch(`${url}${ROUTES.trust}`)).json()) as TrustDocument;
    const trust = await pinTrust(document, tokenParts(token).rootThumbprint, url, nowS());
    return new ScriptedAgent(url, (await makeSigningKey()).key, trust);
  }

  async activate(token: string, sealedChanges: object = {}): Promise<Reply<ActivateReply>> {
    const { id, secret } = tokenParts(token);
    const plain = {
      v: 1,
      secret,
      fingerprint: FINGERPRINT,
      identity_jwk: this.identity.jwk,
      sealing_jwk: (await makeSealingKey()).key.jwk,
      version: "0.1.0",
      hostname: "host-a",
      labels: {},
      ...sealedChanges,
    };
    const sealed = await seal(bytesOf(plain), this.trust.claims.enrol);
    const reply = await this.send<ActivateReply>("POST", ROUTES.activate, {
      json: { v: 1, token_id: id, sealed },
      anonymous: true,
    });
    if (reply.status === 200) {
      this.agentId = reply.json.agent_id;
      this.license = reply.json.license;
      this.n = reply.json.beat.n;
      this.nonce = reply.json.beat.nonce;
    }
    return reply;
  }

  async signIn(audience = `${this.url}${ROUTES.token}`): Promise<Reply<{ access_token: string }>> {
    const assertion = await makeAssertion(this.identity, {
      agentId: this.agentId,
      audience,
      jti: newNonce(random),
      nowS: this.nowS(),
    });
    const reply = await this.sendAssertion(assertion);
    if (reply.status === 200) this.bearer = reply.json.access_token;
    return reply;
  }

  sendAssertion(assertion: string): Promise<Reply<{ access_token: string }>> {
    const form = new URLSearchParams({
      grant_type: "client_credentials",
      client_assertion_type: CLIENT_ASSERTION_TYPE,
      client_assertion: assertion,
    });
    return this.send("POST", ROUTES.token, {
      body: new TextEncoder().encode(form.toString()),
      type: "application/x-www-form-urlencoded",
      anonymous: true,
    });
  }

  beatRequest(changes: Partial<BeatRequest> = {}, rid = newNonce(random)): BeatRequest {
    return {
      v: 1,
      beat: { n: this.n, nonce: this.nonce, inst: this.inst, boot: "boot-1", rid },
      agent: { version: "0.1.0", state: "idle", bundle: "development", policy: null, started_at: 1 },
      fingerprint: this.fingerprint,
      fingerprint_unknown: [],
      seal: null,
      integrity: [],
      orders: { epoch: this.epoch, seq: this.orderSeq },
      capacity: { max: 2, in_flight: 0 },
      jobs: [],
      receipts: [],
      rejected: [],
      host: {
        hostname: "host-a",
        load1: 0.5,
        memory_bytes: { total: 2, available: 1 },
        disk_bytes: { total: 2, available: 1 },
        sandbox: { ok: true, codes: [] },
        kinds: ["test.run"],
      },
      clock: { now: Date.now(), offset_ms: null },
      ...changes,
    };
  }

  /** One heartbeat; its reply is verified, and the chain goes on when it was accepted. */
  async beat(changes: Partial<BeatRequest> = {}): Promise<BeatReply> {
    const request = this.beatRequest(changes);
    const reply = await this.sendBeat(request);
    if (reply.status !== 200 || reply.json.standing !== "live") throw new Error(reply.text);
    return this.take(reply);
  }

  /** One heartbeat of an agent that is held: the orders it is told, which it takes. */
  async held(changes: Partial<BeatRequest> = {}): Promise<OrderClaims[]> {
    const reply = await this.sendBeat(this.beatRequest(changes));
    const answer = reply.json as unknown as BeatAnswer;
    if (answer.standing !== "held") throw new Error(reply.text);
    return this.takeOrders(answer.orders);
  }

  /** Takes orders as an agent does: those above the last number. */
  takeOrders(orders: readonly string[]): OrderClaims[] {
    const claims = orders.map((text) => claimsOf<OrderClaims>(text));
    for (const { seq, epoch } of claims) {
      if (epoch === this.epoch) this.orderSeq = Math.max(this.orderSeq, seq);
    }
    return claims;
  }

  /** A copy of this agent's whole state, in a process of its own. */
  clone(inst = newNonce(random)): ScriptedAgent {
    const copy = new ScriptedAgent(this.url, this.identity, this.trust);
    return Object.assign(copy, this, { inst });
  }

  /** Asks for new keys on a `recover` order; goes on with them when they are given. */
  async rekey(order: string, changes: RekeyChanges = {}): Promise<Reply<RekeyReply>> {
    const identity = changes.identity ?? (await makeSigningKey()).key;
    const sealing_jwk = changes.sealing ?? (await makeSealingKey()).key.jwk;
    const claims = {
      v: 1,
      agent: this.agentId,
      old_jkt: this.identity.kid,
      order_sha256: sha256Of(order),
      sealing_x: sealing_jwk.x,
      ...changes.claims,
    };
    const proof = await signJws(TYP.rekey, changes.signer ?? identity, claims);
    const json = { v: 1, order, identity_jwk: identity.jwk, sealing_jwk, proof };
    const reply = await this.send<RekeyReply>("POST", ROUTES.rekey, { json });
    if (reply.status === 200 && !changes.lost) {
      this.identity = identity;
      this.license = reply.json.license;
      this.epoch = claimsOf<LicenseClaims>(this.license).epoch;
      this.orderSeq = 0;
      this.n = reply.json.beat.n;
      this.nonce = reply.json.beat.nonce;
      await this.signIn();
    }
    return reply;
  }

  async sendBeat(request: BeatRequest, proof: ProofChanges = {}): Promise<Reply<BeatReply>> {
    const reply = await this.send<BeatReply>("POST", ROUTES.heartbeat, { json: request, proof });
    if (reply.status === 200) {
      await verifyReply(reply.headers.get(REPLY_HEADER), new TextEncoder().encode(reply.text), {
        trust: this.trust,
        agentId: this.agentId as never,
        rid: request.beat.rid,
        nowS: this.nowS(),
        url: this.url,
      });
    }
    return reply;
  }

  async take(reply: Reply<BeatReply>): Promise<BeatReply> {
    this.n = reply.json.n;
    this.nonce = reply.json.next;
    if (reply.json.trust) this.trust = await openTrust(reply.json.trust, this.nowS());
    if (reply.json.license) {
      this.license = reply.json.license;
      this.epoch = claimsOf<LicenseClaims>(this.license).epoch;
    }
    return reply.json;
  }

  /** The receipt of an attempt, next in this agent's chain. */
  async receipt(job: JobClaims, envelope: string, changes: Partial<ReceiptClaims> = {}): Promise<string> {
    const claims: ReceiptClaims = {
      v: 1,
      iss: this.agentId as never,
      seq: ++this.receiptSeq,
      prev_sha256: this.prevReceipt as never,
      jti: job.jti,
      attempt: job.attempt,
      job_sha256: sha256Of(envelope),
      policy_sha256: null,
      policy_owner: "self",
      grant: null,
      refusal: null,
      outcome: "succeeded",
      reason: "exit_zero",
      detail: null,
      accepted_at: Date.now(),
      started_at: Date.now(),
      finished_at: Date.now(),
      host: { hostname: "host-a", agent_version: "0.1.0" },
      sandbox: null,
      usage: null,
      result: null,
      log: null,
      survivors: 0,
      ...changes,
    };
    const jws = await signReceipt(this.identity, claims);
    this.prevReceipt = sha256Of(jws);
    return jws;
  }

  putLog(jti: string, attempt: number, offset: number, bytes: Uint8Array | string) {
    return this.send<{ stored: number; watched: boolean }>(
      "PUT",
      `/v1/jobs/${jti}/${attempt}/log?stream=main&offset=${offset}`,
      { body: Buffer.from(bytes), type: "application/octet-stream" },
    );
  }

  /** Sends one request with a proof, once more when the server asks for its nonce. */
  async send<T = { code: string }>(
    method: string,
    path: string,
    options: {
      json?: unknown;
      body?: Uint8Array;
      type?: string;
      anonymous?: boolean;
      proof?: ProofChanges;
      headers?: Record<string, string>;
    } = {},
  ): Promise<Reply<T>> {
    const body = options.json === undefined ? options.body : bytesOf(options.json);
    const once = async () => {
      const accessToken = options.anonymous ? undefined : this.bearer;
      const headers: Record<string, string> = {
        dpop: await this.proof(method, path, body, accessToken, options.proof),
        ...(accessToken === undefined ? {} : { authorization: `DPoP ${accessToken}` }),
        ...(body === undefined ? {} : { "content-type": options.type ?? "application/json" }),
        ...options.headers,
      };
      const response = await fetch(`${this.url}${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: new Uint8Array(body) }),
      });
      this.dpopNonce = response.headers.get("dpop-nonce") ?? this.dpopNonce;
      return response;
    };
    let response = await once();
    let text = await response.text();
    if (response.status === 401 && text.includes("USE_DPOP_NONCE") && options.proof?.nonce === undefined) {
      response = await once();
      text = await response.text();
    }
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: (isJson ? JSON.parse(text) : null) as T,
    };
  }

  nowS(): number {
    return nowS() + this.aheadS;
  }

  proof(
    method: string,
    path: string,
    body: Uint8Array | undefined,
    accessToken: string | undefined,
    changes: ProofChanges = {},
  ): Promise<string> {
    const token = changes.accessToken ?? accessToken;
    const nonce = changes.nonce ?? this.dpopNonce;
    return makeProof(changes.key ?? this.identity, {
      method: changes.method ?? method,
      url: changes.url ?? `${this.url}${path.split("?")[0]}`,
      body: changes.body ?? body ?? new Uint8Array(),
      ...(token === undefined ? {} : { accessToken: token }),
      ...(nonce === undefined ? {} : { nonce }),
      jti: changes.jti ?? newNonce(random),
      nowS: changes.nowS ?? this.nowS(),
    });
  }
}

/** Claims of a signed text, unverified: for tests to look at. */
export const claimsOf = <T = JobClaims>(jws: string): T =>
  JSON.parse(Buffer.from(jws.split(".")[1] ?? "", "base64url").toString()) as T;

export const nowS = (): number => Math.floor(Date.now() / 1000);

const bytesOf = (value: unknown): Uint8Array =>
  value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value));

function tokenParts(token: string) {
  const parsed = parseActivationToken(token);
  if ("why" in parsed) throw new Error(parsed.why);
  return parsed;
}
