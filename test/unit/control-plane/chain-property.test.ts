// Goal: over many thousand beats with losses, retransmissions, duplicates, late arrivals and crashes an agent alone is
// never taken for two; and whenever there are two, that is seen within two beats of both.
// Method: agents that keep state as real ones do (request id and nonce on disk before use) on a seeded network, against
// the judgement alone; each seed replays exactly.

import { describe, expect, test } from "bun:test";
import {
  type ChainBeat,
  type ChainState,
  type ChainVerdict,
  judgeBeat,
  newChain,
} from "../../../src/control-plane/beat/chain.ts";

/** mulberry32: enough randomness for a network, the same for every run of a seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Request extends Omit<ChainBeat, "iatS"> {
  readonly from: Process;
}

/** What an agent has on disk, and the process that runs on it. */
interface Process {
  n: number;
  nonce: string;
  inst: string;
  pending: Request | null;
  heard: number;
}

/** Requests may arrive this much later than they were signed: longer, and their proof is too old. */
const LATE_S = 60;

class Fleet {
  readonly random: () => number;
  chain: ChainState = newChain("first");
  nowS = 1_000;
  private names = 0;
  private readonly underWay: { readonly request: Request; readonly iatS: number; readonly until: number }[] =
    [];
  readonly anomalies: Extract<ChainVerdict, { verdict: "anomaly" }>[] = [];

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  start(from?: Process): Process {
    const { n, nonce } = from ?? { n: 0, nonce: "first" };
    return { n, nonce, inst: this.fresh("inst"), pending: null, heard: 0 };
  }

  /** The process ends and another begins on the same disk; what it sent may still be under way. */
  restart(process: Process): void {
    process.inst = this.fresh("inst");
    process.pending = null;
  }

  /** One try of the process's present beat, and whatever was under way arriving before or after it. */
  beat(process: Process): void {
    const { n, nonce, inst } = process;
    process.pending ??= { n, nonce, inst, rid: this.fresh("rid"), from: process };
    const sent = { request: process.pending, iatS: this.nowS, until: this.nowS + LATE_S };
    this.arrivals();
    const fate = this.random();
    if (fate < 0.1) return; // lost on its way
    if (fate < 0.2) {
      this.underWay.push(sent); // arrives when nobody expects it any more
      return;
    }
    const reply = this.receive(sent.request, sent.iatS);
    if (reply === null || this.random() < 0.15) return; // refused, or the answer is lost
    process.n = reply.n;
    process.nonce = reply.nonce;
    process.pending = null;
    process.heard += 1;
  }

  arrivals(): void {
    while (this.underWay.length > 0 && this.random() < 0.5) {
      const [late] = this.underWay.splice(Math.floor(this.random() * this.underWay.length), 1);
      if (late !== undefined && late.until > this.nowS) this.receive(late.request, late.iatS);
    }
  }

  private receive({ from: _, ...shown }: Request, iatS: number): { n: number; nonce: string } | null {
    const verdict = judgeBeat(this.chain, { ...shown, iatS }, this.fresh("nonce"));
    if (verdict.verdict === "anomaly") this.anomalies.push(verdict);
    if (verdict.verdict === "anomaly" || verdict.verdict === "late") return null;
    if (verdict.verdict !== "repeated") this.chain = verdict.chain;
    return { n: this.chain.n, nonce: this.chain.nonce };
  }

  private fresh(what: string): string {
    this.names += 1;
    return `${what}-${this.names}`;
  }
}

describe("an agent alone", () => {
  test("is never taken for two, in 100,000 beats", () => {
    let beats = 0;
    for (let seed = 1; beats < 100_000; seed++) {
      const fleet = new Fleet(seed);
      const agent = fleet.start();
      for (let turn = 0; turn < 500; turn++) {
        fleet.nowS += Math.floor(fleet.random() * (fleet.random() < 0.3 ? 2 : 40));
        if (fleet.random() < 0.1) fleet.restart(agent);
        fleet.beat(agent);
        beats += 1;
        if (fleet.anomalies.length > 0) throw new Error(`seed ${seed}: ${fleet.anomalies[0]?.why}`);
      }
      expect(agent.heard).toBeGreaterThan(100);
    }
  });
});

describe("an agent and a copy of it", () => {
  const SEEDS = Array.from({ length: 500 }, (_, seed) => seed + 1);

  test("are seen whatever the network does", () => {
    for (const seed of SEEDS) {
      const fleet = new Fleet(seed);
      const agent = fleet.start();
      for (let turn = 0; turn < 5; turn++) {
        fleet.nowS += 60;
        fleet.beat(agent);
      }
      const copy = fleet.start(agent);
      for (let turn = 0; turn < 40 && fleet.anomalies.length === 0; turn++) {
        fleet.nowS += 1 + Math.floor(fleet.random() * 60);
        fleet.beat(fleet.random() < 0.5 ? agent : copy);
      }
      if (fleet.anomalies.length === 0) throw new Error(`seed ${seed}: nobody noticed`);
    }
  });

  test("are seen within two beats of both, where nothing is lost", () => {
    for (const seed of SEEDS) {
      const random = randomOf(seed);
      let chain = newChain("first");
      let nowS = 1_000;
      let names = 0;
      const state = { n: 0, nonce: "first" };
      const said = { agent: 0, copy: 0 };
      const disks = { agent: { ...state }, copy: { ...state } };
      const beat = (who: "agent" | "copy"): boolean => {
        const disk = disks[who];
        nowS += 1 + Math.floor(random() * 60);
        said[who] += 1;
        const verdict = judgeBeat(chain, { ...disk, inst: who, rid: `r${++names}`, iatS: nowS }, `n${names}`);
        if (verdict.verdict === "anomaly") return true;
        if ("chain" in verdict) {
          chain = verdict.chain;
          Object.assign(disk, { n: chain.n, nonce: chain.nonce });
        }
        return false;
      };
      for (let turn = 0; turn < Math.floor(random() * 5); turn++) beat("agent");
      Object.assign(disks.copy, disks.agent);
      Object.assign(said, { agent: 0, copy: 0 });
      while (!beat(random() < 0.5 ? "agent" : "copy")) {
        if (said.agent >= 2 && said.copy >= 2) throw new Error(`seed ${seed}: not within two beats of both`);
      }
    }
  });

  test("brought back alone from an older copy, it is seen at its first beat", () => {
    for (const seed of SEEDS) {
      const fleet = new Fleet(seed);
      const agent = fleet.start();
      const backup = { ...agent };
      while (fleet.chain.n < 3) {
        fleet.nowS += 60;
        fleet.beat(agent);
      }
      fleet.nowS += 120;
      const restored = fleet.start(backup);
      for (let turn = 0; turn < 30 && fleet.anomalies.length === 0; turn++) {
        fleet.nowS += 60;
        fleet.beat(restored);
      }
      expect(restored.heard).toBe(0);
      expect(fleet.anomalies[0]?.kind).toBe("stale_nonce");
    }
  });
});
