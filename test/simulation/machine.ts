// Machines, and the processes that live and die on them.

import { Crash } from "./crash.ts";
import type { Dice } from "./dice.ts";
import type { Timeline } from "./timeline.ts";

/** Something the kernel takes back from a process that has died. */
export interface Held {
  release(): void;
}

/** One life of a program. Once dead it can do nothing: every effect throws, no timer fires, nothing answers. */
export class Process {
  readonly machine: Machine;
  readonly number: number;
  dead = false;
  readonly held = new Set<Held>();

  constructor(machine: Machine, number: number) {
    this.machine = machine;
    this.number = number;
  }
}

export type When = "before" | "after";

/** A directory, the process that works in it, and what is going to go wrong with it. */
export class Machine {
  readonly name: string;
  readonly dir: string;
  readonly timeline: Timeline;
  readonly dice: Dice;
  process: Process | null = null;
  /** Durable writes of all its processes, for reports. */
  writes = 0;
  /** Until when no write finds room, on the timeline. */
  fullUntilMs = 0;
  /** Crashes by the write they came before or after. */
  readonly crashes: string[] = [];
  onCrash: (where: string) => void = () => undefined;
  private armed: { left: number; readonly when: When } | null = null;
  private lives = 0;

  constructor(name: string, dir: string, timeline: Timeline, dice: Dice) {
    this.name = name;
    this.dir = dir;
    this.timeline = timeline;
    this.dice = dice;
  }

  /** Begins a process. The one before must be gone. */
  begin(): Process {
    if (this.process !== null) throw new Error(`${this.name} has a process already`);
    this.lives += 1;
    this.process = new Process(this, this.lives);
    return this.process;
  }

  /** The process is gone from now on; what it had open is taken back once nothing of it is on the stack. */
  kill(where: string): void {
    if (this.process === null || this.process.dead) return;
    this.process.dead = true;
    this.armed = null;
    this.crashes.push(where);
    this.onCrash(where);
  }

  /** Takes back what the last process had open. Not from within one of its own calls. */
  bury(): void {
    if (this.process === null) return;
    this.process.dead = true;
    for (const thing of this.process.held) thing.release();
    this.process.held.clear();
    this.process = null;
  }

  /** It will crash at the `left`-th durable write from now. */
  arm(left: number, when: When): void {
    this.armed = { left, when };
  }

  disarm(): void {
    this.armed = null;
  }

  /** Every effect comes through here. */
  enter(what: string): Process {
    if (this.process === null || this.process.dead) throw new Crash(`and still wants to ${what}`);
    return this.process;
  }

  /** It is full, or was within the last minute. */
  get wasFull(): boolean {
    return this.timeline.nowMs < this.fullUntilMs + 60_000;
  }

  /** There is room again. */
  empty(): void {
    this.fullUntilMs = Math.min(this.fullUntilMs, this.timeline.nowMs);
  }

  get full(): boolean {
    return this.timeline.nowMs < this.fullUntilMs;
  }

  /** Does one durable write, unless the crash comes before it; the crash may also come right after. */
  durable<T>(what: string, write: () => T): T {
    this.enter(what);
    this.writes += 1;
    const shot = this.armed !== null && --this.armed.left <= 0 ? this.armed : null;
    if (shot?.when === "before") this.fall(`before ${what}`);
    const result = write();
    if (shot) this.fall(`after ${what}`);
    return result;
  }

  private fall(where: string): never {
    this.kill(where);
    throw new Crash(where);
  }
}

const machines: Machine[] = [];

/** Makes a machine known by its directory: what happens below it happens on it. */
export function register(machine: Machine): void {
  machines.push(machine);
}

export function forgetMachines(): void {
  machines.length = 0;
}

/** The machine a path lies on. */
export function machineAt(path: unknown): Machine | null {
  const text = String(path);
  return machines.find(({ dir }) => text === dir || text.startsWith(`${dir}/`)) ?? null;
}
