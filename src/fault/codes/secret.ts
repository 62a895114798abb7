import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

const refusal = <const Sentence extends string, const Remedy extends string>(
  sentence: Sentence,
  remedy: Remedy,
) => ({ sentence, remedy, exit: EXIT.DATA, retry: "never" }) as const;

/** Why a secret is not kept, not given to a job, or does not open. No sentence holds a value. */
export const secretFaults = {
  SECRET_UNSUITABLE: refusal(
    'Cannot keep the secret "{name}": its value {why}',
    "Give another value; docs/secrets.md says what a value may be",
  ),
  SECRET_TOO_MANY: refusal(
    'Cannot keep the secret "{name}": the account has {max} secrets, as many as it may',
    'Remove one that is not needed with "agentina-control secret remove"',
  ),
  SECRET_NAME_DENIED: refusal(
    'Cannot keep the secret "{name}": this variable changes what programs load or trust, so no job may set it',
    "Choose another name",
  ),
  SECRET_UNKNOWN: refusal(
    'Cannot accept the job: no secret "{name}" is kept',
    'Set it with "agentina-control secret set {name}", or take it out of the job',
  ),
  SECRET_OTHER_KIND: refusal(
    'Cannot accept the job: the secret "{name}" is not for jobs of kind "{kind}"',
    'Allow the kind with "agentina-control secret set {name} --kind {kind}", or take it out of the job',
  ),
  SECRET_UNCARRIED: refusal(
    'Cannot accept the job: payload.secrets.{step} names "{name}", which the job\'s secrets do not include',
    "Add it to the job's secrets, or take it out of payload.secrets",
  ),
  SECRET_UNUSED: refusal(
    'Cannot accept the job: it carries the secret "{name}", and no step of it names that',
    "Add it to payload.secrets.setup or payload.secrets.run, or take it out of the job's secrets",
  ),
  SECRET_DOUBLED: refusal(
    'Cannot accept the job: "{name}" is both a secret and a value of payload.env',
    "Keep one of the two",
  ),
  SECRET_MISSING: refusal(
    'Cannot give the job the secret "{name}": it was removed, or limited to other kinds, after the job was submitted',
    'Set it with "agentina-control secret set {name}" and submit the job again',
  ),
  SECRET_UNREADABLE: refusal(
    'Cannot give the job the secret "{name}": the Control Plane\'s key does not open what it has stored',
    'Put the right secrets.key back, or set it anew with "agentina-control secret set {name}"',
  ),
  SECRET_UNOPENED: refusal(
    'Cannot give the job the secret "{name}": {why}',
    "Submit the job again; if it goes on, look at who sends this agent its jobs",
  ),
} as const satisfies FaultTable;
