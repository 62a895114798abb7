/**
 * Exit statuses of every command (sysexits(3), plus TERMINAL).
 * The service unit restarts on all of them but TERMINAL and CONFIG.
 */
export const EXIT = {
  OK: 0,
  /** The question was answered and the answer is no (`job watch` of a failed job, an unhealthy `status`). */
  NEGATIVE: 1,
  /** The agent is terminal: it stays down until a fresh token is given. */
  TERMINAL: 10,
  USAGE: 64,
  DATA: 65,
  NO_INPUT: 66,
  UNAVAILABLE: 69,
  INTERNAL: 70,
  CANT_CREATE: 73,
  TRY_AGAIN: 75,
  NO_PERMISSION: 77,
  CONFIG: 78,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];
