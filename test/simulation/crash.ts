// The end of a process, as its own code meets it.

/** What a process meets that no longer exists. Nothing in the product knows it, so it unwinds everything. */
export class Crash extends Error {
  constructor(where: string) {
    super(`crashed ${where}`);
    this.name = "Crash";
  }
}

/** Whether it is a crash, however wrapped on its way up. */
export function isCrash(error: unknown): boolean {
  if (error instanceof Crash) return true;
  if (error instanceof SuppressedError) return isCrash(error.error) || isCrash(error.suppressed);
  return error instanceof Error && error.cause !== undefined && isCrash(error.cause);
}
