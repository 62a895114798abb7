import type { TestRunPayload } from "../protocol/job.ts";
import type { Scope } from "../protocol/scope.ts";
import { isDeniedEnvName } from "./env-names.ts";
import { type Refusal, refuse } from "./refusal.ts";

/** Steps of a `test.run` that may be given secrets. */
export const SECRET_STEPS = ["setup", "run"] as const;

/**
 * Holds a job's secrets against its payload and scope: every one may be set, is declared in scope.env, is given to a
 * step, and is no plain value as well; no step wants one that the job does not carry. Pure; both programs ask it.
 */
export function checkSecretUse(
  carried: readonly string[],
  { secrets = {}, env }: Pick<TestRunPayload, "secrets" | "env">,
  scope: Pick<Scope, "env">,
): Refusal | null {
  for (const step of SECRET_STEPS) {
    const name = secrets[step]?.find((wanted) => !carried.includes(wanted));
    if (name !== undefined) return refuse("SECRET_UNCARRIED", name, { name, step });
  }
  for (const name of carried) {
    if (isDeniedEnvName(name)) return refuse("SCOPE_ENV_DENIED", name, { entry: name });
    if (!scope.env.includes(name)) {
      return refuse("SCOPE_PAYLOAD_OUTSIDE", name, { entry: name, list: "scope.env" });
    }
    if (Object.hasOwn(env, name)) return refuse("SECRET_DOUBLED", name, { name });
    if (!SECRET_STEPS.some((step) => secrets[step]?.includes(name))) {
      return refuse("SECRET_UNUSED", name, { name });
    }
  }
  return null;
}
