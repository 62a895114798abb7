// What one agent writes down, without the agent: a real journal, real signatures and the real code that takes an answer;
// time, host and loop are the test's.

import type { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { abandonJobs } from "../../src/agent/abandon.ts";
import { type BeatFacts, composeBeat } from "../../src/agent/compose.ts";
import { applyAnswer } from "../../src/agent/exchange.ts";
import { IN_FLIGHT } from "../../src/agent/job-table.ts";
import { Journal } from "../../src/agent/journal.ts";
import { ReceiptWriter, storeEnding } from "../../src/agent/receipts.ts";
import { standing } from "../../src/agent/standing.ts";
import { verdictOfRun } from "../../src/agent/verdict.ts";
import { fault } from "../../src/fault/fault.ts";
import type { JobClaims } from "../../src/protocol/job.ts";
import type { Order } from "../../src/protocol/order.ts";
import { TYP } from "../../src/protocol/trust.ts";
import type { BeatReply, BeatRequest } from "../../src/protocol/wire.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import { FINGERPRINT } from "../support/authority.ts";
import { scratchDirectory } from "../support/scratch.ts";
import { AGENT, ISSUER, makeWorld, NOW_S } from "../unit/trust/signing-world.ts";

export const world = await makeWorld();
const text = await signJws(TYP.license, world.keys.license, world.license);
const license = { claims: world.license, text };
const INST = "i".repeat(22);
const NOW_MS = NOW_S * 1000;

/** One thing that happens to an agent. Numbers pick among what there is when it happens. */
export type Step =
  | {
      readonly type: "answer";
      readonly offers: readonly Offer[];
      /** Which of the jobs the beat names get a lease: bit by bit. */
      readonly leases: number;
      readonly acks: boolean;
      readonly orders: readonly Order[];
      readonly retellAfter: number | null;
    }
  | { readonly type: "start" }
  | { readonly type: "end"; readonly failed: boolean }
  | { readonly type: "restart" }
  | { readonly type: "compact" };

export type Offer =
  | { readonly type: "job"; readonly job: number; readonly attempt: number }
  | { readonly type: "unknown kind"; readonly job: number }
  | { readonly type: "refused by policy"; readonly job: number }
  /** An envelope sent before, as it was. */
  | { readonly type: "again"; readonly which: number }
  | { readonly type: "rubbish"; readonly which: number };

export const jobId = (n: number): JobClaims["jti"] =>
  `job_${String(n).padStart(20, "0")}` as JobClaims["jti"];

/** A step with everything signed, so that it can be taken twice as the same bytes. */
export type Signed = Exclude<Step, { type: "answer" }> | (Step & { type: "answer"; made: MadeAnswer });
interface MadeAnswer {
  readonly jobs: readonly string[];
  readonly orders: readonly string[];
  readonly n: number;
}

/** Signs the steps of one history, numbering offers and orders as a Control Plane would. */
export async function signSteps(steps: readonly Step[]): Promise<Signed[]> {
  const sent: string[] = [];
  let orderSeq = 0;
  const signed: Signed[] = [];
  for (const [n, step] of steps.entries()) {
    if (step.type !== "answer") {
      signed.push(step);
      continue;
    }
    const jobs: string[] = [];
    for (const offer of step.offers) jobs.push(await envelope(offer, sent));
    const orders: string[] = [];
    for (const order of step.orders) orders.push(await signOrder(order, ++orderSeq));
    signed.push({ ...step, made: { jobs, orders, n: n + 1 } });
  }
  return signed;
}

async function envelope(offer: Offer, sent: string[]): Promise<string> {
  if (offer.type === "rubbish") return `rubbish ${offer.which}`;
  const before = offer.type === "again" ? sent[offer.which % Math.max(1, sent.length)] : undefined;
  if (before !== undefined) return before;
  const job = offer.type === "again" ? 0 : offer.job;
  const made = await signJws(TYP.job, world.keys.job, {
    ...world.job,
    jti: jobId(job),
    attempt: offer.type === "job" ? offer.attempt : 1,
    seq: sent.length + 1,
    ...(offer.type === "unknown kind" ? { kind: "no.such" } : {}),
    ...(offer.type === "refused by policy" ? { limits: { ...world.job.limits, pids: DENIED_PIDS } } : {}),
  });
  sent.push(made);
  return made;
}

const DENIED_PIDS = 7;

const signOrder = (order: Order, seq: number): Promise<string> =>
  signJws(TYP.order, world.keys.order, {
    v: 1,
    iss: ISSUER,
    aud: AGENT,
    sub: "order",
    jkt: world.agent.kid,
    epoch: 1,
    seq,
    order,
    iat: NOW_S,
    nbf: NOW_S,
    exp: NOW_S + 600,
  });

/** Thrown in place of a write: the process is gone. */
export class Crash extends Error {}

interface Inside {
  readonly db: Database;
  write: (sql: string, values: unknown[]) => void;
}

/** A journal on disk and the hand that writes in it. */
export class OneJournal implements Disposable {
  private readonly dir = mkdtempSync(join(scratchDirectory("replay"), "state-"));
  private readonly capacity: number;
  private journal = Journal.open(join(this.dir, "journal.db"));
  private receipts = this.newReceipts();

  constructor(capacity = 2) {
    this.capacity = capacity;
  }

  /**
   * Takes one step; with `crashAt` the process is gone at that write of it, counted from 0. `request` is the beat that an
   * answer is to, in place of the one due now.
   */
  async take(step: Signed, crashAt = Number.POSITIVE_INFINITY, request = this.request()): Promise<void> {
    let writes = 0;
    const inside = this.journal as unknown as Inside;
    const write = Object.getPrototypeOf(inside).write as Inside["write"];
    inside.write = (sql, values) => {
      if (writes === crashAt) throw new Crash();
      write.call(inside, sql, values);
      writes += 1;
    };
    await this.act(step, request);
  }

  /** Another process opens what this one left. */
  reopen(): void {
    this.journal.close();
    this.journal = Journal.open(join(this.dir, "journal.db"));
    this.receipts = this.newReceipts();
  }

  /** Everything that is written down. */
  dump(): unknown {
    const { db } = this.journal as unknown as Inside;
    const all = (sql: string) => db.query(sql).all();
    return {
      meta: all("SELECT * FROM meta ORDER BY key"),
      jobs: all("SELECT * FROM jobs ORDER BY jti, attempt"),
      receipts: all("SELECT * FROM receipts ORDER BY seq"),
      rejected: all("SELECT * FROM rejected ORDER BY envelope_sha256"),
    };
  }

  receiptTexts(): { seq: number; sha256: string; jws: string; jti: string; attempt: number }[] {
    const { db } = this.journal as unknown as Inside;
    return db.query("SELECT seq, sha256, jws, jti, attempt FROM receipts ORDER BY seq").all() as never;
  }

  [Symbol.dispose](): void {
    this.journal.close();
    rmSync(join(this.dir, ".."), { recursive: true, force: true });
  }

  private newReceipts(): ReceiptWriter {
    const frame = { agentId: AGENT, hostname: "host", version: "1.2.3", policy: null };
    return new ReceiptWriter(
      this.journal,
      world.agent,
      () => frame,
      () => NOW_MS,
    );
  }

  private async act(step: Signed, request: BeatRequest): Promise<void> {
    const { journal, receipts } = this;
    switch (step.type) {
      case "answer":
        return await this.answer(step, request);
      case "start": {
        const [row] = journal.jobsIn(["leased"]);
        return row && journal.markStarted(row, NOW_MS);
      }
      case "end":
        return await this.end(step.failed);
      case "restart":
        await abandonJobs({ journal, receipts, log: () => undefined }, IN_FLIGHT, "restart");
        return;
      case "compact":
        return journal.compact(NOW_MS);
    }
  }

  private async end(failed: boolean): Promise<void> {
    const { journal, receipts } = this;
    const [job] = journal.jobsIn(["running", "stopping"]);
    if (!job) return;
    const verdict = verdictOfRun(null, failed ? null : "deadline");
    await receipts.write(
      () => [{ job, verdict }],
      (signed) =>
        journal.atomically(() => {
          for (const ending of signed) {
            journal.advance(job, "end");
            storeEnding(journal, ending);
          }
        }),
    );
  }

  private async answer(step: Signed & { type: "answer" }, request: BeatRequest): Promise<void> {
    const { journal, receipts } = this;
    await applyAnswer(request, this.reply(step, request), {
      journal,
      receipts,
      trust: world.trust,
      license,
      log: () => undefined,
      jkt: world.agent.kid,
      inst: INST,
      nowMs: NOW_MS,
      leasesFromBootMs: 0,
      latencyMs: 1,
      capacity: this.capacity,
      accepting: request.agent.state === "idle" && standing.hold(journal) === null,
      tampered: false,
      resealProblem: () => null,
      decide: (claims) =>
        claims.limits.pids === DENIED_PIDS
          ? { ok: false, why: fault("POLICY_MISSING", { path: "/policy" }) }
          : {
              ok: true,
              grant: { scope: claims.scope, limits: claims.limits, limits_enforced: "weak" },
            },
    });
  }

  /** The beat that is due now. */
  request(): BeatRequest {
    const frame = {
      chain: this.journal.chain() ?? { n: 0, nonce: "c".repeat(22) },
      inst: INST,
      boot: "boot",
      rid: "r".repeat(22),
      state: standing.hold(this.journal) === null ? ("idle" as const) : ("paused" as const),
      startedAt: NOW_MS,
      seal: null,
      findings: [],
      epoch: 1,
      capacity: 2,
      nowMs: NOW_MS,
      offsetMs: null,
    };
    return composeBeat(frame, FACTS, this.journal);
  }

  private reply(
    { made, leases, acks, retellAfter }: Signed & { type: "answer" },
    request: BeatRequest,
  ): BeatReply {
    const named = request.jobs.filter(({ state }) => state !== "returned");
    return {
      v: 1,
      standing: "live",
      n: made.n,
      next: String(made.n).padStart(22, "n"),
      time: NOW_MS,
      interval_s: 60,
      slot: { held: true, max_agents: 3 },
      jobs: [...made.jobs],
      orders: [...made.orders],
      leases: named
        .filter((_, index) => (leases >> index) & 1)
        .map(({ jti, attempt }) => ({ jti, attempt, ttl_s: 300 })),
      acks: acks ? request.receipts.map((jws) => sha256Of(jws)) : [],
      ...(retellAfter === null ? {} : { retell_after: retellAfter }),
    };
  }
}

const FACTS: BeatFacts = {
  version: "1.2.3",
  bundle: "development",
  policy: null,
  fingerprint: FINGERPRINT,
  fingerprint_unknown: [],
  host: {
    hostname: "host",
    load1: 0,
    memory_bytes: { total: 2, available: 1 },
    disk_bytes: { total: 2, available: 1 },
    sandbox: { ok: true, codes: [] },
    kinds: ["test.run"],
  },
};
