// How fast a job's output passes through the scrubber, against a plain copy of the same bytes in the same run.
// Bounds: ordinary output at a fiftieth of the copy's speed or more; the worst text there is, made of nothing but beginnings
// of secrets in every encoding, in time linear in its length: twice the text, at most three times the time.

import { Scrubber } from "../../workers/scrub/scrubber.ts";

const CHUNK_BYTES = 65_536;
const ROUNDS = 5;
const ORDINARY_SHARE = 0.02;
const LINEAR = 3;

const TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
const KEY = [
  "-----BEGIN PRIVATE KEY-----",
  ...Array.from({ length: 24 }, (_, line) =>
    Buffer.from(Bun.CryptoHasher.hash("sha384", `line ${line}`) as Uint8Array).toString("base64"),
  ),
  "-----END PRIVATE KEY-----",
].join("\n");
const FEW = { TOKEN, DATABASE_URL: "postgres://app:p%40ssw0rd@db.internal:5432/main?sslmode=require" };

/** Output of a build and its tests, a few million bytes of it. */
function ordinary(bytes: number): Uint8Array {
  const lines = [
    "ok 1812 - parses the document it is given (3.18 ms)",
    "  at Object.<anonymous> (/work/test/unit/protocol/json.test.ts:118:12)",
    '{"level":"info","time":"2031-05-01T10:00:00.123Z","msg":"request","path":"/api/v1/jobs?limit=50"}',
    "[ 45%] Building CXX object src/CMakeFiles/core.dir/value.cc.o",
    "npm warn deprecated it's gone: use 'other' & don't worry",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  dist/app.js",
    "C:\\build\\out\\value.obj : 100% done",
  ];
  let text = "";
  for (let index = 0; text.length < bytes; index++) text += `${lines[index % lines.length]} ${index}\n`;
  return Buffer.from(text.slice(0, bytes));
}

/** Nothing but beginnings of the token, in every encoding. */
function nearMisses(bytes: number): Uint8Array {
  const near = TOKEN.slice(0, -2);
  const forms = [
    near,
    Buffer.from(near).toString("base64").replace(/=+$/, ""),
    Buffer.from(near).toString("hex"),
    [...near].map((c) => `%${c.charCodeAt(0).toString(16)}`).join(""),
    [...near].map((c) => `\\u00${c.charCodeAt(0).toString(16)}`).join(""),
  ].join("");
  return Buffer.from(forms.repeat(Math.ceil(bytes / forms.length)).slice(0, bytes));
}

/** A Buffer's own slice copies nothing. */
const copyOf = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);

type Pass = (text: Uint8Array) => number;

const copy: Pass = (text) => {
  let sum = 0;
  for (let at = 0; at < text.length; at += CHUNK_BYTES)
    sum += copyOf(text.subarray(at, at + CHUNK_BYTES)).length;
  return sum;
};

const through =
  (scrubber: Scrubber): Pass =>
  (text) => {
    const stream = scrubber.stream();
    let sum = 0;
    for (let at = 0; at < text.length; at += CHUNK_BYTES) {
      sum += copyOf(stream.push(text.subarray(at, at + CHUNK_BYTES))).length;
    }
    return sum + stream.end().length;
  };

/** Best time of some rounds: what the machine can, without what else it does. */
function bestMs(pass: Pass, text: Uint8Array): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    if (pass(text) !== text.length) throw new Error("the text has changed");
    best = Math.min(best, performance.now() - began);
  }
  return best;
}

const speed = (text: Uint8Array, ms: number): string =>
  `${(text.length / 1e3 / ms).toFixed(0)} MB/s`.padStart(10);

const build = ordinary(32_000_000);
const copyMs = bestMs(copy, build);
const fewMs = bestMs(through(new Scrubber(FEW)), build);
const manyMs = bestMs(through(new Scrubber({ ...FEW, KEY })), build);
const halfMs = bestMs(through(new Scrubber({ TOKEN })), nearMisses(1_000_000));
const worst = nearMisses(2_000_000);
const worstMs = bestMs(through(new Scrubber({ TOKEN })), worst);
console.log(`plain copy                                ${speed(build, copyMs)}`);
console.log(`ordinary output, two secrets of a line    ${speed(build, fewMs)}`);
console.log(`ordinary output, a key of 26 lines too    ${speed(build, manyMs)}`);
console.log(`near misses alone, one secret             ${speed(worst, worstMs)}`);
console.log(
  `scrubbed / copied                         ${(copyMs / fewMs).toFixed(2)} (bound ${ORDINARY_SHARE})`,
);
console.log(
  `twice the near misses                     ${(worstMs / halfMs).toFixed(2)} × the time (bound ${LINEAR})`,
);
process.exitCode = copyMs / fewMs >= ORDINARY_SHARE && worstMs / halfMs <= LINEAR ? 0 : 1;
