// What every world begins with: a Control Plane at its first start and activated agents, made once and copied.

import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { activate } from "../../src/agent/activate.ts";
import { ensurePrivateDirectory } from "../../src/agent/durable-file.ts";
import { makeFingerprint } from "../../src/host/fingerprint.ts";
import { API } from "../../src/protocol/api.ts";
import { Control, URL_OF_CONTROL } from "./control.ts";
import { Dice } from "./dice.ts";
import { possess } from "./doubles/globals.ts";
import { addressOf, identityOf } from "./host.ts";
import { forgetMachines, Machine, register } from "./machine.ts";
import { Wire } from "./network.ts";
import { START_MS } from "./start-time.ts";
import { Tally, Trace } from "./tally.ts";
import { Timeline } from "./timeline.ts";

export const AGENTS_MAX = 3;

/** Directories `control` and `agent1` … in `root`. */
export async function makeTemplate(root: string): Promise<void> {
  const timeline = new Timeline();
  const dice = new Dice(1, "template");
  possess({ timeline, dice, slowness: 1 });
  const trace = new Trace(false, root);
  const tally = new Tally();
  const wrong: string[] = [];
  const machine = new Machine("control", join(root, "control"), timeline, dice);
  register(machine);
  const control = new Control({
    machine,
    dice,
    intervalS: 60,
    trace,
    tally,
    violate: (what) => wrong.push(what),
  });
  if (!(await timeline.until(control.boot(), 60_000))) throw new Error("no Control Plane to begin with");
  for (let i = 1; i <= AGENTS_MAX && wrong.length === 0; i++)
    await timeline.until(enrol(join(root, `agent${i}`), i, { timeline, dice, control, tally }), 60_000);
  await timeline.until(control.stop(), 60_000);
  control.end();
  forgetMachines();
  const [first] = wrong;
  if (first !== undefined) throw new Error(first);
}

async function enrol(
  dir: string,
  number: number,
  world: { timeline: Timeline; dice: Dice; control: Control; tally: Tally },
): Promise<void> {
  const { timeline, dice, control, tally } = world;
  mkdirSync(dir, { mode: 0o700, recursive: true });
  const machine = new Machine(`agent${number}`, dir, timeline, dice);
  register(machine);
  machine.begin();
  const wire = new Wire({
    timeline,
    dice,
    control,
    tally,
    deliver: (fn) => fn(),
    after: (ms, fn) => timeline.after(ms, fn),
    say: () => undefined,
    onRequest: () => undefined,
    peer: addressOf(machine.name),
    meddle: async (_, answer) => answer,
  });
  const minted = await control.api("POST", API.tokens, {});
  if (minted === null) throw new Error("no token to begin with");
  const { token } = minted.json as { token: string };
  ensurePrivateDirectory(dir);
  await activate(
    {
      url: URL_OF_CONTROL,
      token,
      force: false,
      labels: {},
      dirs: {
        stateDir: dir,
        logDir: dir,
        configDir: dir,
        policyPath: join(dir, "policy.toml"),
        policyNamed: true,
      },
      version: "0.1.0",
      hostname: `agent${number}`,
    },
    {
      transport: wire.transport(() => false),
      clock: { wallMs: () => START_MS + timeline.nowMs, bootMs: () => timeline.nowMs },
      random: (count) => dice.bytes(count),
      fingerprint: (salt) => makeFingerprint(identityOf(`agent${number}`), salt),
    },
  );
  machine.bury();
}

export function copyState(from: string, to: string): void {
  cpSync(from, to, { recursive: true, preserveTimestamps: false });
}
