/** How many past requests, revoked nonces and superseded instances a chain remembers. */
const REMEMBERED = 16;

/**
 * Where an agent's sequence of heartbeats stands. `n` and `nonce` are what the next beat must show, `prev` what the
 * last accepted one showed. Kept as JSON in the database.
 */
export interface ChainState {
  readonly v: 1;
  readonly n: number;
  readonly nonce: string;
  readonly prev: string | null;
  /** The beat accepted last. `iat` is the time of its DPoP proof, seconds. */
  readonly last: { readonly rid: string; readonly inst: string; readonly iat: number } | null;
  /** Requests accepted before that one, newest last. */
  readonly rids: readonly string[];
  /** Nonces given and taken back when a reply was lost: whoever shows one has a copy of somebody's state. */
  readonly revoked: readonly string[];
  /** Processes that another one has followed, with the proof time of the beat that did. */
  readonly superseded: readonly { readonly inst: string; readonly iat: number }[];
}

/** The chain of a newly activated agent. */
export const newChain = (first: string): ChainState => ({
  v: 1,
  n: 0,
  nonce: first,
  prev: null,
  last: null,
  rids: [],
  revoked: [],
  superseded: [],
});

/**
 * The chain of an agent whose beats of the past were lost here: it goes on from whatever this beat shows, which, sent
 * again, gets the same answer.
 */
export const joinedChain = (beat: ChainBeat, fresh: string): ChainState =>
  advance({ ...newChain(beat.nonce), n: beat.n }, beat, fresh);

export interface ChainBeat {
  readonly n: number;
  readonly nonce: string;
  readonly inst: string;
  readonly rid: string;
  /** Time of the DPoP proof, seconds. */
  readonly iatS: number;
}

/** What only two holders of one state can bring about, or a server that lost some. */
export type ChainAnomaly = "superseded_instance" | "revoked_nonce" | "stale_nonce" | "beat_ahead";

export type ChainVerdict =
  /** In turn: the chain goes on. */
  | { readonly verdict: "advanced"; readonly chain: ChainState }
  /** The last request once more: it gets the same reply. */
  | { readonly verdict: "repeated" }
  /** The last reply never reached a process that has since been replaced: the nonce it carried is taken back. */
  | { readonly verdict: "reforked"; readonly chain: ChainState }
  /** An old beat that was long under way. Changes nothing and means nothing. */
  | { readonly verdict: "late"; readonly why: string }
  | { readonly verdict: "anomaly"; readonly kind: ChainAnomaly; readonly why: string };

/**
 * Judges a beat against its agent's chain; `fresh` is the nonce to give if it goes on. The first line that fits wins.
 * A proof's time has whole seconds: a beat of the same second as the last one counts as not later, and a process that is
 * put off for that is heard with its next try.
 */
export function judgeBeat(chain: ChainState, beat: ChainBeat, fresh: string): ChainVerdict {
  const followed = chain.superseded.find(({ inst }) => inst === beat.inst);
  if (followed !== undefined) {
    return beat.iatS <= followed.iat
      ? { verdict: "late", why: "a later process of this agent has spoken since" }
      : anomaly("superseded_instance", "a process that another one followed speaks again");
  }
  if (beat.n === chain.n && beat.nonce === chain.nonce) {
    return { verdict: "advanced", chain: advance(chain, beat, fresh) };
  }
  if (beat.n === chain.n - 1 && beat.nonce === chain.prev) return judgeRepeat(chain, beat, fresh);
  if (chain.revoked.includes(beat.nonce)) {
    return anomaly("revoked_nonce", "it shows a nonce that was taken back");
  }
  if (beat.n > chain.n) {
    return anomaly("beat_ahead", `it is beat ${beat.n}, the server is at ${chain.n}`);
  }
  if (chain.rids.includes(beat.rid)) return { verdict: "late", why: "it was answered before" };
  // The first beat of a process that ended unheard may be under way while its successor is answered.
  if (notLater(chain, beat)) return { verdict: "late", why: "a later beat of this agent was accepted since" };
  return anomaly("stale_nonce", "its nonce was used already, by a beat it is not");
}

/** The beat shows the nonce of the one accepted last. */
function judgeRepeat(chain: ChainState, beat: ChainBeat, fresh: string): ChainVerdict {
  const { last } = chain;
  if (last !== null && last.inst === beat.inst) {
    return last.rid === beat.rid
      ? { verdict: "repeated" }
      : anomaly("stale_nonce", "one process asks twice with one nonce");
  }
  // Answering a dead process now would take back the nonce of the living one.
  if (notLater(chain, beat)) return { verdict: "late", why: "a beat made no earlier was accepted just now" };
  return { verdict: "reforked", chain: refork(chain, beat, fresh) };
}

const notLater = ({ last }: ChainState, { iatS }: ChainBeat): boolean => last !== null && iatS <= last.iat;

const advance = (chain: ChainState, beat: ChainBeat, fresh: string): ChainState => ({
  ...follow(chain, beat),
  n: chain.n + 1,
  nonce: fresh,
  prev: chain.nonce,
});

const refork = (chain: ChainState, beat: ChainBeat, fresh: string): ChainState => ({
  ...follow(chain, beat),
  nonce: fresh,
  revoked: [...chain.revoked, chain.nonce].slice(-REMEMBERED),
});

/** Remembers the beat as the last one, and the process before it as superseded when it is another. */
function follow(chain: ChainState, { rid, inst, iatS }: ChainBeat): ChainState {
  const { last } = chain;
  const other = last !== null && last.inst !== inst;
  return {
    ...chain,
    last: { rid, inst, iat: iatS },
    rids: last === null ? chain.rids : [...chain.rids, last.rid].slice(-REMEMBERED),
    superseded: other
      ? [...chain.superseded, { inst: last.inst, iat: iatS }].slice(-REMEMBERED)
      : chain.superseded,
  };
}

const anomaly = (kind: ChainAnomaly, why: string): ChainVerdict => ({ verdict: "anomaly", kind, why });
