import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

const refusal = <const Sentence extends string, const Remedy extends string>(
  sentence: Sentence,
  remedy: Remedy,
) => ({ sentence, remedy, exit: EXIT.DATA, retry: "never" }) as const;

/** What goes wrong with what a Control Plane keeps: its keys, its backups, its ledger, its agents' receipts. */
export const custodyFaults = {
  CONTROL_ALREADY_SET_UP: {
    sentence: 'Cannot set up "{path}": there is a Control Plane in it already',
    remedy: 'Start it with "agentina-control serve --data-dir {path}", or name another directory',
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  CONTROL_ROOT_ABSENT: {
    sentence: "Cannot change the key set: the trust root's key is not on this server",
    remedy:
      'Run "agentina-control keys request" here (with --rotate or --revoke), "keys sign" where the root key lies, and "keys install" here',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  CONTROL_ROOT_PRESENT: {
    sentence:
      "Cannot use a signature from elsewhere: the trust root's key is on this server, which signs its key sets itself",
    remedy: 'Use "agentina-control keys rotate" or "agentina-control keys revoke"',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  CONTROL_KEYS_EXPIRED: {
    sentence: "Cannot sign anything: no {use} key of this Control Plane is valid now",
    remedy:
      'Have a new key set signed: "agentina-control keys request" here, "keys sign" where the root key lies, "keys install" here',
    exit: EXIT.CONFIG,
    retry: "backoff",
  },
  ROOT_KEY_UNUSABLE: {
    sentence: 'Cannot use the root key file "{path}": {why}',
    remedy:
      "Name the file that was given to init --root-key, or for a new one a directory that is there; a lost root key cannot be replaced",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  KEY_UNKNOWN: {
    sentence: 'Cannot revoke "{kid}": the key set holds no such key',
    remedy: 'Look up its id with "agentina-control keys list"',
    exit: EXIT.NO_INPUT,
    retry: "never",
  },
  KEY_SET_FULL: {
    sentence: "Cannot change the key set: it would hold more than {max} keys",
    remedy: "Wait until keys of earlier rotations have left it",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  KEY_REQUEST_MALFORMED: refusal(
    'Cannot sign "{path}": {why}',
    'Give it the file that "agentina-control keys request" wrote, unchanged',
  ),
  KEY_SET_REFUSED: refusal(
    "Cannot install the key set: {why}",
    'Run "agentina-control keys request" again and have that one signed',
  ),
  ANSWER_NEEDED: {
    sentence: "Cannot go on: nobody is there to be asked",
    remedy: "Look at what is shown and give --yes",
    exit: EXIT.USAGE,
    retry: "never",
  },
  ANSWER_NO: {
    sentence: "Cannot go on: you said no",
    remedy: "Nothing was changed",
    exit: EXIT.NEGATIVE,
    retry: "never",
  },
  OUTPUT_EXISTS: {
    sentence: 'Cannot write "{path}": it exists, and nothing is overwritten',
    remedy: "Name another file, or remove that one first",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  OUTPUT_UNWRITABLE: {
    sentence: 'Cannot write "{path}": {why}',
    remedy: "Check the path, its permissions and the free space; nothing half-written was left",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  BACKUP_UNUSABLE: refusal(
    'Cannot restore from "{path}": {why}',
    "Use another backup; the data directory was not touched",
  ),
  RESTORE_TARGET: {
    sentence: 'Cannot restore into "{path}": {why}',
    remedy:
      "Name an empty directory, or give --in-place to replace what is there; it is put aside, not removed",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  LEDGER_DAMAGED: {
    sentence: 'Cannot use the ledger "{path}": line {line}: {why}',
    remedy:
      "Bring the file back from a copy; it says which tokens, keys and agents must never be taken again",
    exit: EXIT.DATA,
    retry: "never",
  },
  RECEIPTS_MALFORMED: refusal(
    'Cannot verify "{path}": {why}',
    'Give it the file that "agentina-control receipts export" wrote',
  ),
  AGENT_UNKNOWN: {
    sentence: "Cannot give an access token: the Control Plane knows no such agent with this key",
    remedy:
      "If the Control Plane was restored from a backup, an admin confirms the agent there; if not, activate it with a fresh token",
    exit: EXIT.NO_PERMISSION,
    retry: "backoff",
  },
  READMIT_REFUSED: {
    sentence: "Cannot take the agent back: {why}",
    remedy: 'Mint a fresh token and run "agentina activate" with it on the host',
    exit: EXIT.NO_PERMISSION,
    retry: "backoff",
  },
} as const satisfies FaultTable;
