// Goal: the chain tells a lost reply, a restart and a delayed beat from two holders of one state, and never the
// other way round.
// Method: the decision is a pure function; scripts of beats with the verdict each must get.

import { describe, expect, test } from "bun:test";
import {
  type ChainBeat,
  type ChainState,
  judgeBeat,
  newChain,
} from "../../../src/control-plane/beat/chain.ts";

type Shown = Partial<ChainBeat> & Pick<ChainBeat, "n" | "nonce">;

const beat = (shown: Shown): ChainBeat => ({ inst: "A", rid: `rid-${shown.nonce}`, iatS: 100, ...shown });

/** Plays beats; each fresh nonce is named for its turn: first, n1, n2, … */
function play(beats: readonly Shown[]): { verdicts: string[]; chain: ChainState } {
  let chain = newChain("first");
  const verdicts = beats.map((shown, turn) => {
    const verdict = judgeBeat(chain, beat(shown), `n${turn + 1}`);
    if ("chain" in verdict) chain = verdict.chain;
    return verdict.verdict === "anomaly" ? verdict.kind : verdict.verdict;
  });
  return { verdicts, chain };
}

const SCRIPTS: readonly (readonly [string, readonly Shown[], readonly string[]])[] = [
  [
    "beats in turn",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1" },
      { n: 2, nonce: "n2" },
    ],
    ["advanced", "advanced", "advanced"],
  ],
  [
    "the same request again, twice",
    [
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1" },
    ],
    ["advanced", "repeated", "repeated", "advanced"],
  ],
  [
    "a lost reply and a restart, the request repeated by the new process",
    [
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first", inst: "B", iatS: 110 },
      { n: 1, nonce: "n2", inst: "B", iatS: 120 },
    ],
    ["advanced", "reforked", "advanced"],
  ],
  [
    "two lost replies and two restarts",
    [
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first", inst: "B", iatS: 110 },
      { n: 0, nonce: "first", inst: "C", iatS: 120 },
      { n: 1, nonce: "n3", inst: "C", iatS: 130 },
    ],
    ["advanced", "reforked", "reforked", "advanced"],
  ],
  [
    "a restart without a lost reply",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1", inst: "B", iatS: 110 },
    ],
    ["advanced", "advanced"],
  ],
  [
    "a beat of the process before, long under way",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1", inst: "B", iatS: 110 },
      { n: 0, nonce: "first", inst: "A", iatS: 109 },
      { n: 2, nonce: "n2", inst: "B", iatS: 120 },
    ],
    ["advanced", "advanced", "late", "advanced"],
  ],
  [
    "a beat of the process before, made after the other had spoken",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1", inst: "B", iatS: 110 },
      { n: 2, nonce: "n2", inst: "A", iatS: 111 },
    ],
    ["advanced", "advanced", "superseded_instance"],
  ],
  [
    "a duplicate of an answered request, later than its successor",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1" },
      { n: 0, nonce: "first" },
      { n: 2, nonce: "n2" },
    ],
    ["advanced", "advanced", "late", "advanced"],
  ],
  [
    "an old nonce with a new request: a copy of an older state",
    [
      { n: 0, nonce: "first" },
      { n: 1, nonce: "n1" },
      { n: 0, nonce: "first", inst: "B", rid: "other", iatS: 101 },
    ],
    ["advanced", "advanced", "stale_nonce"],
  ],
  [
    "the nonce that was taken back: the reply had arrived after all",
    [
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first", inst: "B", iatS: 110 },
      { n: 1, nonce: "n1", inst: "C", iatS: 120 },
    ],
    ["advanced", "reforked", "revoked_nonce"],
  ],
  [
    "one process, one nonce, two requests",
    [
      { n: 0, nonce: "first" },
      { n: 0, nonce: "first", rid: "other" },
    ],
    ["advanced", "stale_nonce"],
  ],
  ["a beat ahead of the server", [{ n: 3, nonce: "later" }], ["beat_ahead"]],
  ["a number in turn with a nonce never given", [{ n: 0, nonce: "made-up" }], ["stale_nonce"]],
];

describe("the chain judges", () => {
  test.each(SCRIPTS)("%s", (_, beats, expected) => {
    expect(play(beats).verdicts).toEqual([...expected]);
  });

  test("an anomaly or a late beat changes nothing", () => {
    const before = play([{ n: 0, nonce: "first" }]).chain;
    const verdict = judgeBeat(before, beat({ n: 9, nonce: "x" }), "fresh");
    expect(verdict).not.toHaveProperty("chain");
  });

  test("and remembers only so much", () => {
    const restarts = Array.from({ length: 100 }, (_, turn) => ({
      n: turn,
      nonce: turn === 0 ? "first" : `n${turn}`,
      inst: `inst-${turn}`,
      iatS: 100 + turn,
    }));
    const { chain, verdicts } = play(restarts);
    expect(new Set(verdicts)).toEqual(new Set(["advanced"]));
    expect(chain.superseded).toHaveLength(16);
    expect(chain.rids).toHaveLength(16);
  });
});
