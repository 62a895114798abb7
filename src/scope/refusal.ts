import { type Fault, type FaultParams, fault } from "../fault/fault.ts";
import type { FaultCode } from "../fault/registry.ts";
import type { JobLimits, Scope } from "../protocol/scope.ts";

/** A verified job, as far as its scope goes. */
export interface ScopedJob {
  readonly kind: string;
  readonly payload: unknown;
  readonly scope: Scope;
  readonly limits: JobLimits;
  readonly secrets?: Readonly<Record<string, string>> | undefined;
  readonly blobs?: readonly { readonly name: string }[] | undefined;
}

/** Why a job is refused whole. `rule` is the line of the policy that says so, when one does. */
export interface Refusal {
  readonly code: FaultCode;
  readonly entry: string;
  readonly rule?: string;
  readonly fault: Fault;
}

/** Builds a refusal; `entry` is what the job asked for. */
export function refuse<Code extends FaultCode>(
  code: Code,
  entry: string,
  params: FaultParams<Code>,
  rule?: string,
): Refusal {
  // The registry's row of `Code` names exactly `params`; the compiler cannot follow that through a generic.
  const made = (fault as (code: FaultCode, params: Readonly<Record<string, string | number>>) => Fault)(
    code,
    params,
  );
  return rule === undefined ? { code, entry, fault: made } : { code, entry, rule, fault: made };
}
