// One simulated world from its seed: what is in it, how it begins and how it ends.

import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type AnomalyKind, QUARANTINING } from "../../src/protocol/api.ts";
import type { ExecutorTask } from "../../src/protocol/execution.ts";
import { attend, giveUpOverdue, resumeAll } from "./admin.ts";
import { Control } from "./control.ts";
import { Dice } from "./dice.ts";
import { possess } from "./doubles/globals.ts";
import { addressOf, Host } from "./host.ts";
import { HOSTS, type HostKind } from "./host-kind.ts";
import * as always from "./invariants.ts";
import { forgetMachines, Machine, register } from "./machine.ts";
import { onEvent } from "./moments.ts";
import { Wire } from "./network.ts";
import { everythingSettled, logsArrived, noFalseAlarm, restless } from "./quiet.ts";
import { Tally, Trace } from "./tally.ts";
import { AGENTS_MAX, copyState } from "./template.ts";
import { Thief } from "./thief.ts";
import { Timeline } from "./timeline.ts";
import type { Run } from "./workers.ts";

/** What goes wrong, and how often: fixed by the seed. */
export interface Climate {
  readonly agents: number;
  readonly intervalS: number;
  readonly steps: number;
  readonly badness: number;
  readonly slowness: number;
  readonly crashes: number;
  readonly longSleeps: boolean;
  readonly clockJumps: boolean;
  readonly fullDisks: boolean;
  /** The admin gives orders. */
  readonly orders: boolean;
  /** Somebody copies a state directory, or brings back an old one. */
  readonly copies: "none" | "clone" | "rollback";
  /** Somebody has the order key and stands in the middle. */
  readonly thief: boolean;
  /** The Control Plane is backed up and brought back. */
  readonly eras: boolean;
  /** The story is about leases: jobs without end, on hosts that are cut off. */
  readonly leases: boolean;
}

export class World {
  readonly seed: number;
  readonly climate: Climate;
  readonly timeline = new Timeline();
  readonly trace: Trace;
  readonly tally = new Tally();
  readonly control: Control;
  readonly hosts: Host[] = [];
  readonly dice: Dice;
  readonly submitted = new Map<string, always.Submitted>();
  readonly violations: string[] = [];
  readonly liars = new Set<string>();
  readonly book: always.Book;
  /** Jobs submitted so far, for their idempotency keys. */
  keys = 0;
  /** Where the last backup lies. */
  backup: string | null = null;
  /** Anomalies this story gives cause for. */
  readonly causes = new Set<AnomalyKind>();
  /** Faults have stopped: everything is to come to rest. */
  healed = false;
  private readonly thief: Thief | null;
  /** Hosts that were disturbed while they changed their keys. */
  readonly disturbed = new Set<Host>();
  /** Hosts whose state was copied, or put back. */
  readonly copied: { readonly host: Host; readonly sinceMs: number }[] = [];
  private readonly ids = new Map<string, string>();
  readonly root: string;

  constructor(seed: number, where: { readonly template: string; readonly root: string }, trace: boolean) {
    this.seed = seed;
    this.root = where.root;
    this.trace = new Trace(trace, where.root);
    this.dice = new Dice(seed, "story");
    this.climate = climateOf(new Dice(seed, "climate"));
    possess({ timeline: this.timeline, dice: new Dice(seed, "runtime"), slowness: this.climate.slowness });
    mkdirSync(this.root, { recursive: true, mode: 0o700 });
    const violate = (what: string) => this.violate(what);
    const machine = this.machineOf("control");
    copyState(join(where.template, "control"), machine.dir);
    const { trace: lines, tally } = this;
    const dice = new Dice(seed, "control");
    this.control = new Control({
      machine,
      dice,
      intervalS: this.climate.intervalS,
      trace: lines,
      tally,
      violate,
    });
    const stolen = this.climate.thief;
    this.thief = stolen ? new Thief(machine.dir, new Dice(seed, "thief"), tally) : null;
    for (let i = 1; i <= this.climate.agents; i++) {
      const at = this.machineOf(`agent${i}`);
      copyState(join(where.template, `agent${i}`), at.dir);
      this.hosts.push(
        this.hostOf(at, this.climate.leases ? HOSTS.whole : kindOf(new Dice(seed, `kind${i}`))),
      );
    }
    this.book = {
      control: this.control,
      hosts: this.hosts,
      submitted: this.submitted,
      live: new Map(),
      starts: new Map(),
      violate,
      twoHolders: this.climate.copies !== "none",
      thief: this.climate.thief,
    };
    this.control.onAnswer = (asked, answer) => always.answerIsWritten(this.book, asked, answer);
    this.timeline.onStep = () => {
      for (const host of this.hosts) always.queuesAreBounded(this.book, host);
      const [first] = this.violations;
      if (first !== undefined) throw new Violation(first);
    };
  }

  async begin(): Promise<void> {
    await this.timeline.until(this.control.boot(), 60_000);
    for (const host of this.hosts) await this.timeline.until(host.boot(), 60_000);
  }

  /** Nothing goes wrong any more; what is down is started; then everything has virtual hours to come to rest. */
  async heal(): Promise<void> {
    this.healed = true;
    this.trace.line(this.timeline.nowMs, "world", "heals");
    if (this.thief !== null) this.thief.active = false;
    this.control.machine.disarm();
    this.control.machine.empty();
    for (const host of this.hosts) {
      if (host.wire) Object.assign(host.wire, { badness: 0, cutUntilMs: 0 });
      host.machine.disarm();
      host.machine.empty();
      host.timers.wake();
      host.wallOffsetMs = 0;
      host.wanted = true;
    }
    for (let round = 0; round < ROUNDS; round++) {
      await this.keepUp();
      if (round > 1) await attend(this);
      if (round > 40) await giveUpOverdue(this);
      await resumeAll(this);
      await this.timeline.advance(ROUND_MS);
      if (round > 0 && this.copiesCaught() && restless(this.book).length === 0) return;
    }
    if (!this.copiesCaught()) this.violate("a copy of a state directory was never noticed");
    for (const what of restless(this.book)) this.violate(`never comes to rest: ${what}`);
  }

  async judge(): Promise<void> {
    const ids = this.control.rows<{ id: string; hostname: string }>("SELECT id, hostname FROM agents");
    await everythingSettled(this.book, new Map(ids.map(({ id, hostname }) => [id, hostname])));
    // Of logs that a restore has lost nobody is told again.
    if (!this.book.twoHolders && !this.climate.eras) logsArrived(this.book, this.liars);
    noFalseAlarm(this.book, this.causes);
    for (const host of this.hosts.filter(({ terminated }) => terminated)) await this.staysDown(host);
  }

  /** Every copy that was alive beside its original, or came in its place, met a quarantine: by alarm or by order. */
  private copiesCaught(): boolean {
    return this.copied.every(({ host, sinceMs }) =>
      this.control
        .rows<{ kind: AnomalyKind }>(
          "SELECT kind FROM anomalies WHERE agent_id = ?1 AND (last_at >= ?2 OR resolved_at >= ?2)",
          this.idOf(host),
          sinceMs,
        )
        .some(({ kind }) => QUARANTINING.includes(kind)),
    );
  }

  /** A host that was told to end for good does not run again, whoever starts it. */
  private async staysDown(host: Host): Promise<void> {
    if (host.alive) return; // it never heard of it
    const runs = this.book.starts.size;
    await this.timeline.until(host.boot(), 60_000);
    await this.timeline.advance(2 * 60_000);
    if (host.alive || this.book.starts.size > runs)
      this.violate(`I-6: ${host.name} was ended for good and runs`);
  }

  /** The id of the agent that a host is, or whose copy it is. */
  idOf(host: Host): string {
    const known = this.ids.get(host.name);
    if (known !== undefined) return known;
    const file = JSON.parse(readFileSync(join(host.machine.dir, "agent.json"), "utf8")) as {
      agent_id: string;
    };
    this.ids.set(host.name, file.agent_id);
    return file.agent_id;
  }

  /** A host with a copy of `original`'s state as it is on its disk now. */
  addCopy(original: Host): Host {
    const machine = this.machineOf(`copy${this.hosts.length}`);
    copyState(original.machine.dir, machine.dir);
    const host = this.hostOf(machine, original.options.kind);
    host.copy = true;
    if (host.wire && original.wire) host.wire.badness = original.wire.badness;
    this.hosts.push(host);
    this.copied.push({ host: original, sinceMs: this.control.wallMs() });
    return host;
  }

  /** Starts what is down, as an init system would. */
  async keepUp(): Promise<void> {
    if (!this.control.up) await this.timeline.until(this.control.boot(), 60_000);
    for (const host of this.hosts) {
      if (host.wanted && !host.alive && !host.timers.asleep) await this.timeline.until(host.boot(), 60_000);
    }
  }

  end(): void {
    for (const host of this.hosts) host.end();
    this.control.end();
    forgetMachines();
    rmSync(this.root, { recursive: true, force: true });
  }

  violate(what: string): void {
    this.trace.line(this.timeline.nowMs, "WRONG", what);
    this.violations.push(what);
  }

  private machineOf(name: string): Machine {
    const machine = new Machine(
      name,
      join(this.root, name),
      this.timeline,
      new Dice(this.seed, `disk ${name}`),
    );
    register(machine);
    return machine;
  }

  private hostOf(machine: Machine, kind: HostKind): Host {
    const { trace, tally, timeline, control } = this;
    const host: Host = new Host({
      machine,
      dice: new Dice(this.seed, machine.name),
      trace,
      tally,
      kind,
      violate: (what) => this.violate(what),
      onStart: (at, task, run) => this.onStart(at, task, run),
      onEnd: (at, run) => this.onEnd(at, run),
      pace: () => (this.healed ? "quick" : this.climate.leases ? "endless" : "any"),
      onEvent: (at, event, fields) => {
        onEvent(this, at, event, fields);
      },
    });
    host.wire = new Wire({
      timeline,
      dice: new Dice(this.seed, `wire ${machine.name}`),
      control,
      tally,
      deliver: (fn) => host.timers.deliver(fn),
      after: (ms, fn) => host.timers.after(ms, fn),
      say: (what) => host.say(what),
      onRequest: (asked) => always.beatIsWritten(this.book, host, asked),
      peer: addressOf(machine.name),
      meddle: async (asked, answer) =>
        this.thief === null ? answer : await this.thief.meddle(asked, answer),
    });
    return host;
  }

  private onStart(host: Host, task: ExecutorTask, run: Run): void {
    const { book } = this;
    always.onlyVerifiedRuns(book, host, task);
    always.startIsWritten(book, host, task);
    always.heldStartsNothing(book, host, task);
    always.nothingWeaker(book, host, task);
    always.oneLiveRun(book, host, task);
    const live = book.live.get(task.jti) ?? [];
    book.live.set(task.jti, [...live, { host: host.name, attempt: task.attempt }]);
    if (run.behaviour === "lies") this.liars.add(`${task.jti}/${task.attempt}`);
  }

  private onEnd(host: Host, run: Run): void {
    const left = (this.book.live.get(run.jti) ?? []).filter(
      ({ host: name, attempt }) => name !== host.name || attempt !== run.attempt,
    );
    this.book.live.set(run.jti, left);
  }
}

export class Violation extends Error {}

const ROUND_MS = 15_000;
/** Three virtual hours. */
const ROUNDS = 720;

const LEASES: Partial<Climate> = {
  ...{ leases: true, agents: 2, intervalS: 20, badness: 0.05, slowness: 4 },
  ...{
    longSleeps: false,
    clockJumps: false,
    fullDisks: false,
    orders: false,
    copies: "none",
    thief: false,
    eras: false,
  },
};

/** One trouble of that size at a time. */
const ERAS: Partial<Climate> = { longSleeps: false, orders: false, copies: "none", thief: false };

function climateOf(dice: Dice): Climate {
  const leases = dice.chance(0.04);
  const climate: Climate = {
    leases: false,
    agents: dice.weighted([
      [6, 1],
      [4, 2],
      [1, AGENTS_MAX],
    ]),
    intervalS: dice.weighted([
      [1, 10],
      [4, 30],
      [5, 60],
    ]),
    steps: dice.chance(0.015) ? dice.between(20, 50) : dice.between(2, 8),
    badness: dice.weighted([
      [2, 0],
      [4, 0.1],
      [3, 0.3],
      [1, 0.6],
    ]),
    slowness: dice.weighted([
      [1, 1],
      [4, 4],
      [5, 10],
    ]),
    crashes: dice.weighted([
      [3, 0],
      [4, 0.15],
      [3, 0.35],
    ]),
    longSleeps: dice.chance(0.15),
    clockJumps: dice.chance(0.25),
    fullDisks: dice.chance(0.1),
    orders: dice.chance(0.4),
    thief: dice.chance(0.05),
    eras: dice.chance(0.04),
    copies: dice.weighted([
      [90, "none"],
      [6, "clone"],
      [4, "rollback"],
    ]),
  };
  if (leases) return { ...climate, ...LEASES };
  return climate.eras ? { ...climate, ...ERAS } : climate;
}

const kindOf = (dice: Dice): HostKind =>
  dice.weighted([
    [8, HOSTS.whole],
    [4, HOSTS.weakAllowed],
    [1, HOSTS.weakRefused],
    [1, HOSTS.withoutSandbox],
  ]);
