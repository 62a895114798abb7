import type { AccountId } from "../../protocol/ids.ts";
import type { Services } from "../api/services.ts";
import { recordFinding } from "../store/anomalies.ts";
import { type LogKey, logRow, setLogVerified } from "../store/logs.ts";

/** Once a log is as long as its receipt says, holds it against the receipt's digest and notes the result. */
export async function verifyLog(accountId: AccountId, key: LogKey, services: Services): Promise<void> {
  const { store, logs, watch, nowMs } = services;
  const row = await logRow(store.db, accountId, key);
  if (row === null || row.expected_size === null || row.verified !== null) return;
  if (row.size !== row.expected_size || row.expected_sha256 === null) return;
  const found = await logs.digest({ ...key, account: accountId }, row.size);
  const verified = found === row.expected_sha256;
  await store.write(async (db) => {
    await setLogVerified(db, accountId, key, verified);
    if (verified) return;
    await recordFinding(db, {
      accountId,
      agentId: row.agent_id,
      kind: "log_mismatch",
      subject: `${key.job}.${key.attempt}`,
      evidence: { found, expected: row.expected_sha256, size: row.size },
      nowMs: nowMs(),
    });
  });
  watch.tell(key.job);
}
