/** When every simulated world begins, milliseconds since the Unix epoch. */
export const START_MS = Date.UTC(2026, 0, 15, 12, 0, 0);
