import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** What is wrong with the agent's own directories, files, locks and user. */
export const stateFaults = {
  STATE_DIR_MISSING: {
    sentence: 'Cannot use the state directory "{path}": it does not exist',
    remedy: 'Run "agentina activate" first, or name the right one with --state-dir',
    exit: EXIT.NO_INPUT,
    retry: "never",
  },
  STATE_DIR_CREATE: {
    sentence: 'Cannot create the directory "{path}": {why}',
    remedy: "Create it for the agent's user, or name another with --state-dir or --log-dir",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  STATE_DIR_NOT_DIRECTORY: {
    sentence: 'Cannot use the directory "{path}": it is not a directory but {what}',
    remedy: "Remove what is there or name another directory; links are not followed",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  STATE_DIR_FOREIGN: {
    sentence:
      'Cannot use the directory "{path}": it belongs to uid {owner} and this process runs as uid {uid}',
    remedy: 'Run as its owner, for example "sudo -u agentina …", or name another directory',
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  STATE_DIR_OPEN: {
    sentence: 'Cannot use the directory "{path}": its mode {mode} lets others in',
    remedy: 'Run "chmod 0700 {path}"',
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  STATE_DIR_CLUTTERED: {
    sentence: 'Cannot activate in "{path}": "{name}" there is {what}',
    remedy: "Remove or mend it first, or name an empty directory with --state-dir; no token was spent",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  STATE_DIR_UNWRITABLE: {
    sentence: 'Cannot write in the directory "{path}": {why}',
    remedy: "Mount it writable and make the agent's user its owner",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
  STATE_DISK_FULL: {
    sentence: 'Cannot write "{path}": the disk is full',
    remedy: "Free space on that file system; nothing was half-written and the agent goes on by itself",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
  STATE_FILE_UNREADABLE: {
    sentence: 'Cannot read "{path}": {why}',
    remedy: "Make the agent's user its owner, mode 0600",
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  STATE_FILE_MALFORMED: {
    sentence: 'Cannot read "{path}": {why}',
    remedy: "Restore the file, or activate again with a fresh token and --force",
    exit: EXIT.DATA,
    retry: "never",
  },
  STATE_FORMAT_NEWER: {
    sentence: 'Cannot read "{path}": its format {found} is newer than the {known} this version knows',
    remedy: "Use the version that wrote it, or a later one",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  STATE_LOCKED: {
    sentence: 'Cannot use the state directory "{path}": another agent (pid {pid}) is using it',
    remedy: "Stop that one first, or give this one a state directory of its own with --state-dir",
    exit: EXIT.TRY_AGAIN,
    retry: "backoff",
  },
  STATE_INACTIVE: {
    sentence: 'Cannot run: this host is not activated (no license in "{path}")',
    remedy: 'Mint a token on the Control Plane and run "agentina activate --url URL"',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  STATE_ALREADY_ACTIVE: {
    sentence: 'Cannot activate: this host is already agent "{agent}", licensed until {until}',
    remedy: "Add --force to replace it; the Control Plane then sees a new agent",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  JOURNAL_UNUSABLE: {
    sentence: 'Cannot use the journal "{path}": {why}',
    remedy:
      "Free disk space and check the file's owner; if it is damaged, restore it or activate again with --force",
    exit: EXIT.CANT_CREATE,
    retry: "backoff",
  },
  RUN_AS_ROOT: {
    sentence: "Cannot run as root: jobs must never share a process tree with root",
    remedy: 'Run "sudo -u agentina {command}", or start the service',
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  ACTIVATE_AS_ROOT: {
    sentence: 'Cannot activate as root: the agent never runs as root, and "{path}" belongs to no other user',
    remedy:
      'Make it the agent user\'s ("install -d -o agentina -m 0700 {path}") and run "sudo -u agentina {command}"',
    exit: EXIT.NO_PERMISSION,
    retry: "never",
  },
  POLICY_MISSING: {
    sentence: 'Cannot run any job: there is no policy at "{path}"',
    remedy: 'Write one: "sudo install -D -m 0644 policy.toml {path}", or name one with --policy FILE',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  POLICY_MALFORMED: {
    sentence: 'Cannot read the policy "{path}": {why}',
    remedy: "Correct that place; the agent runs nothing under a policy it cannot read",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  POLICY_UNREADABLE: {
    sentence: 'Cannot read the policy "{path}": {why}',
    remedy: "Make it readable for the agent's user",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  POLICY_WRITABLE: {
    sentence: 'Cannot trust the policy "{path}": {why}',
    remedy: "Make root its owner with mode 0644, and its directories root's too",
    exit: EXIT.CONFIG,
    retry: "never",
  },
} as const satisfies FaultTable;
