import { cliFaults } from "./codes/cli.ts";
import { controlFaults } from "./codes/control.ts";
import { custodyFaults } from "./codes/custody.ts";
import { jobFaults } from "./codes/job.ts";
import { lifecycleFaults } from "./codes/lifecycle.ts";
import { sandboxFaults } from "./codes/sandbox.ts";
import { scopeFaults } from "./codes/scope.ts";
import { secretFaults } from "./codes/secret.ts";
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
  ...secretFaults,
  ...sandboxFaults,
  ...controlFaults,
  ...custodyFaults,
} as const;

export type FaultCode = keyof typeof FAULTS;
