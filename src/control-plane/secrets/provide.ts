import type { FaultCode } from "../../fault/registry.ts";
import { encodeBase64url } from "../../protocol/base64url.ts";
import type { BlobRef } from "../../protocol/job.ts";
import type { X25519Jwk } from "../../protocol/scalars.ts";
import type { Scope } from "../../protocol/scope.ts";
import { type SealedSecret, type Work, workDigest } from "../../protocol/secret.ts";
import { thumbprint } from "../../trust/keys.ts";
import { seal } from "../../trust/sealed-box.ts";
import { jobAfter } from "../queue/job-table.ts";
import type { AgentRow, JobRow, Reader, SecretRow } from "../store/schema.ts";
import { listSecrets, secretsNamed } from "../store/secrets.ts";
import { allowsAgent, allowsKind } from "./limits-of-use.ts";
import type { SecretVault } from "./vault.ts";

/** JWEs by the secret's name. */
export type SealedSecrets = Readonly<Record<string, string>>;

/** What becomes of the jobs about to be offered to one agent. */
export interface Provision {
  /** To be offered, each with its secrets sealed for this agent and this job. */
  readonly offers: readonly { readonly job: JobRow; readonly secrets: SealedSecrets }[];
  /** The others as they are now: ended for want of a secret, or back in the queue for another agent. */
  readonly kept: readonly JobRow[];
}

/** The names of the secrets a job is given. */
export const secretNames = ({ secrets }: Pick<JobRow, "secrets">): readonly string[] =>
  JSON.parse(secrets) as readonly string[];

/**
 * Seals to the agent, fresh for this offer, what each job is given. A job whose secret is not there, no longer for its
 * kind, or does not open, ends `refused`: it is never run without. One whose secret this agent may not have waits.
 */
export async function provideSecrets(
  db: Reader,
  agent: AgentRow,
  jobs: readonly JobRow[],
  vault: SecretVault,
  nowMs: number,
): Promise<Provision> {
  const rows = await secretsNamed(db, agent.account_id, jobs.flatMap(secretNames));
  const offers: { job: JobRow; secrets: SealedSecrets }[] = [];
  const kept: JobRow[] = [];
  for (const job of jobs) {
    const found = find(job, agent, rows, vault);
    if (found.verdict === "provided") {
      offers.push({ job, secrets: await sealAll(job, found.values, agent) });
      continue;
    }
    const change =
      found.verdict === "withheld"
        ? jobAfter(job, { type: "withdrawn", nowMs })
        : jobAfter(job, { type: "unprovided", code: found.code, nowMs });
    if (change !== null) kept.push({ ...job, ...change });
  }
  return { offers, kept };
}

/** Names of the account's secrets that an agent with these labels may not have. */
export async function withheldNames(
  db: Reader,
  { account_id, labels }: Pick<AgentRow, "account_id" | "labels">,
): Promise<string[]> {
  const carried = JSON.parse(labels) as Readonly<Record<string, string>>;
  const rows = await listSecrets(db, account_id);
  return rows.filter((row) => !allowsAgent(row, carried)).map(({ name }) => name);
}

type Found =
  | { readonly verdict: "provided"; readonly values: readonly (readonly [string, string])[] }
  | { readonly verdict: "withheld" }
  | { readonly verdict: "refused"; readonly code: FaultCode };

function find(job: JobRow, agent: AgentRow, rows: ReadonlyMap<string, SecretRow>, vault: SecretVault): Found {
  const carried = JSON.parse(agent.labels) as Readonly<Record<string, string>>;
  const values: [string, string][] = [];
  let withheld = false;
  for (const name of secretNames(job)) {
    const row = rows.get(name);
    if (row === undefined || !allowsKind(row, job.kind))
      return { verdict: "refused", code: "SECRET_MISSING" };
    const value = vault.open(row);
    if (value === null) return { verdict: "refused", code: "SECRET_UNREADABLE" };
    withheld ||= !allowsAgent(row, carried);
    values.push([name, value]);
  }
  return withheld ? { verdict: "withheld" } : { verdict: "provided", values };
}

async function sealAll(
  job: JobRow,
  values: readonly (readonly [string, string])[],
  agent: AgentRow,
): Promise<SealedSecrets> {
  if (values.length === 0) return {};
  const work = workDigest(workOf(job));
  const jwk: X25519Jwk = { kty: "OKP", crv: "X25519", x: agent.sealing_x };
  const to = { kid: await thumbprint(jwk), jwk };
  const sealed = await Promise.all(
    values.map(async ([name, value]): Promise<[string, string]> => {
      const plain: SealedSecret = { v: 1, jti: job.id, work, name, value: encodeBase64url(value) };
      return [name, await seal(Buffer.from(JSON.stringify(plain)), to)];
    }),
  );
  return Object.fromEntries(sealed);
}

/** What the envelope of this job will say that it does. */
const workOf = ({ kind, payload, scope, blobs }: JobRow): Work => ({
  kind,
  payload: JSON.parse(payload) as Work["payload"],
  scope: JSON.parse(scope) as Scope,
  blobs: JSON.parse(blobs) as BlobRef[],
});
