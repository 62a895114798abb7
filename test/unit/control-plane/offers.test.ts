// Goal: jobs go to agents that can take them, in their turn, never more than fit.
// Method: the choice is a pure function; agents and queues as values.

import { describe, expect, test } from "bun:test";
import { chooseOffers, type OfferFacts } from "../../../src/control-plane/queue/offers.ts";
import { judgeSlot } from "../../../src/control-plane/queue/slots.ts";
import type { JobRow } from "../../../src/control-plane/store/schema.ts";
import { AGENT, jobRow } from "./support/job-row.ts";

const job = (name: string, changes: Partial<JobRow> = {}) => jobRow({ id: name as JobRow["id"], ...changes });
const facts = (changes: Partial<OfferFacts> = {}): OfferFacts => ({
  state: "idle",
  slotHeld: true,
  kinds: ["test.run"],
  capacity: 2,
  inFlight: 0,
  held: [],
  except: new Set(),
  ...changes,
});
const chosen = (changes: Partial<OfferFacts>, queued: readonly JobRow[]) =>
  chooseOffers(facts(changes), queued).map(({ id }) => id as string);

describe("offers", () => {
  test("go by priority, then age, as many as there are places", () => {
    const queue = [
      job("old", { queued_at: 1 }),
      job("urgent", { priority: 5, queued_at: 9 }),
      job("new", { queued_at: 3 }),
    ];
    expect(chosen({}, queue)).toEqual(["urgent", "old"]);
    expect(chosen({ inFlight: 1 }, queue)).toEqual(["urgent"]);
    expect(chosen({ inFlight: 2 }, queue)).toEqual([]);
  });

  test("repeat what was offered and not named, before anything new, in the same places", () => {
    const offered = job("offered", { state: "offered", agent_id: AGENT });
    expect(chosen({ held: [offered] }, [job("new"), job("newer")])).toEqual(["offered", "new"]);
    const leased = job("leased", { state: "leased", agent_id: AGENT, lease_until: 9 });
    expect(chosen({ held: [leased] }, [job("new"), job("newer")])).toEqual(["new"]);
  });

  test.each(["draining", "paused", "quarantined", "standby", "full", "terminal"] as const)(
    "none to an agent that is %s",
    (state) => {
      expect(chosen({ state }, [job("a")])).toEqual([]);
    },
  );

  test("some to an agent back from isolation, with the very beat that ends it", () => {
    expect(chosen({ state: "isolated" }, [job("a")])).toEqual(["a"]);
  });

  test("none without a slot, of another kind, or just handed back", () => {
    expect(chosen({ slotHeld: false }, [job("a")])).toEqual([]);
    expect(chosen({ kinds: ["plan.draft"] }, [job("a")])).toEqual([]);
    expect(chosen({ except: new Set(["a"]) }, [job("a"), job("b")])).toEqual(["b"]);
  });

  test("no more than a reply holds: at most 16 jobs, and 3 MiB once signed", () => {
    const many = Array.from({ length: 40 }, (_, i) => job(`j${i}`));
    expect(chosen({ capacity: 64 }, many)).toHaveLength(16);
    const payload = JSON.stringify({ text: "x".repeat(700_000) });
    const large = many.map((row) => ({ ...row, payload }));
    expect(chosen({ capacity: 64 }, large)).toHaveLength(3);
    // One that does not fit any more does not keep a small one from going.
    expect(chosen({ capacity: 64 }, [...large.slice(0, 4), job("small")])).toContain("small");
  });
});

describe("a slot", () => {
  test.each([
    ["is free", { maxAgents: 2, holders: 1, evictable: null, ahead: 0 }, { verdict: "held", evict: null }],
    ["is for who waits longer", { maxAgents: 2, holders: 1, evictable: null, ahead: 1 }, { position: 2 }],
    ["is taken", { maxAgents: 2, holders: 2, evictable: null, ahead: 0 }, { position: 1 }],
    [
      "is taken from who is silent",
      { maxAgents: 2, holders: 2, evictable: "x", ahead: 0 },
      { verdict: "held", evict: "x" },
    ],
    ["stays when the plan shrank", { maxAgents: 1, holders: 2, evictable: "x", ahead: 0 }, { position: 1 }],
  ] as const)("%s", (_, standing, expected) => {
    expect(judgeSlot(standing)).toMatchObject(expected);
  });
});
