// What must hold after every step, each promise by its name.

import type { ExecutorTask } from "../../src/protocol/execution.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { BeatReply, BeatRequest } from "../../src/protocol/wire.ts";
import type { Answer, Asked, Control } from "./control.ts";
import type { Host } from "./host.ts";
import { taskText } from "./made-here.ts";

/** Jobs as they were submitted, by id. */
export interface Submitted {
  readonly key: string;
  readonly onLost: "fail" | "requeue";
  /** The Control Plane was brought back to a time before it. */
  readonly forgotten?: boolean;
  /** Whether a given host may run it. */
  readonly fits: (host: Host) => boolean;
}

export interface Book {
  readonly control: Control;
  readonly hosts: readonly Host[];
  readonly submitted: ReadonlyMap<string, Submitted>;
  /** Runs that go on now, by job. */
  readonly live: Map<string, { host: string; attempt: number }[]>;
  /** Every start of an attempt there ever was: how often, and where last. */
  readonly starts: Map<string, { times: number; host: string }>;
  readonly violate: (what: string) => void;
  /** Two hold one agent's state: which of them speaks for a job is told by fencing alone. */
  readonly twoHolders: boolean;
  /** Somebody with the order key grants leases as he likes: no attempt begins twice, but two attempts may overlap. */
  readonly thief: boolean;
}

const NOTHING_STARTS: readonly string[] = [
  "terminal",
  "tampered",
  "inactive",
  "unlicensed",
  "quarantined",
  "draining",
  "paused",
];

/** I-1: nothing reached a worker that was not verified, and granted as it is, in this life of the agent. */
export function onlyVerifiedRuns(book: Book, host: Host, task: ExecutorTask): void {
  const granted = host.life?.granted.get(`${task.jti}/${task.attempt}`);
  if (granted === undefined) book.violate(`I-1: ${task.jti}/${task.attempt} runs on ${host.name} unverified`);
  else if (granted !== taskText(task.kind, task.payload, task.grant)) {
    book.violate(`I-1: ${task.jti}/${task.attempt} runs on ${host.name} as something else than was verified`);
  }
  if (!book.submitted.has(task.jti)) book.violate(`I-1: ${task.jti} was never submitted`);
}

/** I-2: at most one live run of a job anywhere; an attempt begins at most once, whatever happens. */
export function oneLiveRun(book: Book, host: Host, task: ExecutorTask): void {
  const key = `${task.jti}/${task.attempt}`;
  const starts = (book.starts.get(key)?.times ?? 0) + 1;
  book.starts.set(key, { times: starts, host: host.name });
  if (starts > 1) book.violate(`I-2: ${key} begins for the ${starts}. time, on ${host.name}`);
  const others = book.live.get(task.jti) ?? [];
  const slept = book.hosts.some(({ sleptMs }) => sleptMs >= 60_000);
  if (others.length > 0 && !slept && !book.twoHolders && !book.thief) {
    const where = others.map((run) => `${run.host} (attempt ${run.attempt})`).join(", ");
    book.violate(`I-2: ${key} begins on ${host.name} while it runs on ${where}`);
  }
}

/** I-5, agent: a run's start is on disk before the worker has it. */
export function startIsWritten(book: Book, host: Host, task: ExecutorTask): void {
  const [row] = host.rows<{ state: string; started_at: number | null }>(
    "SELECT state, started_at FROM jobs WHERE jti = ? AND attempt = ?",
    task.jti,
    task.attempt,
  );
  if (row === undefined || !["running", "stopping"].includes(row.state) || row.started_at === null) {
    book.violate(
      `I-5: ${task.jti}/${task.attempt} runs on ${host.name}, its journal says ${row?.state ?? "nothing"}`,
    );
  }
}

/** I-6: an agent that is held starts nothing, neither by its own word nor by what its journal holds. */
export function heldStartsNothing(book: Book, host: Host, task: ExecutorTask): void {
  const state = host.agent?.state() ?? "inactive";
  if (NOTHING_STARTS.includes(state)) book.violate(`I-6: ${host.name} is ${state} and starts ${task.jti}`);
  const meta = new Map(
    host
      .rows<{ key: string; value: string }>("SELECT key, value FROM meta")
      .map((row) => [row.key, row.value]),
  );
  const epoch = epochOf(meta.get("license"));
  const quarantine = JSON.parse(meta.get("quarantine") ?? "null") as { epoch: number } | null;
  const held = meta.has("hold") || meta.has("terminal") || (quarantine !== null && quarantine.epoch >= epoch);
  if (held) book.violate(`I-6: ${host.name} was told to hold and starts ${task.jti}`);
}

/** The epoch of a license, read by nobody's code but this. */
function epochOf(license: string | undefined): number {
  const payload = license?.split(".")[1];
  if (payload === undefined) return 1;
  return (JSON.parse(Buffer.from(payload, "base64url").toString()) as { epoch: number }).epoch;
}

/** I-7: where a scope cannot be enforced, or the operator forbids it, nothing runs. */
export function nothingWeaker(book: Book, host: Host, task: ExecutorTask): void {
  const job = book.submitted.get(task.jti);
  if (job && !job.fits(host)) book.violate(`I-7: ${task.jti} runs on ${host.name}, which may not run it`);
}

/** I-5, agent: what a beat says is on disk before it leaves. I-4: and it is within its bounds. */
export function beatIsWritten(book: Book, host: Host, asked: Asked): void {
  const size = asked.body?.length ?? 0;
  if (!asked.url.endsWith("/v1/heartbeat")) {
    if (size > LIMITS.LOG_CHUNK_BYTES) book.violate(`I-4: a request of ${size} bytes to ${asked.url}`);
    return;
  }
  if (size > LIMITS.BEAT_BODY_BYTES) book.violate(`I-4: a beat of ${size} bytes`);
  const beat = JSON.parse(new TextDecoder().decode(asked.body)) as BeatRequest;
  if (
    beat.jobs.length > LIMITS.BEAT_JOBS ||
    beat.receipts.length > LIMITS.BEAT_RECEIPTS ||
    beat.rejected.length > LIMITS.BEAT_REJECTED
  ) {
    book.violate(`I-4: a beat of ${beat.jobs.length} jobs, ${beat.receipts.length} receipts`);
  }
  const [rid] = host.rows<{ value: string }>("SELECT value FROM meta WHERE key = 'pending_rid'");
  if (rid?.value !== beat.beat.rid)
    book.violate(`I-5: ${host.name} sends request ${beat.beat.rid}, which is not on its disk`);
  for (const jws of beat.receipts) {
    const rows = host.rows("SELECT 1 FROM receipts WHERE jws = ?", jws);
    if (rows.length === 0) book.violate(`I-5: ${host.name} sends a receipt that is not on its disk`);
  }
  for (const { jti, attempt } of beat.jobs) {
    const rows = host.rows("SELECT 1 FROM jobs WHERE jti = ? AND attempt = ?", jti, attempt);
    // A hand-back is forgotten with the first answer, while the request may still be told again.
    if (rows.length === 0)
      book.violate(`I-5: ${host.name} names ${jti}/${attempt}, which is not on its disk`);
  }
}

/** I-5, server: what an answer promises is committed when it leaves. I-4: and it is within its bounds. */
export function answerIsWritten(book: Book, asked: Asked, answer: Answer): void {
  if (answer.body.length > LIMITS.REPLY_BODY_BYTES)
    book.violate(`I-4: an answer of ${answer.body.length} bytes`);
  if (!asked.url.endsWith("/v1/heartbeat") || answer.status !== 200) return;
  const reply = JSON.parse(new TextDecoder().decode(answer.body)) as BeatReply;
  if (reply.standing !== "live") return;
  const { control } = book;
  if (reply.jobs.length > LIMITS.REPLY_JOBS) book.violate(`I-4: ${reply.jobs.length} offers at once`);
  for (const sha256 of reply.acks) {
    if (control.rows("SELECT 1 FROM receipts WHERE sha256 = ?", sha256).length === 0) {
      book.violate(`I-5: the receipt ${sha256} is acknowledged and not stored`);
    }
  }
  for (const { jti, attempt } of reply.leases) {
    const [job] = control.rows<{ lease_until: number | null; attempt: number; state: string }>(
      "SELECT lease_until, attempt, state FROM jobs WHERE id = ?",
      jti,
    );
    // The answer to a request told again may speak of what has ended since.
    if (job?.state === "finished" || (job?.attempt ?? 0) > attempt) continue;
    if (job === undefined || job.lease_until === null)
      book.violate(`I-5: a lease of ${jti}/${attempt} is not stored`);
  }
  // Unless another process of the agent was heard in the same breath, the reply is kept for the same request again.
  const { rid } = (JSON.parse(new TextDecoder().decode(asked.body)) as BeatRequest).beat;
  const [kept] = control.rows<{ reply: string }>(
    "SELECT reply FROM beats WHERE json_extract(chain, '$.last.rid') = ?",
    rid,
  );
  if (kept !== undefined && kept.reply !== new TextDecoder().decode(answer.body)) {
    book.violate("I-5: a reply leaves that is not stored for the same request again");
  }
}

/** I-4: what an agent keeps in memory and on disk for later has a bound. Looked at after every step. */
export function queuesAreBounded(book: Book, host: Host): void {
  if (host.timers.pending > TIMERS_MAX) book.violate(`I-4: ${host.name} has ${host.timers.pending} timers`);
  const live = host.runs().filter((run) => run.live).length;
  if (live > LIMITS.MAX_CONCURRENT_TASKS) book.violate(`I-4: ${host.name} runs ${live} jobs`);
}

/** Far above what an agent with its few jobs here can need, far below what a leak reaches. */
const TIMERS_MAX = 200;
