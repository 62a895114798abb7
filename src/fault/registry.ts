import { cliFaults } from "./codes/cli.ts";
import { controlFaults } from "./codes/control.ts";
import { jobFaults } from "./codes/job.ts";
import { lifecycleFaults } from "./codes/lifecycle.ts";
import { sandboxFaults } from "./codes/sandbox.ts";
import { scopeFaults } from "./codes/scope.ts";
import { stateFaults } from "./codes/state.ts";
import { trustFaults } from "./codes/trust.ts";
import { wireFaults } from "./codes/wire.ts";

/** The closed list of failures a user can meet. Callers and tests switch on the codes, never on a text. */
export const FAULTS = {
  ...cliFaults,
  ...stateFaults,
  ...trustFaults,
  ...lifecycleFaults,
  ...wireFaults,
  ...jobFaults,
  ...scopeFaults,
  ...sandboxFaults,
  ...controlFaults,
} as const;

export type FaultCode = keyof typeof FAULTS;
