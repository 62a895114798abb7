import { fault } from "../../fault/fault.ts";
import type { AccountId } from "../../protocol/ids.ts";
import type { JobSubmission } from "../../protocol/job.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { type SecretPut, type SecretView, secretValueProblem } from "../../protocol/secret.ts";
import { isDeniedEnvName } from "../../scope/env-names.ts";
import type { Reader, SecretRow, Writer } from "../store/schema.ts";
import { listSecrets, putSecret, secretsNamed } from "../store/secrets.ts";
import { allowsKind } from "./limits-of-use.ts";
import type { SecretVault } from "./vault.ts";

/**
 * Keeps a value under a name, over whatever it was before; limits that are not given stay. Throws SECRET_NAME_DENIED,
 * SECRET_UNSUITABLE, SECRET_TOO_MANY.
 */
export async function keepSecret(
  db: Writer,
  accountId: AccountId,
  name: string,
  { value, kinds, labels }: SecretPut,
  { vault, nowMs }: { readonly vault: SecretVault; readonly nowMs: number },
): Promise<SecretRow> {
  if (isDeniedEnvName(name)) throw fault("SECRET_NAME_DENIED", { name });
  const why = secretValueProblem(value);
  if (why !== null) throw fault("SECRET_UNSUITABLE", { name, why });
  const rows = await listSecrets(db, accountId);
  const known = rows.find((row) => row.name === name);
  if (known === undefined && rows.length >= LIMITS.ACCOUNT_SECRETS) {
    throw fault("SECRET_TOO_MANY", { name, max: LIMITS.ACCOUNT_SECRETS });
  }
  const bound = {
    account_id: accountId,
    name,
    kinds: kinds === undefined ? (known?.kinds ?? "[]") : JSON.stringify(kinds),
    labels: labels === undefined ? (known?.labels ?? "{}") : JSON.stringify(labels),
  };
  const row = { ...bound, box: vault.seal(value, bound), updated_at: nowMs };
  await putSecret(db, row);
  return row;
}

/** A secret as it is shown: neither its value nor how long that is. */
export const secretView = (row: SecretRow, vault: SecretVault): SecretView => ({
  name: row.name,
  kinds: JSON.parse(row.kinds) as SecretView["kinds"],
  labels: JSON.parse(row.labels) as SecretView["labels"],
  updated_at: row.updated_at,
  readable: vault.open(row) !== null,
});

/** Holds a submission against what is kept. Throws SECRET_UNKNOWN, SECRET_OTHER_KIND. */
export async function requireSecrets(
  db: Reader,
  accountId: AccountId,
  { secrets = [], kind }: Pick<JobSubmission, "secrets" | "kind">,
): Promise<void> {
  const rows = await secretsNamed(db, accountId, secrets);
  for (const name of secrets) {
    const row = rows.get(name);
    if (row === undefined) throw fault("SECRET_UNKNOWN", { name });
    if (!allowsKind(row, kind)) throw fault("SECRET_OTHER_KIND", { name, kind });
  }
}
