import { closeSync, constants, openSync, writeSync } from "node:fs";
import { errnoOf } from "../fault/fault.ts";
import { memoryFile, openPipe } from "./libc.ts";
import type { ViewArg } from "./view.ts";

/** A bwrap process whose child is built but held back until `release`. Dispose closes our ends of its pipes. */
export interface Launched extends Disposable {
  readonly process: Bun.Subprocess;
  /** Read ends. */
  readonly stdout: number;
  readonly stderr: number;
  /** bwrap's account of itself: one JSON object a line. */
  readonly status: number;
  /** Lets the child go on to its command. */
  release(): void;
}

/** Descriptors 0 to 2 of the child are its standard streams. */
const FIRST_FREE = 3;

/**
 * Starts bwrap with `view` and the command `argv`. The child waits before it enters the view (`--block-fd`), so that
 * what must hold it from its first instruction can be put on it. Throws what Bun.spawn throws.
 */
export function launch(bwrapPath: string, view: readonly ViewArg[], argv: readonly string[]): Launched {
  using given = new DisposableStack(); // the child's ends: ours to close once it has them
  using kept = new DisposableStack();
  const output = () => {
    const { read, write } = openPipe();
    given.defer(() => closeSync(write));
    kept.defer(() => closeSync(read));
    return { read, write };
  };
  const stdout = output();
  const stderr = output();
  const status = output();
  const gate = openGate(given, kept);

  const extra = [status.write, gate.read];
  const give = (fd: number) => FIRST_FREE + extra.push(fd) - 1;
  const words = view.map((arg) => wordOf(arg, give, given));
  words.push("--json-status-fd", String(FIRST_FREE), "--block-fd", String(FIRST_FREE + 1));
  const list = memoryFile(words.map((word) => `${word}\0`).join(""));
  given.defer(() => closeSync(list));

  const child = Bun.spawn([bwrapPath, "--args", String(give(list)), "--", ...argv], {
    cwd: "/",
    env: {},
    stdio: ["ignore", stdout.write, stderr.write, ...extra],
  });
  const owned = kept.move();
  return {
    process: child,
    stdout: stdout.read,
    stderr: stderr.read,
    status: status.read,
    release: () => passGate(gate.write),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/**
 * The pipe the child waits on. bwrap takes end of file for a go; the child's end is therefore open for writing as well,
 * so that the end of file never comes: when the agent dies before it has said go, the command does not run.
 */
function openGate(given: DisposableStack, kept: DisposableStack): { read: number; write: number } {
  const pipe = openPipe();
  kept.defer(() => closeSync(pipe.write));
  given.defer(() => closeSync(pipe.read));
  const read = openSync(`/proc/self/fd/${pipe.read}`, constants.O_RDWR);
  given.defer(() => closeSync(read));
  return { read, write: pipe.write };
}

function passGate(fd: number): void {
  try {
    writeSync(fd, "x");
  } catch (error) {
    // EPIPE: the child has died already, which its exit tells
    if (errnoOf(error) !== "EPIPE") throw error;
  }
}

function wordOf(arg: ViewArg, give: (fd: number) => number, given: DisposableStack): string {
  if (typeof arg === "string") return arg;
  if ("fd" in arg) return String(give(arg.fd));
  const fd = memoryFile(arg.text);
  given.defer(() => closeSync(fd));
  return String(give(fd));
}
