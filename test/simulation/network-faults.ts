/** What a wire does to one exchange. */
export const WIRE_FAULTS = [
  "request lost",
  "request lost in silence",
  "reply lost",
  "reply lost in silence",
  "request delayed",
  "reply delayed",
  "request sent twice",
  "html page",
  "bad gateway",
  "service unavailable",
  "unauthorized by a proxy",
  "redirect",
  "reply altered",
  "reply cut short",
] as const;
export type WireFault = (typeof WIRE_FAULTS)[number];
