import type { ExitStatus } from "./exit.ts";

/**
 * What a caller may do about a fault without a person:
 * `never` (the same call fails the same way), `backoff` (again later, with jitter), `now` (once more at once).
 */
export type RetryClass = "never" | "backoff" | "now";

/** One row of the registry. `{name}` in a text is a parameter, checked by the compiler at every `fault()` call. */
export interface FaultRow {
  /** "Cannot <act>: <what was found>", active voice, values in quotes, no full stop. */
  readonly sentence: string;
  /** What a person does about it, in the imperative. */
  readonly remedy: string;
  readonly exit: ExitStatus;
  readonly retry: RetryClass;
}

export type FaultTable = Readonly<Record<string, FaultRow>>;
