/** What worker threads do with their jobs. */
export const BEHAVIOURS = [
  "succeeds",
  "fails",
  "spins",
  "obeys",
  "ignores",
  "lies",
  "dies",
  "trickles",
] as const;
export type Behaviour = (typeof BEHAVIOURS)[number];
