// What verifying a job costs beside the one thing that cannot be left out: the signature.
// The bounds of the same run: a bare Ed25519 verification of the same bytes under the same key, by the fastest call there
// is and by WebCrypto's.
// Bound: the whole verification at least 45 % as fast as the faster one, with a payload of 1 KB.

import { KeyObject, verify } from "node:crypto";
import { TYP } from "../../src/protocol/trust.ts";
import { verifyJob } from "../../src/trust/job.ts";
import { EMPTY_WINDOW } from "../../src/trust/replay-window.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { makeWorld, NOW_S } from "../unit/trust/signing-world.ts";

const ROUNDS = 30;
const WARM_ROUNDS = 5;
const PER_ROUND = 400;
const PAYLOAD_BYTES = 1024;
const BOUND = 0.45;

const world = await makeWorld();
const context = {
  trust: world.trust,
  license: world.license,
  window: EMPTY_WINDOW,
  acceptedBefore: () => false,
  nowS: NOW_S,
};
const bare = { source: { type: "empty" }, run: ["sh", "-c", ""] };
const filler = "x".repeat(PAYLOAD_BYTES - JSON.stringify(bare).length);
const payload = { ...bare, run: ["sh", "-c", filler] };
const envelope = await signJws(TYP.job, world.keys.job, { ...world.job, payload });
const end = envelope.lastIndexOf(".");
const signed = new TextEncoder().encode(envelope.slice(0, end));
const signature = Buffer.from(envelope.slice(end + 1), "base64url");
const key = world.trust.keyFor("job", world.keys.job.kid, NOW_S);
if (key === null) throw new Error("no key");

const keyObject = KeyObject.from(key);

const bareSync = async () => {
  if (!verify(null, signed, keyObject, signature)) throw new Error("bare");
};
const bareWeb = async () => {
  if (!(await crypto.subtle.verify("Ed25519", key, signature, signed))) throw new Error("bare");
};
const whole = async () => {
  const { verdict } = await verifyJob(envelope, context);
  if (verdict !== "verified") throw new Error(verdict);
};

async function microseconds(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < PER_ROUND; i++) await work();
  return ((performance.now() - began) * 1000) / PER_ROUND;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

// One after the other within each round, so that whatever else the machine does meets all alike.
const us: { readonly sync: number[]; readonly web: number[]; readonly whole: number[] } = {
  sync: [],
  web: [],
  whole: [],
};
for (let round = -WARM_ROUNDS; round < ROUNDS; round++) {
  const took = {
    sync: await microseconds(bareSync),
    web: await microseconds(bareWeb),
    whole: await microseconds(whole),
  };
  if (round < 0) continue;
  us.sync.push(took.sync);
  us.web.push(took.web);
  us.whole.push(took.whole);
}
const bareUs = Math.min(median(us.sync), median(us.web));
const speed = bareUs / median(us.whole);
console.log(
  `envelope                           ${envelope.length} characters, payload ${PAYLOAD_BYTES} bytes`,
);
console.log(
  `bare Ed25519 verification          ${median(us.sync).toFixed(1)} us (median of ${ROUNDS} rounds)`,
);
console.log(`the same by WebCrypto              ${median(us.web).toFixed(1)} us`);
console.log(`verifyJob                          ${median(us.whole).toFixed(1)} us`);
console.log(
  `verifyJob / fastest bare, in speed ${(speed * 100).toFixed(0)} % (bound at least ${BOUND * 100} %)`,
);
process.exitCode = speed >= BOUND ? 0 : 1;
