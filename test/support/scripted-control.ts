// A Control Plane that keeps a script: honest by default, and at any request whatever a test tells it to be.

import type { AgentId } from "../../src/protocol/ids.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import { parseDocument } from "../../src/protocol/json.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import type { LicenseClaims } from "../../src/protocol/trust.ts";
import {
  type BeatJob,
  type BeatReply,
  type BeatRequest,
  BeatRequestSchema,
  type HeldReply,
  REPLY_HEADER,
  type RekeyReply,
  type Slot,
} from "../../src/protocol/wire.ts";
import { Authority, nonce } from "./authority.ts";
import { problem } from "./lies.ts";
import { LogStore } from "./log-store.ts";
import { OrderDesk } from "./order-desk.ts";
import { misfitOf, openProof, type Proof } from "./proof-door.ts";
import { ReceiptLedger } from "./receipt-ledger.ts";
import { changeKeys } from "./rekey-desk.ts";
import type { VirtualTime } from "./virtual-time.ts";

export type Route = "trust" | "activate" | "token" | "heartbeat" | "log" | "blob" | "wake" | "rekey";

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
  /** Tokens it gave, and the key each is bound to. */
  readonly tokens = new Map<string, string>();
  /** How far the `Date` of its answers is from the true time. */
  skewMs = 0;
  /** Members of the next reply alone. */
  extra: Partial<BeatReply> = {};
  /** Members of the next held answer alone. */
  extraHeld: Partial<HeldReply> = {};
  /** Envelopes for the next reply. */
  offers: string[] = [];
  chain = { n: 0, nonce: nonce() };
  /** Standing orders. */
  desk: OrderDesk;
  /** It answers beats with orders only. */
  quarantined = false;
  /** The process it would take new keys from. */
  recovering: string | null = null;
  /** What the license after a change of keys says else. */
  nextLicense: Partial<LicenseClaims> = {};
  /** The answer to a change of keys, until the new key has beaten. */
  rekeyed: { current: string; known: RekeyReply } | null = null;
  /** Keys that were replaced. */
  readonly retired = new Set<string>();
  /** Every beat it understood, in the chain or not. */
  readonly heard: BeatRequest[] = [];
  private last: { rid: string; inst: string; shown: string; body: Uint8Array; reply: string } | null = null;
  private readonly script: { route: Route; lie: Lie }[] = [];
  private readonly habits = new Map<Route, Lie>();
  private readonly proofs = new Set<string>();
  private beating = 0;

  private constructor(time: VirtualTime, authority: Authority) {
    this.time = time;
    this.authority = authority;
    this.receipts = new ReceiptLedger(this.violations);
    this.desk = new OrderDesk(authority);
  }

  static async make(time: VirtualTime): Promise<ScriptedControl> {
    return new ScriptedControl(time, await Authority.make(() => time.nowS()));
  }

  /** The same server at this instant, for a life of the agent that branches off here. Both go on by themselves. */
  fork(): ScriptedControl {
    const twin = new ScriptedControl(this.time, this.authority.fork());
    twin.receipts = this.receipts.fork(twin.violations);
    twin.chain = { ...this.chain };
    twin.last = this.last;
    twin.offers = [...this.offers];
    for (const [token, jkt] of this.tokens) twin.tokens.set(token, jkt);
    for (const jkt of this.retired) twin.retired.add(jkt);
    twin.desk = this.desk.fork(twin.authority);
    twin.nextLicense = this.nextLicense;
    twin.quarantined = this.quarantined;
    twin.recovering = this.recovering;
    twin.rekeyed = this.rekeyed;
    return twin;
  }

  async enrol(id: AgentId, jwk: Ed25519Jwk): Promise<void> {
    await this.authority.enrol(id, jwk);
    this.receipts.identities.push(jwk);
  }

  /** Quarantines the agent: from the next beat on it is answered with orders only. */
  quarantine(reason = "seen twice"): void {
    this.quarantined = true;
    this.desk.give({ type: "quarantine", reason });
  }

  /** An admin picks this process. */
  recover(inst: string): void {
    this.recovering = inst;
    this.rekeyed = null;
    this.desk.give({ type: "recover", inst });
  }

  /** A new chain: nothing of the one before is answered any more. */
  forgetBeats(): void {
    this.last = null;
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
  async signed(reply: string, rid = this.rid): Promise<Response> {
    const header = await this.authority.reply(reply, rid);
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
        return await this.grantToken(exchange);
      case "heartbeat":
        return (await this.badBearer(exchange)) ?? (await this.heartbeat(exchange));
      case "rekey":
        return (await this.badBearer(exchange)) ?? (await this.changeKeys(exchange));
      case "log":
        return (await this.badBearer(exchange)) ?? this.logs.put(exchange, this);
      case "blob":
        return (await this.badBearer(exchange)) ?? this.blob(exchange.url.pathname);
      case "wake":
        return (await this.badBearer(exchange)) ?? this.openWake();
    }
  }

  private async grantToken(exchange: Exchange): Promise<Response> {
    const proof = await openProof(exchange);
    const bad = this.badProof(proof, exchange, null);
    if (bad !== null) return bad;
    const token = `token-${this.tokens.size + 1}-${nonce()}`;
    this.tokens.set(token, proof.jkt);
    return this.json({ access_token: token, token_type: "DPoP", expires_in: this.tokenLifetimeS });
  }

  private tokenOf({ headers }: Exchange): string {
    return (headers.get("authorization") ?? "").replace(/^DPoP /, "");
  }

  /** The key the request's token is bound to. */
  private askerOf(exchange: Exchange): string {
    return this.tokens.get(this.tokenOf(exchange)) ?? "";
  }

  private async badBearer(exchange: Exchange): Promise<Response | null> {
    const token = this.tokenOf(exchange);
    const proof = await openProof(exchange);
    if (this.tokens.get(token) !== proof.jkt) return problem(this, 401, "BEARER_INVALID");
    const bad = this.badProof(proof, exchange, token);
    if (bad !== null) return bad;
    const gone = this.retired.has(proof.jkt) && exchange.route !== "heartbeat" && exchange.route !== "rekey";
    return gone ? problem(this, 403, "AGENT_SUPERSEDED") : null;
  }

  /** Holds a request's proof against the request, and asks for the server's nonce. */
  private badProof({ claims, jkt }: Proof, exchange: Exchange, token: string | null): Response | null {
    const known = this.authority.holder(jkt) !== null && !this.proofs.has(claims.jti);
    const wrong = known ? misfitOf(claims, exchange, token, this.time.nowS()) : "key or request";
    this.proofs.add(claims.jti);
    if (wrong !== null) {
      this.violations.push(`${exchange.route}: proof of another ${wrong}`);
      return problem(this, 401, "DPOP_INVALID");
    }
    const fresh = this.dpopNonce === null || claims.nonce === this.dpopNonce;
    return fresh ? null : problem(this, 401, "USE_DPOP_NONCE");
  }

  private async changeKeys(exchange: Exchange): Promise<Response> {
    const asking = this.authority.holder(this.askerOf(exchange));
    if (asking === null) throw new Error("a token of nobody");
    return await changeKeys(this, asking, exchange.body);
  }

  private async heartbeat(exchange: Exchange): Promise<Response> {
    this.beating += 1;
    if (this.beating > 1) this.violations.push("two beats in flight");
    try {
      const parsed = parseDocument(exchange.body, BeatRequestSchema);
      if (parsed.ok) {
        this.heard.push(parsed.value);
        return await this.answer(parsed.value, exchange.body, this.askerOf(exchange));
      }
      this.violations.push(`beat: ${parsed.path} ${parsed.why}`);
      return problem(this, 400, "API_BODY_MALFORMED");
    } finally {
      this.beating -= 1;
    }
  }

  private async answer(request: BeatRequest, body: Uint8Array, jkt: string): Promise<Response> {
    const { rid, inst, n, nonce: shown } = request.beat;
    if (this.retired.has(jkt)) return await this.hold(request, [await this.superseded(request, jkt)]);
    if (this.quarantined) return await this.hold(request, await this.desk.open(request));
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
    this.rekeyed = null;
    const reply = JSON.stringify(await this.replyTo(request));
    this.last = { rid, inst, shown, body: Uint8Array.from(body), reply };
    return await this.signed(reply);
  }

  /** A retired key is told that it is over. */
  private superseded({ orders: { epoch, seq } }: BeatRequest, jkt: string): Promise<string> {
    const order = { type: "terminal", reason: "superseded", grace_s: 0 } as const;
    return this.authority.order(order, { jkt, epoch, seq: seq + 1 });
  }

  private async hold({ beat: { rid } }: BeatRequest, orders: string[]): Promise<Response> {
    const held: HeldReply = {
      v: 1,
      standing: "held",
      time: this.time.wallMs(),
      interval_s: this.intervalS,
      orders,
      ...this.extraHeld,
    };
    this.extraHeld = {};
    return await this.signed(JSON.stringify(held), rid);
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
      orders: await this.desk.open(request),
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
