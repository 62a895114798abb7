import { isFault } from "../../fault/fault.ts";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { ReceiptExportHeader, ReceiptExportLine } from "../../protocol/receipt-export.ts";
import type { Ed25519Jwk } from "../../protocol/scalars.ts";
import type { TrustDocument } from "../../protocol/trust.ts";
import { thumbprint } from "../../trust/keys.ts";
import { openLicense } from "../../trust/license.ts";
import { openTrust, type TrustSet } from "../../trust/trust-set.ts";
import type { KeySource } from "../keys/keyring.ts";
import { lastReceipt } from "../store/receipts.ts";
import { retiredKeysOf } from "../store/retired-keys.ts";
import type { AgentRow, Reader } from "../store/schema.ts";

/** A page holds so many characters of receipts; the first one always fits. */
const PAGE_CHARS = 4_194_304;
const PAGE_LINES = 256;

interface KeyLicense {
  readonly jwk: Ed25519Jwk;
  readonly license: string;
}

/** The head of an export of an agent's receipts numbered `since` and up. */
export async function exportHeader(
  db: Reader,
  agent: AgentRow,
  since: number,
  keys: KeySource,
): Promise<ReceiptExportHeader> {
  const mine = await keysOf(db, agent);
  return {
    v: 1,
    format: "agentina-receipts",
    agent: agent.id,
    trust: await provers(mine, agent.id, await keys.history()),
    keys: mine,
    range: await rangeOf(db, agent, since),
  };
}

/** The agent's keys, the oldest first. One retired before licenses were kept proves nothing, and is left out. */
async function keysOf(db: Reader, agent: AgentRow): Promise<KeyLicense[]> {
  const retired = await retiredKeysOf(db, agent.account_id, agent.id);
  const former = retired
    .toSorted((a, b) => a.epoch - b.epoch)
    .flatMap(({ identity_x, license }) => (license === null ? [] : [{ jwk: jwkOf(identity_x), license }]));
  return [...former, { jwk: jwkOf(agent.identity_x), license: agent.license }];
}

const jwkOf = (x: string): Ed25519Jwk => ({ kty: "OKP", crv: "Ed25519", x });

/** For each license the newest key set under which it opens: keys leave the set in time. */
async function provers(
  keys: readonly KeyLicense[],
  agentId: AgentId,
  history: readonly TrustDocument[],
): Promise<TrustDocument[]> {
  const sets = (await Promise.all(history.map((document) => openTrust(document, 0)))).toReversed();
  const needed = new Set<TrustSet>(sets.slice(0, 1));
  for (const { jwk, license } of keys) {
    const jkt = await thumbprint(jwk);
    for (const set of sets) {
      if (!(await opens(license, set, jkt, agentId))) continue;
      needed.add(set);
      break;
    }
  }
  return [...needed].map(({ document }) => document);
}

async function opens(license: string, trust: TrustSet, jkt: string, agentId: AgentId): Promise<boolean> {
  try {
    await openLicense(license, trust, { jkt, agentId });
    return true;
  } catch (error) {
    if (isFault(error)) return false; // of another key set; one that none opens is what verification finds
    throw error;
  }
}

async function rangeOf(
  db: Reader,
  { account_id, id }: AgentRow,
  since: number,
): Promise<ReceiptExportHeader["range"]> {
  const last = await lastReceipt(db, account_id, id);
  const { first } = await db
    .selectFrom("receipts")
    .select((eb) => eb.fn.min<number | null>("seq").as("first"))
    .where("account_id", "=", account_id)
    .where("agent_id", "=", id)
    .where("seq", ">=", since)
    .executeTakeFirstOrThrow();
  if (last === null || first === null) return null;
  return { first: Number(first), last: last.seq, head: last.sha256 };
}

/** The agent's receipts numbered from `since` to `until`, as many as a page holds. */
export async function exportLines(
  db: Reader,
  of: { readonly accountId: AccountId; readonly agentId: AgentId },
  range: { readonly since: number; readonly until: number },
): Promise<ReceiptExportLine[]> {
  const rows = await db
    .selectFrom("receipts")
    .select(["seq", "sha256", "jws"])
    .where("account_id", "=", of.accountId)
    .where("agent_id", "=", of.agentId)
    .where("seq", ">=", range.since)
    .where("seq", "<=", range.until)
    .orderBy("seq")
    .orderBy("received_at")
    .orderBy("sha256")
    .limit(PAGE_LINES)
    .execute();
  let chars = 0;
  const lines: ReceiptExportLine[] = [];
  for (const { seq, sha256, jws } of rows) {
    chars += jws.length;
    if (lines.length > 0 && chars > PAGE_CHARS) break;
    lines.push({ seq, sha256, receipt: jws });
  }
  return lines;
}
