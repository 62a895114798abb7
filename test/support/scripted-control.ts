// A Control Plane that keeps a script: honest by default, and at any request whatever a test tells it to be.

import { createHash } from "node:crypto";
import * as v from "valibot";
import type { AgentId } from "../../src/protocol/ids.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import { parseDocument } from "../../src/protocol/json.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import { TYP } from "../../src/protocol/trust.ts";
import {
  type BeatJob,
  type BeatReply,
  type BeatRequest,
  BeatRequestSchema,
  REPLY_HEADER,
  type Slot,
} from "../../src/protocol/wire.ts";
import { importVerifyKey, thumbprint } from "../../src/trust/keys.ts";
import { openJws } from "../../src/trust/strict-jws.ts";
import { Authority, nonce } from "./authority.ts";
import { problem } from "./lies.ts";
import { LogStore } from "./log-store.ts";
import { ReceiptLedger } from "./receipt-ledger.ts";
import type { VirtualTime } from "./virtual-time.ts";

export type Route = "trust" | "activate" | "token" | "heartbeat" | "log" | "blob" | "wake";

/** One request as it arrived. */
export interface Exchange {
  readonly route: Route;
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** What a request meets: `honest` gives the true answer and lets it have its effect. */
export type Lie = (
  honest: () => Promise<Response>,
  exchange: Exchange,
  control: ScriptedControl,
) => Promise<Response>;

const ProofSchema = v.strictObject({
  htm: v.string(),
  htu: v.string(),
  jti: v.string(),
  iat: v.number(),
  bsha: v.string(),
  ath: v.optional(v.string()),
  nonce: v.optional(v.string()),
});
export const PROOF = {
  what: "proof",
  typ: TYP.dpop,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: ProofSchema,
  embeddedJwk: true,
} as const;

const digest = (data: string | Uint8Array) => createHash("sha256").update(data).digest("base64url");

export class ScriptedControl {
  readonly url = "http://127.0.0.1:7777/";
  readonly time: VirtualTime;
  readonly authority: Authority;

  /** Everything that broke the protocol, in words. A test of honest behaviour expects none. */
  readonly violations: string[] = [];
  /** Every request, with the boot-clock time of its arrival. */
  readonly requests: (Exchange & { readonly at: number })[] = [];
  /** Beats whose place in the chain was right, in order. */
  readonly beats: BeatRequest[] = [];
  receipts: ReceiptLedger;
  readonly logs = new LogStore();
  readonly blobs = new Map<string, Uint8Array>();
  readonly wakes: ReadableStreamDefaultController<Uint8Array>[] = [];

  intervalS = 60;
  slot: Slot = { held: true, max_agents: 3 };
  ttlS = 300;
  /** Which named attempts are granted a lease. */
  grants: (job: BeatJob) => boolean = () => true;
  /** Until when, on the boot clock, it takes each attempt's lease to hold. */
  readonly leasedUntil = new Map<string, number>();
  acks = true;
  /** When set, proofs must carry it. */
  dpopNonce: string | null = null;
  tokenLifetimeS = 600;
  readonly tokens = new Set<string>();
  /** How far the `Date` of its answers is from the true time. */
  skewMs = 0;
  /** Members of the next reply alone. */
  extra: Partial<BeatReply> = {};
  /** Envelopes for the next reply. */
  offers: string[] = [];
  chain = { n: 0, nonce: nonce() };
  private last: { rid: string; inst: string; shown: string; body: Uint8Array; reply: string } | null = null;
  private readonly script: { route: Route; lie: Lie }[] = [];
  private readonly habits = new Map<Route, Lie>();
  private readonly proofs = new Set<string>();
  private beating = 0;

  private constructor(time: VirtualTime, authority: Authority) {
    this.time = time;
    this.authority = authority;
    this.receipts = new ReceiptLedger(this.violations);
  }

  static async make(time: VirtualTime): Promise<ScriptedControl> {
    return new ScriptedControl(time, await Authority.make(() => time.nowS()));
  }

  /** The same server at this instant, for a life of the agent that branches off here. Both go on by themselves. */
  fork(): ScriptedControl {
    const twin = new ScriptedControl(this.time, this.authority);
    twin.receipts = this.receipts.fork(twin.violations);
    twin.chain = { ...this.chain };
    twin.last = this.last;
    twin.offers = [...this.offers];
    for (const token of this.tokens) twin.tokens.add(token);
    return twin;
  }

  async enrol(id: AgentId, jwk: Ed25519Jwk): Promise<void> {
    await this.authority.enrol(id, jwk);
    this.receipts.identity = jwk;
  }

  /** The next requests to `route` meet these, one each, in order. */
  next(route: Route, ...lies: Lie[]): void {
    for (const lie of lies) this.script.push({ route, lie });
  }

  /** All requests to `route` meet this one, until told otherwise. */
  always(route: Route, lie: Lie | null): void {
    if (lie === null) this.habits.delete(route);
    else this.habits.set(route, lie);
  }

  /** Puts a signed job into the next reply. */
  async offer(over: Partial<JobClaims> = {}): Promise<JobClaims> {
    const claims = this.authority.jobClaims(over);
    this.offers.push(await this.authority.job(claims));
    return claims;
  }

  /** "Beat now" to every open stream. */
  wake(text = "event: beat\ndata: {}\n\n"): void {
    for (const controller of this.wakes) controller.enqueue(new TextEncoder().encode(text));
  }

  /** Requests to one route, with their times. */
  to(route: Route) {
    return this.requests.filter((request) => request.route === route);
  }

  async handle(exchange: Exchange): Promise<Response> {
    this.requests.push({ ...exchange, at: this.time.bootMs() });
    const index = this.script.findIndex(({ route }) => route === exchange.route);
    const scripted = index < 0 ? undefined : this.script.splice(index, 1)[0];
    const lie = scripted?.lie ?? this.habits.get(exchange.route);
    const honest = () => this.time.track(this.honest(exchange));
    return await (lie === undefined ? honest() : lie(honest, exchange, this));
  }

  json(value: unknown, headers: Record<string, string> = {}): Response {
    const type = { "content-type": "application/json" };
    return new Response(JSON.stringify(value), { headers: { ...type, ...this.usualHeaders(), ...headers } });
  }

  usualHeaders(): Record<string, string> {
    const date = new Date(this.time.wallMs() + this.skewMs).toUTCString();
    return { date, ...(this.dpopNonce === null ? {} : { "dpop-nonce": this.dpopNonce }) };
  }

  /** A reply's text as an honest server sends it: under the signature of its order key. */
  async signed(reply: string): Promise<Response> {
    const header = await this.authority.reply(reply, this.last?.rid ?? "");
    const headers = { "content-type": "application/json", ...this.usualHeaders(), [REPLY_HEADER]: header };
    return new Response(reply, { headers });
  }

  /** The request id of the beat answered last. */
  get rid(): string {
    return this.last?.rid ?? "";
  }

  private async honest(exchange: Exchange): Promise<Response> {
    switch (exchange.route) {
      case "trust":
        return this.json(await this.authority.trustDocument());
      case "activate":
        throw new Error("a test that activates scripts the answer");
      case "token":
        return (await this.badProof(exchange, null)) ?? this.grantToken();
      case "heartbeat":
        return (await this.badBearer(exchange)) ?? (await this.heartbeat(exchange));
      case "log":
        return (await this.badBearer(exchange)) ?? this.logs.put(exchange, this);
      case "blob":
        return (await this.badBearer(exchange)) ?? this.blob(exchange.url.pathname);
      case "wake":
        return (await this.badBearer(exchange)) ?? this.openWake();
    }
  }

  private grantToken(): Response {
    const token = `token-${this.tokens.size + 1}-${nonce()}`;
    this.tokens.add(token);
    return this.json({ access_token: token, token_type: "DPoP", expires_in: this.tokenLifetimeS });
  }

  private async badBearer(exchange: Exchange): Promise<Response | null> {
    const token = (exchange.headers.get("authorization") ?? "").replace(/^DPoP /, "");
    if (!this.tokens.has(token)) return problem(this, 401, "BEARER_INVALID");
    return await this.badProof(exchange, token);
  }

  /** Holds a request's proof against the request (RFC 9449 section 4.3). */
  private async badProof(exchange: Exchange, token: string | null): Promise<Response | null> {
    const { claims, header } = await openJws(exchange.headers.get("dpop"), PROOF, ({ jwk }) =>
      importVerifyKey(jwk as Ed25519Jwk),
    );
    const checks: readonly (readonly [boolean, string])[] = [
      [(await thumbprint(header.jwk as Ed25519Jwk)) === this.authority.agent.jkt, "key"],
      [claims.htm === exchange.method, "method"],
      [claims.htu === exchange.url.origin + exchange.url.pathname, "url"],
      [claims.bsha === digest(exchange.body), "body"],
      [claims.ath === (token === null ? undefined : digest(token)), "token"],
      [Math.abs(claims.iat - this.time.nowS()) <= LIMITS.DPOP_AGE_S, "time"],
      [!this.proofs.has(claims.jti), "request"],
    ];
    this.proofs.add(claims.jti);
    const wrong = checks.find(([right]) => !right);
    if (wrong) {
      this.violations.push(`${exchange.route}: proof of another ${wrong[1]}`);
      return problem(this, 401, "DPOP_INVALID");
    }
    const fresh = this.dpopNonce === null || claims.nonce === this.dpopNonce;
    return fresh ? null : problem(this, 401, "USE_DPOP_NONCE");
  }

  private async heartbeat(exchange: Exchange): Promise<Response> {
    this.beating += 1;
    if (this.beating > 1) this.violations.push("two beats in flight");
    try {
      const parsed = parseDocument(exchange.body, BeatRequestSchema);
      if (parsed.ok) return await this.answer(parsed.value, exchange.body);
      this.violations.push(`beat: ${parsed.path} ${parsed.why}`);
      return problem(this, 400, "API_BODY_MALFORMED");
    } finally {
      this.beating -= 1;
    }
  }

  private async answer(request: BeatRequest, body: Uint8Array): Promise<Response> {
    const { rid, inst, n, nonce: shown } = request.beat;
    if (this.last?.rid === rid) {
      if (!Buffer.from(body).equals(this.last.body)) this.violations.push("a repeated beat with other bytes");
      return await this.signed(this.last.reply);
    }
    const inTurn = n === this.chain.n && shown === this.chain.nonce;
    const reforks = this.last !== null && shown === this.last.shown && inst !== this.last.inst;
    if (!inTurn && !reforks) {
      this.violations.push(`beat ${n} is out of the chain at ${this.chain.n}`);
      return problem(this, 409, "BEAT_STALE");
    }
    this.chain = { n: inTurn ? n + 1 : this.chain.n, nonce: nonce() };
    this.beats.push(request);
    const reply = JSON.stringify(await this.replyTo(request));
    this.last = { rid, inst, shown, body: Uint8Array.from(body), reply };
    return await this.signed(reply);
  }

  private async replyTo(request: BeatRequest): Promise<BeatReply> {
    const named = request.jobs.filter((job) => job.state !== "returned" && this.grants(job));
    const until = this.time.bootMs() + this.ttlS * 1000;
    for (const { jti, attempt } of named) this.leasedUntil.set(`${jti}/${attempt}`, until);
    const received = await this.receipts.take(request.receipts);
    const { extra } = this;
    this.extra = {};
    return {
      v: 1,
      standing: "live",
      n: this.chain.n,
      next: this.chain.nonce,
      time: this.time.wallMs(),
      interval_s: this.intervalS,
      slot: this.slot,
      jobs: this.offers.splice(0, LIMITS.REPLY_JOBS),
      orders: [],
      leases: named.map(({ jti, attempt }) => ({ jti, attempt, ttl_s: this.ttlS })),
      acks: this.acks ? received : [],
      ...extra,
    };
  }

  private blob(path: string): Response {
    const bytes = this.blobs.get(path.split("/").at(-1) ?? "");
    if (bytes === undefined) return problem(this, 404, "API_NOT_FOUND");
    return new Response(Buffer.from(bytes), { headers: { "content-type": "application/octet-stream" } });
  }

  private openWake(): Response {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.wakes.push(controller);
      },
    });
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  }
}
