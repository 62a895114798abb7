import { type Fault, fault, isFault } from "../fault/fault.ts";
import type { AgentId } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { CLIENT_ASSERTION_TYPE, ROUTES, TokenReplySchema } from "../protocol/wire.ts";
import { makeAssertion, makeProof, newNonce } from "../trust/proof.ts";
import type { Random } from "./clock.ts";
import { Readmission, type ReadmissionDeps } from "./readmit.ts";
import type { BearerFile } from "./state-files.ts";
import { STATE_FORMAT } from "./state-files.ts";
import { refusalOf, type Transport, type WireReply, type WireRequest } from "./transport.ts";

/** What a session needs from its surroundings. */
export interface SessionDeps extends ReadmissionDeps {
  readonly agentId: AgentId;
  readonly transport: Transport;
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
  /** Headers that authorise one request, for callers that stream. They hand what came of it to `learn`. */
  authorize(method: string, path: string, signal?: AbortSignal): Promise<Record<string, string>>;
  /** Learns from the refusal of an authorised request (nonce, clock, a bearer the server no longer takes). */
  learn(why: Fault): void;
  /** Last seen difference between the Control Plane's clock and ours in ms (theirs minus ours); null before a reply. */
  clockOffsetMs(): number | null;
}

const SKEW_TOLD_MS = 30_000;
const REFRESH_BEFORE_S = 30;

/** Opens a session. Nothing is sent before the first request. */
export const openSession = (deps: SessionDeps): Session => new AgentSession(deps);

class AgentSession implements Session {
  private bearer: BearerFile | null;
  private asking: Promise<string> | null = null;
  private nonce: string | undefined;
  private offsetMs: number | null = null;
  private readonly deps: SessionDeps;
  private readonly readmission: Readmission;

  constructor(deps: SessionDeps) {
    this.deps = deps;
    this.readmission = new Readmission(deps);
    this.bearer = deps.loadBearer();
  }

  async send({ path, ...request }: SessionRequest): Promise<WireReply> {
    const wire: WireRequest = { ...request, url: this.urlOf(path), headers: request.headers ?? {} };
    const once = async () => {
      const token = await this.accessToken(request.signal);
      return await this.withNonce(async () => wire, token);
    };
    try {
      return await once();
    } catch (error) {
      if (problemOf(error) !== "BEARER_INVALID") throw told(error, this.offsetMs);
    }
    try {
      return await once(); // the server forgot the token or changed its key: one fresh one, one more try
    } catch (error) {
      throw told(error, this.offsetMs);
    }
  }

  async authorize(method: string, path: string, signal?: AbortSignal): Promise<Record<string, string>> {
    try {
      const token = await this.accessToken(signal);
      return await this.credentials({ method, url: this.urlOf(path) }, token);
    } catch (error) {
      throw told(error, this.offsetMs);
    }
  }

  learn(why: Fault): void {
    const refusal = refusalOf(why);
    if (refusal === null) return;
    this.hear(refusal.headers);
    if (refusal.problem === "BEARER_INVALID") this.bearer = null;
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

  private async credentials(
    { method, url, body }: { method: string; url: string; body?: Uint8Array },
    token: string | undefined,
  ): Promise<Record<string, string>> {
    const dpop = await makeProof(this.deps.identity, {
      method,
      url: url.split("?")[0] ?? url,
      ...(body === undefined ? {} : { body }),
      ...(token === undefined ? {} : { accessToken: token }),
      ...(this.nonce === undefined ? {} : { nonce: this.nonce }),
      jti: newNonce(this.deps.random),
      nowS: this.nowS(),
    });
    return { dpop, ...(token === undefined ? {} : { authorization: `DPoP ${token}` }) };
  }

  /** One immediate retry when the server asks for its nonce (RFC 9449 section 8). */
  private async withNonce(make: () => Promise<WireRequest>, token: string | undefined): Promise<WireReply> {
    try {
      return await this.attempt(await make(), token);
    } catch (error) {
      if (problemOf(error) !== "USE_DPOP_NONCE") throw error;
    }
    return await this.attempt(await make(), token);
  }

  /** Sends once and learns nonce and clock from whatever comes back. */
  private async attempt(request: WireRequest, token: string | undefined): Promise<WireReply> {
    const headers = { ...request.headers, ...(await this.credentials(request, token)) };
    try {
      const reply = await this.deps.transport({ ...request, headers });
      this.hear(reply.headers);
      return reply;
    } catch (error) {
      // The token is dropped only while it is still the one refused: another request may have fetched a newer one.
      if (isFault(error) && (problemOf(error) !== "BEARER_INVALID" || this.bearer?.access_token === token)) {
        this.learn(error);
      }
      throw error;
    }
  }

  private hear(headers: Headers): void {
    this.nonce = headers.get("dpop-nonce") ?? this.nonce;
    const date = Date.parse(headers.get("date") ?? "");
    if (!Number.isNaN(date)) this.offsetMs = date - this.deps.clock.wallMs();
  }

  /** The token in use, or a fresh one; requests that want one at the same time share the asking. */
  private async accessToken(signal: AbortSignal | undefined): Promise<string> {
    if (this.bearer && this.bearer.expires_at_s > this.nowS() + REFRESH_BEFORE_S)
      return this.bearer.access_token;
    this.asking ??= this.askForToken(signal).finally(() => {
      this.asking = null;
    });
    return await this.asking;
  }

  private async askForToken(signal: AbortSignal | undefined): Promise<string> {
    const url = this.urlOf(ROUTES.token);
    const reply = await this.tokenReply(url, signal);
    const parsed = parseDocument(reply.body, TokenReplySchema);
    if (!parsed.ok) throw fault("WIRE_REPLY_MALFORMED", { url, why: `${parsed.path}: ${parsed.why}` });
    const { access_token, expires_in } = parsed.value;
    this.bearer = { format: STATE_FORMAT, access_token, expires_at_s: this.nowS() + expires_in };
    try {
      this.deps.saveBearer(this.bearer);
    } catch (error) {
      if (!isFault(error)) throw error; // the file spares the next start a request, no more
    }
    return access_token;
  }

  /** A server that has forgotten the agent is asked to take it back, and then once more for the token. */
  private async tokenReply(url: string, signal: AbortSignal | undefined): Promise<WireReply> {
    const once = () => this.withNonce(async () => await this.tokenRequest(url, signal), undefined);
    try {
      return await once();
    } catch (error) {
      if (problemOf(error) !== "AGENT_UNKNOWN") throw error;
      const send = (request: WireRequest) => this.withNonce(async () => request, undefined);
      if (!(await this.readmission.ask(send, signal))) throw error;
    }
    return await once();
  }

  /** A client assertion is good for one request, so each try carries its own. */
  private async tokenRequest(url: string, signal: AbortSignal | undefined): Promise<WireRequest> {
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
    return {
      method: "POST",
      url,
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new TextEncoder().encode(form.toString()),
      maxReplyBytes: LIMITS.SMALL_JWS_BYTES,
      accept: "application/json",
      ...(signal === undefined ? {} : { signal }),
    };
  }
}

const problemOf = (error: unknown): string | null =>
  isFault(error) ? (refusalOf(error)?.problem ?? null) : null;

/** A refused credential while the clocks are far apart is told as what it is: the clock. */
function told(error: unknown, offsetMs: number | null): unknown {
  const problem = problemOf(error);
  const timely =
    problem === "DPOP_INVALID" || problem === "BEARER_INVALID" || problem === "API_UNAUTHENTICATED";
  if (!timely || offsetMs === null || Math.abs(offsetMs) < SKEW_TOLD_MS) return error;
  return fault("WIRE_CLOCK_SKEW", { seconds: Math.round(Math.abs(offsetMs) / 1000) }, error);
}
