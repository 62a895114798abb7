import { type Fault, fault, isFault } from "../fault/fault.ts";
import type { AgentId } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { CLIENT_ASSERTION_TYPE, ROUTES, TokenReplySchema } from "../protocol/wire.ts";
import type { SigningKey } from "../trust/keys.ts";
import { makeAssertion, makeProof, newNonce } from "../trust/proof.ts";
import type { Clock, Random } from "./clock.ts";
import type { BearerFile } from "./state-files.ts";
import { STATE_FORMAT } from "./state-files.ts";
import { refusalOf, type Transport, type WireReply, type WireRequest } from "./transport.ts";

/** What a session needs from its surroundings. */
export interface SessionDeps {
  readonly url: string;
  readonly agentId: AgentId;
  readonly identity: SigningKey;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly loadBearer: () => BearerFile | null;
  readonly saveBearer: (bearer: BearerFile) => void;
}

export type SessionRequest = Omit<WireRequest, "url" | "headers"> & {
  /** Path below the Control Plane's URL, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** Sends requests as this agent: bearer bound to the key, a fresh DPoP proof on each (RFC 9449). */
export interface Session {
  send(request: SessionRequest): Promise<WireReply>;
  /** Headers that authorise one request, for callers that stream; at most one retry is theirs. */
  authorize(method: string, path: string): Promise<Record<string, string>>;
  /** Last seen difference between the Control Plane's clock and ours in ms (theirs minus ours); null before a reply. */
  clockOffsetMs(): number | null;
}

const SKEW_TOLD_MS = 30_000;
const REFRESH_BEFORE_S = 30;

/** Opens a session. Nothing is sent before the first request. */
export const openSession = (deps: SessionDeps): Session => new AgentSession(deps);

class AgentSession implements Session {
  private bearer: BearerFile | null;
  private nonce: string | undefined;
  private offsetMs: number | null = null;
  private readonly deps: SessionDeps;

  constructor(deps: SessionDeps) {
    this.deps = deps;
    this.bearer = deps.loadBearer();
  }

  async send({ path, ...request }: SessionRequest): Promise<WireReply> {
    const wire: WireRequest = { ...request, url: this.urlOf(path), headers: request.headers ?? {} };
    try {
      return await this.withNonce(wire, await this.accessToken());
    } catch (error) {
      if (!isFault(error) || refusalOf(error)?.problem !== "BEARER_INVALID") throw error;
      this.bearer = null; // the server forgot it or changed its key: one fresh token, one more try
      return await this.withNonce(wire, await this.accessToken());
    }
  }

  async authorize(method: string, path: string): Promise<Record<string, string>> {
    const token = await this.accessToken();
    const dpop = await this.proof(method, this.urlOf(path), undefined, token);
    return { authorization: `DPoP ${token}`, dpop };
  }

  clockOffsetMs(): number | null {
    return this.offsetMs;
  }

  private urlOf(path: string): string {
    return new URL(path, this.deps.url).href;
  }

  private nowS(): number {
    return Math.floor(this.deps.clock.wallMs() / 1000);
  }

  private proof(
    method: string,
    url: string,
    body: Uint8Array | undefined,
    token: string | undefined,
  ): Promise<string> {
    return makeProof(this.deps.identity, {
      method,
      url: url.split("?")[0] ?? url,
      ...(body === undefined ? {} : { body }),
      ...(token === undefined ? {} : { accessToken: token }),
      ...(this.nonce === undefined ? {} : { nonce: this.nonce }),
      jti: newNonce(this.deps.random),
      nowS: this.nowS(),
    });
  }

  /** One immediate retry when the server asks for its nonce (RFC 9449 section 8). */
  private async withNonce(request: WireRequest, token: string | undefined): Promise<WireReply> {
    try {
      return await this.attempt(request, token);
    } catch (error) {
      if (!isFault(error) || refusalOf(error)?.problem !== "USE_DPOP_NONCE") throw told(error, this.offsetMs);
    }
    try {
      return await this.attempt(request, token);
    } catch (error) {
      throw told(error, this.offsetMs);
    }
  }

  /** Sends once and learns nonce and clock from whatever comes back. */
  private async attempt(request: WireRequest, token: string | undefined): Promise<WireReply> {
    const headers = {
      ...request.headers,
      dpop: await this.proof(request.method, request.url, request.body, token),
      ...(token === undefined ? {} : { authorization: `DPoP ${token}` }),
    };
    try {
      const reply = await this.deps.transport({ ...request, headers });
      this.learn(reply.headers);
      return reply;
    } catch (error) {
      const refusal = isFault(error) ? refusalOf(error) : null;
      if (refusal) this.learn(refusal.headers);
      throw error;
    }
  }

  private learn(headers: Headers): void {
    this.nonce = headers.get("dpop-nonce") ?? this.nonce;
    const date = Date.parse(headers.get("date") ?? "");
    if (!Number.isNaN(date)) this.offsetMs = date - this.deps.clock.wallMs();
  }

  private async accessToken(): Promise<string> {
    if (this.bearer && this.bearer.expires_at_s > this.nowS() + REFRESH_BEFORE_S)
      return this.bearer.access_token;
    const url = this.urlOf(ROUTES.token);
    const assertion = await makeAssertion(this.deps.identity, {
      agentId: this.deps.agentId,
      audience: url,
      jti: newNonce(this.deps.random),
      nowS: this.nowS(),
    });
    const form = new URLSearchParams({
      grant_type: "client_credentials",
      client_assertion_type: CLIENT_ASSERTION_TYPE,
      client_assertion: assertion,
    });
    const reply = await this.withNonce(
      {
        method: "POST",
        url,
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new TextEncoder().encode(form.toString()),
        maxReplyBytes: LIMITS.SMALL_JWS_BYTES,
        accept: "application/json",
      },
      undefined,
    );
    const parsed = parseDocument(reply.body, TokenReplySchema);
    if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url, why: `${parsed.path}: ${parsed.why}` });
    const { access_token, expires_in } = parsed.value;
    this.bearer = { format: STATE_FORMAT, access_token, expires_at_s: this.nowS() + expires_in };
    this.deps.saveBearer(this.bearer);
    return access_token;
  }
}

/** A refused proof with a clock far off is told as what it is: the clock. */
function told(error: unknown, offsetMs: number | null): unknown {
  if (!isFault(error)) return error;
  const problem = refusalOf(error)?.problem;
  const timely =
    problem === "DPOP_INVALID" || problem === "BEARER_INVALID" || problem === "API_UNAUTHENTICATED";
  if (!timely || offsetMs === null || Math.abs(offsetMs) < SKEW_TOLD_MS) return error;
  return skewFault(error, offsetMs);
}

const skewFault = (cause: Fault, offsetMs: number): Fault =>
  fault("WIRE_CLOCK_SKEW", { seconds: Math.round(Math.abs(offsetMs) / 1000) }, cause);
