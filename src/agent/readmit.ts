import { type Fault, fault, isFault } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { X25519Jwk } from "../protocol/scalars.ts";
import { ReadmitReplySchema, type ReadmitRequest, ROUTES } from "../protocol/wire.ts";
import type { SigningKey } from "../trust/keys.ts";
import type { Log } from "./agent-log.ts";
import type { Clock } from "./clock.ts";
import type { WireReply, WireRequest } from "./transport.ts";

/** What proves to a Control Plane that has forgotten this agent that it knew it once. */
export interface Credentials {
  readonly license: string;
  readonly sealing: X25519Jwk;
}

export interface ReadmissionDeps {
  readonly url: string;
  readonly identity: SigningKey;
  readonly clock: Clock;
  /** The license in force and the sealing key; null when there is none to show. */
  readonly credentials?: () => Credentials | null;
  readonly log?: Log;
}

/** At most so often: a Control Plane that says no has its reasons, and a person has to look. */
const AGAIN_AFTER_MS = 300_000;

/**
 * Asks a Control Plane that was restored from a backup older than this agent to take it back. It goes into standby there
 * until an admin has confirmed it.
 */
export class Readmission {
  private readonly deps: ReadmissionDeps;
  private askedAtMs: number | null = null;

  constructor(deps: ReadmissionDeps) {
    this.deps = deps;
  }

  /** True when the server took the agent back; false when it refused, or was asked a short while ago. */
  async ask(
    send: (request: WireRequest) => Promise<WireReply>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { credentials, clock, log } = this.deps;
    const shown = credentials?.() ?? null;
    const nowMs = clock.bootMs();
    if (shown === null || (this.askedAtMs !== null && nowMs - this.askedAtMs < AGAIN_AFTER_MS)) return false;
    this.askedAtMs = nowMs;
    try {
      this.requireTaken(await send(this.request(shown, signal)));
      log?.("warn", "agent.readmitted", { url: this.deps.url });
      return true;
    } catch (error) {
      if (!isFault(error)) throw error;
      tellRefusal(error, log); // whoever asked for a token is told that the agent is not known
      return false;
    }
  }

  private requireTaken({ body }: WireReply): void {
    const parsed = parseDocument(body, ReadmitReplySchema);
    if (parsed.ok) return;
    throw fault("WIRE_REPLY_MALFORMED", { url: this.target(), why: `${parsed.path}: ${parsed.why}` });
  }

  private request({ license, sealing }: Credentials, signal: AbortSignal | undefined): WireRequest {
    const content: ReadmitRequest = {
      v: 1,
      license,
      identity_jwk: this.deps.identity.jwk,
      sealing_jwk: sealing,
    };
    return {
      method: "POST",
      url: this.target(),
      headers: { "content-type": "application/json" },
      body: new TextEncoder().encode(JSON.stringify(content)),
      maxReplyBytes: LIMITS.SMALL_JWS_BYTES,
      accept: "application/json",
      ...(signal === undefined ? {} : { signal }),
    };
  }

  private target(): string {
    return new URL(ROUTES.readmit, this.deps.url).href;
  }
}

const tellRefusal = ({ code, message, remedy }: Fault, log: Log | undefined): void =>
  log?.("error", "agent.not_readmitted", { code, why: message, remedy });
