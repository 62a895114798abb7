import type { AgentId, ControlPlaneId, LicenseId, Sha256 } from "../../protocol/ids.ts";
import type { BlobRef, JobClaims } from "../../protocol/job.ts";
import { LIMITS } from "../../protocol/limits.ts";
import type { JobLimits, Scope } from "../../protocol/scope.ts";
import { TYP } from "../../protocol/trust.ts";
import type { SigningKey } from "../../trust/keys.ts";
import { signJws } from "../../trust/sign-jws.ts";
import { sha256Of } from "../../trust/strict-jws.ts";
import type { SealedSecrets } from "../secrets/provide.ts";
import type { JobRow } from "../store/schema.ts";

/** The agent a job is signed for. */
export interface Addressee {
  readonly issuer: ControlPlaneId;
  readonly agentId: AgentId;
  readonly lic: LicenseId;
  readonly epoch: number;
  /** Number of this offer to this agent. */
  readonly seq: number;
}

/** Signs one job, with its secrets sealed to the agent, for one agent: at the moment it is offered, never before, for a quarter of an hour. */
export async function signEnvelope(
  job: JobRow,
  secrets: SealedSecrets,
  to: Addressee,
  key: SigningKey,
  nowS: number,
): Promise<{ jws: string; sha256: Sha256 }> {
  const blobs = JSON.parse(job.blobs) as BlobRef[];
  const claims: JobClaims = {
    v: 1,
    iss: to.issuer,
    aud: to.agentId,
    sub: "job",
    jti: job.id,
    attempt: job.attempt,
    seq: to.seq,
    epoch: to.epoch,
    lic: to.lic,
    kind: job.kind,
    payload: JSON.parse(job.payload) as Record<string, unknown>,
    scope: JSON.parse(job.scope) as Scope,
    limits: JSON.parse(job.limits) as JobLimits,
    ...(blobs.length === 0 ? {} : { blobs }),
    ...(Object.keys(secrets).length === 0 ? {} : { secrets: { ...secrets } }),
    on_lost: job.on_lost,
    iat: nowS,
    nbf: nowS,
    exp: nowS + LIMITS.JOB_LIFETIME_S,
  };
  const jws = await signJws(TYP.job, key, claims);
  return { jws, sha256: sha256Of(jws) };
}
