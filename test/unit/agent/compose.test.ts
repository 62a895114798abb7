// Goal: a beat names every attempt that is in flight, however much else there is to name.
// Method: a real journal with more rows than a beat has room for.

import { afterAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { composeBeat } from "../../../src/agent/compose.ts";
import { Journal } from "../../../src/agent/journal.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import type { VerifiedJob } from "../../../src/trust/job.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { Authority, FINGERPRINT, nonce } from "../../support/authority.ts";
import { scratchDirectory } from "../../support/scratch.ts";

const directory = scratchDirectory("compose");
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("what is handed back leaves room for what is in flight", async () => {
  const authority = await Authority.make(() => 1_700_000_000);
  await authority.enrol(`agt_${"a".repeat(20)}` as never, authority.keys.job.jwk);
  using journal = Journal.open(join(directory, "journal.db"));
  for (let i = 0; i < LIMITS.BEAT_JOBS; i++)
    journal.addJob(authority.jobClaims(), sha256Of(`${i}`), "returned", 1);
  const claims = authority.jobClaims();
  const { scope, limits } = claims;
  const job = { claims, envelopeSha256: sha256Of("one") } as VerifiedJob;
  journal.acceptJob(job, { scope, limits, limits_enforced: "weak" }, 2);
  const beat = composeBeat(
    {
      ...{
        chain: { n: 0, nonce: nonce() },
        inst: nonce(),
        boot: "b",
        rid: nonce(),
        state: "full",
        startedAt: 0,
      },
      ...{ seal: null, findings: [], epoch: 1, capacity: 64, nowMs: 1, offsetMs: null },
    },
    {
      ...{
        fingerprint: FINGERPRINT,
        fingerprint_unknown: [],
        bundle: "verified",
        policy: null,
        version: "1.2.3",
      },
      host: {
        ...{ hostname: "h", load1: 0, sandbox: { ok: true, codes: [] }, kinds: [] },
        ...{ memory_bytes: { total: 1, available: 1 }, disk_bytes: { total: 1, available: 1 } },
      },
    },
    journal,
  );
  expect(beat.jobs).toHaveLength(LIMITS.BEAT_JOBS);
  expect(beat.jobs[0]).toMatchObject({ jti: claims.jti, state: "accepted" });
  expect(beat.capacity.in_flight).toBe(1);
});
