// What must be true once faults have stopped and everything has come to its end.

import { isFault } from "../../src/fault/fault.ts";
import type { AnomalyKind } from "../../src/protocol/api.ts";
import { FIRST_PREV_SHA256 } from "../../src/protocol/receipt.ts";
import { openReceipt } from "../../src/trust/receipt.ts";
import type { Host } from "./host.ts";
import type { Book } from "./invariants.ts";

interface ServerReceipt {
  readonly sha256: string;
  readonly seq: number;
  readonly prev_sha256: string;
  readonly jws: string;
  readonly job_id: string;
  readonly attempt: number;
  readonly agent_id: string;
  readonly received_at: number;
}

const OPEN_STATES = "('accepted', 'leased', 'running', 'stopping')";

/** What is still under way, in words; empty when the world is quiet. */
export function restless(book: Book): string[] {
  const { control, hosts } = book;
  const jobs = control.rows<{ id: string; state: string }>(
    "SELECT id, state FROM jobs WHERE state <> 'finished'",
  );
  return [
    ...jobs.map(({ id, state }) => `job ${id} is ${state}`),
    ...hosts.flatMap((host) => restlessHost(host)),
  ];
}

function restlessHost(host: Host): string[] {
  if (!host.alive) return host.wanted ? [`${host.name} is down`] : [];
  if (host.copy) return [`${host.name} still runs`];
  const open = host.rows<{ jti: string; state: string }>(
    `SELECT jti, state FROM jobs WHERE state IN ${OPEN_STATES}`,
  );
  const owed = host.rows<{ seq: number }>("SELECT seq FROM receipts WHERE acked_at IS NULL");
  const logs = host.rows<{ jti: string }>("SELECT jti FROM jobs WHERE log_sent < log_size");
  const state = host.agent?.state();
  return [
    ...open.map(({ jti, state: at }) => `${host.name} has ${jti} ${at}`),
    ...owed.map(({ seq }) => `${host.name} owes receipt ${seq}`),
    ...logs.map(({ jti }) => `${host.name} owes the log of ${jti}`),
    ...(state === "idle" || state === "standby" ? [] : [`${host.name} is ${state}`]),
  ];
}

/** I-3: every accepted attempt has ended in exactly one acknowledged outcome, and both sides' books say the same. */
export async function everythingSettled(book: Book, keys: ReadonlyMap<string, string>): Promise<void> {
  for (const [id, { forgotten = false }] of book.submitted) {
    if (forgotten) continue;
    const [job] = book.control.rows<{ outcome: string | null; state: string }>(
      "SELECT outcome, state FROM jobs WHERE id = ?",
      id,
    );
    if (job === undefined) book.violate(`I-3: the job ${id} is lost`);
    else if (job.outcome === null) book.violate(`I-3: the job ${id} is ${job.state} without an outcome`);
  }
  // An attempt that was offered to two agents in turn may have a receipt of each: one ran it, one says it never began.
  for (const [key, { host }] of book.starts) {
    const [jti = "", attempt] = key.split("/");
    const count = book.control.rows(
      "SELECT 1 FROM receipts JOIN agents ON agents.id = agent_id WHERE job_id = ? AND attempt = ? AND hostname = ?",
      jti,
      Number(attempt),
      host,
    ).length;
    if (count !== 1 && !book.twoHolders) book.violate(`I-3: ${key} ran and has ${count} receipts`);
  }
  if (book.twoHolders) return; // two have written receipts under one name; which count is told by the jobs above
  for (const host of book.hosts) await chainsAgree(book, host, keys);
}

async function chainsAgree(book: Book, host: Host, keys: ReadonlyMap<string, string>): Promise<void> {
  const [agent] = [...keys].filter(([, name]) => name === host.name).map(([id]) => id);
  if (agent === undefined) return;
  const stored = book.control.rows<ServerReceipt>(
    "SELECT * FROM receipts WHERE agent_id = ? ORDER BY seq",
    agent,
  );
  const owners = book.control.rows<{ x: string }>(
    "SELECT identity_x AS x FROM agents WHERE id = ?1 UNION SELECT identity_x FROM retired_keys WHERE agent_id = ?1",
    agent,
  );
  let prev: string = FIRST_PREV_SHA256;
  for (const [index, receipt] of stored.entries()) {
    if (receipt.seq !== index + 1 || receipt.prev_sha256 !== prev) {
      book.violate(
        `I-3: ${host.name}'s receipts are ${stored.map(({ seq }) => seq)}, broken at ${receipt.seq}`,
      );
      return;
    }
    if (!(await isSigned(receipt, owners)))
      book.violate(`I-3: receipt ${receipt.seq} is not what its digest says`);
    prev = receipt.sha256;
  }
  const own = host.rows<{ seq: number; sha256: string }>("SELECT seq, sha256 FROM receipts ORDER BY seq");
  const same =
    own.length === stored.length && own.every(({ sha256 }, index) => sha256 === stored[index]?.sha256);
  if (!same)
    book.violate(`I-3: ${host.name} has ${own.length} receipts, the Control Plane ${stored.length} of them`);
  const twice = host.rows<{ jti: string; n: number }>(
    "SELECT jti, count(*) AS n FROM receipts GROUP BY jti, attempt HAVING n > 1",
  );
  for (const { jti } of twice) book.violate(`I-3: ${host.name} wrote two receipts for one attempt of ${jti}`);
}

async function isSigned(
  { jws, sha256 }: ServerReceipt,
  owners: readonly { readonly x: string }[],
): Promise<boolean> {
  for (const { x } of owners) {
    try {
      return (await openReceipt(jws, { kty: "OKP", crv: "Ed25519", x })).sha256 === sha256;
    } catch (error) {
      if (!isFault(error)) throw error; // it may be of an earlier key
    }
  }
  return false;
}

/** A cut network loses no byte: logs arrived whole, but for those whose workers lied about them. */
export function logsArrived(book: Book, liars: ReadonlySet<string>): void {
  const logs = book.control.rows<{
    job_id: string;
    attempt: number;
    size: number;
    expected_size: number | null;
    verified: number | null;
  }>("SELECT job_id, attempt, size, expected_size, verified FROM logs");
  for (const { job_id, attempt, size, expected_size, verified } of logs) {
    if (expected_size === null || expected_size === 0 || liars.has(`${job_id}/${attempt}`)) continue;
    if (verified !== 1)
      book.violate(
        `the log of ${job_id}/${attempt} has ${size} of ${expected_size} bytes here, verified ${verified}`,
      );
  }
}

/** Nobody was suspected of what nobody did. */
export function noFalseAlarm(book: Book, causes: ReadonlySet<AnomalyKind>): void {
  const found = book.control.rows<{ kind: AnomalyKind; evidence: string }>(
    "SELECT kind, evidence FROM anomalies",
  );
  for (const { kind, evidence } of found) {
    if (!causes.has(kind)) book.violate(`false alarm: ${kind} ${evidence}`);
  }
}
