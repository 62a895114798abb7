import * as v from "valibot";
import { isFault } from "../fault/fault.ts";
import { decodeBase64url } from "../protocol/base64url.ts";
import { Sha256Schema } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { FIRST_PREV_SHA256 } from "../protocol/receipt.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import type { Journal, OpenReceipt } from "./journal.ts";
import type { SealFinding } from "./state-seal-scan.ts";

const LinkSchema = v.object({ seq: v.number(), prev_sha256: Sha256Schema });
const BaseSchema = v.strictObject({ seq: v.number(), sha256: Sha256Schema });

/** `status` reads while the agent writes: a receipt that comes between two of its queries is no trouble at the next look. */
const LOOKS_MAX = 3;

/**
 * Holds the journal's receipts against their chain: the newest is the one the head names, and each that is still owed
 * (one beat's worth) has the digest its row says and builds on the one before. The journal is not sealed; its head is
 * anchored in every heartbeat. Throws JOURNAL_UNUSABLE when the disk is the trouble.
 */
export function receiptChainFinding(journal: Journal): SealFinding | null {
  try {
    for (let looks = 1; ; looks++) {
      const what = headTrouble(journal) ?? linkTrouble(journal);
      if (what === null) return null;
      if (looks === LOOKS_MAX) return altered(what);
    }
  } catch (error) {
    // What SQLite complains of has a cause; what is written there and is no chain's head has none.
    if (!isFault(error, "JOURNAL_UNUSABLE") || error.cause !== undefined) throw error;
    return altered("altered: its head cannot be read");
  }
}

/**
 * Takes the receipts as they are, on an admin's word: one that is not what was signed, or does not build on the one
 * before, is forgotten, and the chain goes on from the newest number there is or was. What is forgotten without having
 * been delivered is lost; the Control Plane saw the gap.
 */
export function acceptReceipts(journal: Journal): void {
  journal.atomically(() => {
    if (headTrouble(journal) === null && linkTrouble(journal) === null) return;
    for (const receipt of journal.receipts()) if (!isWhole(receipt)) journal.forgetReceipt(receipt.seq);
    for (const receipt of journal.openReceipts()) {
      if (troubleOf(receipt, journal) !== null) journal.forgetReceipt(receipt.seq);
    }
    const { seq, sha256 } = journal.receipts().at(-1) ?? { seq: 0, sha256: FIRST_PREV_SHA256 };
    const head = journal.receiptHead();
    const next = head.seq > seq ? head : { seq, sha256 };
    journal.writeDocument("receipt_head", next);
    journal.writeDocument("receipt_base", next);
  });
}

const altered = (what: string): SealFinding => ({ code: "JOURNAL_ALTERED", name: "journal.db", what });

function headTrouble(journal: Journal): string | null {
  const head = journal.receiptHead();
  if (journal.receiptAt(head.seq + 1) !== null)
    return `altered: it holds a receipt above its head, ${head.seq}`;
  const row = journal.receiptAt(head.seq);
  if (row !== null) {
    return row.sha256 === head.sha256 && isWhole(row) ? null : `altered: receipt ${head.seq} is not its head`;
  }
  const told = baseOf(journal);
  const known = told?.seq === head.seq ? told.sha256 : head.seq === 0 ? FIRST_PREV_SHA256 : null;
  return known === head.sha256 ? null : `altered: receipt ${head.seq}, its newest, is missing`;
}

function linkTrouble(journal: Journal): string | null {
  for (const receipt of journal.openReceipts()) {
    const trouble = troubleOf(receipt, journal);
    if (trouble !== null) return trouble;
  }
  return null;
}

function troubleOf(receipt: OpenReceipt, journal: Journal): string | null {
  const payload = decodeBase64url(receipt.jws.split(".")[1] ?? "");
  const link = payload && parseDocument(payload, LinkSchema);
  if (!isWhole(receipt) || !link?.ok || link.value.seq !== receipt.seq) {
    return `altered: receipt ${receipt.seq} is not what was signed`;
  }
  const before = digestBefore(journal, receipt.seq);
  const follows = before === null || before === link.value.prev_sha256;
  return follows ? null : `altered: receipt ${receipt.seq} does not build on the one before`;
}

const isWhole = ({ jws, sha256 }: OpenReceipt): boolean => sha256Of(jws) === sha256;

/** Null when the receipt before is not kept any more. */
function digestBefore(journal: Journal, seq: number): string | null {
  if (seq === 1) return FIRST_PREV_SHA256;
  const base = baseOf(journal);
  return journal.receiptAt(seq - 1)?.sha256 ?? (base?.seq === seq - 1 ? base.sha256 : null);
}

/** Where the Control Plane told this journal to go on from, after it had been brought back from a copy. */
const baseOf = (journal: Journal) => journal.readDocument("receipt_base", BaseSchema);
