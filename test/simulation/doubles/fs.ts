// node:fs for programs in a simulated world: the real one, which ends with the process that calls it.

import * as real from "node:fs";
import { type Machine, machineAt } from "../machine.ts";

function noRoom(machine: Machine | null): void {
  if (machine?.full) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
}

export const openSync: typeof real.openSync = (path, flags, mode) => {
  const machine = machineAt(path);
  machine?.enter(`open ${path}`);
  const writes = typeof flags === "number" && (flags & real.constants.O_CREAT) !== 0;
  if (writes) noRoom(machine);
  return real.openSync(path, flags, mode);
};

export const renameSync: typeof real.renameSync = (from, to) => {
  const machine = machineAt(to);
  const rename = () => real.renameSync(from, to);
  if (machine === null) rename();
  else machine.durable(`rename ${name(to)}`, rename);
};

export const rmSync: typeof real.rmSync = (path, options) => {
  const machine = machineAt(path);
  const remove = () => real.rmSync(path, options);
  if (machine === null || !real.existsSync(path)) remove();
  else machine.durable(`remove ${name(path)}`, remove);
};

export const unlinkSync: typeof real.unlinkSync = (path) => {
  const machine = machineAt(path);
  const remove = () => real.unlinkSync(path);
  if (machine === null) remove();
  else machine.durable(`remove ${name(path)}`, remove);
};

/** The path as a trace tells it: without the directory of this run and without what is random in a name. */
export const name = (path: unknown): string =>
  String(path)
    .replace(machineAt(path)?.dir ?? "", "")
    .replace(/\.[0-9a-f]{12}\.tmp$/, ".tmp")
    .replace(/-[A-Za-z0-9_-]{43}\.pem$/, "-key.pem");
