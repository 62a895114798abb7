// Lets a test stand beside every change a piece of code makes to the file system: to look, or to let it fail.

import { mock } from "bun:test";
import * as fs from "node:fs";

const CHANGES = ["openSync", "writeSync", "renameSync", "rmSync", "mkdirSync", "unlinkSync"] as const;
type Change = (typeof CHANGES)[number];

// Taken before anything is replaced: replacing changes what the module's names mean to everybody.
const ORIGINAL: Readonly<Record<string, unknown>> = { ...fs };

/** Runs `work` with `before` and `after` called around each change; what `before` throws is what the change throws. */
export async function watchingChanges<T>(
  around: { readonly before?: (change: Change) => void; readonly after?: (change: Change) => void },
  work: () => Promise<T>,
): Promise<T> {
  const watched = Object.fromEntries(
    CHANGES.map((name) => {
      const original = ORIGINAL[name] as (...args: unknown[]) => unknown;
      const wrapped = (...args: unknown[]) => {
        if (name === "openSync" && !isWriting(args[1])) return original(...args);
        around.before?.(name);
        const result = original(...args);
        around.after?.(name);
        return result;
      };
      return [name, wrapped];
    }),
  );
  mock.module("node:fs", () => ({ ...ORIGINAL, ...watched }));
  try {
    return await work();
  } finally {
    mock.module("node:fs", () => ORIGINAL);
  }
}

const isWriting = (flags: unknown) =>
  typeof flags === "number" && (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) !== 0;

/** An error as the kernel would give it. */
export const systemError = (code: string): Error =>
  Object.assign(new Error(`${code}: as if by the kernel`), { code, syscall: "write", errno: -1 });

/** A copy with everything's mode, made with the functions nobody watches. */
export function copyTree(from: string, to: string): void {
  const { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } = ORIGINAL as unknown as typeof fs;
  const { mode } = lstatSync(from);
  if (lstatSync(from).isDirectory()) {
    mkdirSync(to, { mode });
    for (const name of readdirSync(from)) copyTree(`${from}/${name}`, `${to}/${name}`);
  } else {
    writeFileSync(to, readFileSync(from), { mode });
  }
}
