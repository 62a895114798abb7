import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** What is wrong with how a command was called. */
export const cliFaults = {
  CLI_UNKNOWN_COMMAND: {
    sentence: 'Cannot run "{command}": there is no such command{hint}',
    remedy: 'Run "{program} --help" for the list of commands',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_UNKNOWN_FLAG: {
    sentence: 'Cannot read the arguments: "{flag}" is not an option of "{command}"{hint}',
    remedy: 'Run "{command} --help" for the options',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_MISSING_VALUE: {
    sentence: 'Cannot read the arguments: "{flag}" needs a value',
    remedy: 'Give it as "{flag} VALUE"; "{command} --help" shows its form',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_UNEXPECTED_VALUE: {
    sentence: 'Cannot read the arguments: "{flag}" takes no value',
    remedy: 'Give "{flag}" alone',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_REPEATED_FLAG: {
    sentence: 'Cannot read the arguments: "{flag}" is given more than once',
    remedy: "Give it once",
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_UNEXPECTED_ARGUMENT: {
    sentence: 'Cannot read the arguments: "{argument}" is one too many for "{command}"',
    remedy: 'Run "{command} --help" for what it takes',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_MISSING_ARGUMENT: {
    sentence: 'Cannot run "{command}": {argument} is missing',
    remedy: 'Run "{command} --help" for what it takes',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_BAD_VALUE: {
    sentence: 'Cannot read the arguments: "{value}" is not a value for "{flag}": {why}',
    remedy: 'Run "{command} --help" for its form',
    exit: EXIT.USAGE,
    retry: "never",
  },
  CLI_NOT_IN_THIS_BUILD: {
    sentence: 'Cannot run "{command}": this build does not contain it',
    remedy: "Use a release that lists it in --help",
    exit: EXIT.UNAVAILABLE,
    retry: "never",
  },
  CLI_HOSTILE_ENVIRONMENT: {
    sentence:
      "Cannot start: the environment sets {variables}: that changes how this program runs or whom it trusts",
    remedy: 'Start it without: "env {unset} …"',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  CLI_NOT_HARDENED: {
    sentence: 'Cannot start: the runtime option "{option}" is not in force',
    remedy: "Use a released binary, or build with npm run build",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  CLI_INPUT_UNREADABLE: {
    sentence: 'Cannot read "{path}": {why}',
    remedy: "Check the path and its permissions",
    exit: EXIT.NO_INPUT,
    retry: "never",
  },
  CLI_OUTPUT_CLOSED: {
    sentence: "Cannot write the output: {why}",
    remedy: "Check where standard output goes",
    exit: EXIT.CANT_CREATE,
    retry: "never",
  },
  INTERNAL_ERROR: {
    sentence: "Cannot go on: an error this program does not know happened ({what})",
    remedy: "This is a defect; report it with the log lines around it",
    exit: EXIT.INTERNAL,
    retry: "backoff",
  },
} as const satisfies FaultTable;
