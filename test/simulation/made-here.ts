// Who may run in a life of an agent: what that very life has verified and granted.

import type { Fault } from "../../src/fault/fault.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import type { Grant } from "../../src/protocol/receipt.ts";

type Decision = { readonly ok: true; readonly grant: Grant } | { readonly ok: false; readonly why: Fault };

/** A job that this process verified and granted, as a text of what a worker may be given. */
export interface LifeRecord {
  readonly granted: Map<string, string>;
  readonly refused: Set<string>;
}

const verified = new WeakSet<JobClaims>();

/** Notes claims that `verifyJob` has just let through. */
export function noteVerified(claims: JobClaims): void {
  verified.add(claims);
}

export const taskText = (kind: string, payload: unknown, grant: unknown): string =>
  JSON.stringify([kind, payload, grant], (_, value: unknown) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );

/** The same decisions, each written down in the record of the life that asked. */
export function recordJudgements(judge: (claims: JobClaims) => Decision) {
  const record: LifeRecord = { granted: new Map(), refused: new Set() };
  const decide = (claims: JobClaims): Decision => {
    const decision = judge(claims);
    const key = `${claims.jti}/${claims.attempt}`;
    if (!decision.ok) record.refused.add(key);
    else if (verified.has(claims)) {
      record.granted.set(key, taskText(claims.kind, claims.payload, decision.grant));
    }
    return decision;
  };
  return { decide, record };
}
