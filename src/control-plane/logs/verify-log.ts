import type { AccountId } from "../../protocol/ids.ts";
import type { Services } from "../api/services.ts";
import { agentById } from "../store/agents.ts";
import { recordFinding } from "../store/anomalies.ts";
import { type LogKey, logRow, setLogVerified } from "../store/logs.ts";

/** Once a log is as long as its receipt says, holds it against the receipt's digest and notes the result. */
export async function verifyLog(accountId: AccountId, key: LogKey, services: Services): Promise<void> {
  const { store, logs, watch, nowMs, random } = services;
  const row = await logRow(store.db, accountId, key);
  if (row === null || row.expected_size === null || row.verified !== null) return;
  if (row.size !== row.expected_size || row.expected_sha256 === null) return;
  const found = await logs.digest({ ...key, account: accountId }, row.size);
  const verified = found === row.expected_sha256;
  await store.write(async (db) => {
    await setLogVerified(db, accountId, key, verified);
    if (verified) return;
    const what = `the log of job ${key.job}, attempt ${key.attempt}, is not the one its receipt names`;
    const evidence = { what, found, expected: row.expected_sha256, size: row.size };
    const epoch = (await agentById(db, accountId, row.agent_id))?.epoch ?? 0;
    const of = { accountId, agentId: row.agent_id, epoch, nowMs: nowMs() };
    await recordFinding(db, { ...of, kind: "log_mismatch", evidence }, random);
  });
  watch.tell(key.job);
}
