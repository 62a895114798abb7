// What is particular to getting in: proof of possession (RFC 9449 section 4.3), client assertion (RFC 7523 section 3),
// access token (RFC 9068, RFC 9449 section 6).

import { TYP } from "../../src/protocol/trust.ts";
import { anySigningKey } from "../support/authority.ts";
import { NOW_S } from "../unit/trust/signing-world.ts";
import {
  type Attack,
  type AttackClass,
  base64url,
  claiming,
  type Door,
  type DoorName,
  good,
  headed,
  heading,
  many,
} from "./door.ts";
import { NONCES, PROOF_URL, TOKEN_URL } from "./server-doors.ts";

export const ACCESS_CLASSES = {
  "proof: for another request": { only: ["proof"] },
  "proof: for another token": { only: ["proof"] },
  "proof: another nonce": { only: ["proof"] },
  "proof: key in its header": { only: ["proof"] },
  "proof: its own id": { only: ["proof"] },
  "assertion: whose and for whom": { only: ["client assertion"] },
  "assertion: its own id": { only: ["client assertion"] },
  "bearer: made by others": { only: ["bearer"] },
} as const satisfies Readonly<Record<string, AttackClass>>;

type Kind = keyof typeof ACCESS_CLASSES;

/** These claims changed, this very answer. */
const at =
  (door: DoorName) =>
  (kind: Kind, name: string, why: string, changes: object, answer: string): Attack => ({
    kind,
    name,
    why,
    doors: [door],
    make: (shown) => claiming(shown, changes),
    expected: () => answer,
  });
const proof = at("proof");
const assertion = at("client assertion");

const request = "proof: for another request";
const method = "RFC 9449 section 4.3, 8";
const uri = "RFC 9449 section 4.3, 9";
const REFUSED = "DPOP_INVALID";
const SCHEMA = "DPOP_INVALID < JWS_WRONG_CLAIMS";

/** The agent's key, with its JWK changed. */
const jwk = (name: string, why: string, change: (jwk: object) => unknown, answer: string): Attack => ({
  kind: "proof: key in its header",
  name,
  why,
  doors: ["proof"],
  make: (door) => heading(door, { jwk: change(door.header["jwk"] as object) }),
  expected: () => answer,
});

const UNKNOWN = "DPOP_INVALID < JWS_UNKNOWN_KEY";
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const respelt = (x: string) => x.slice(0, -1) + DIGITS[DIGITS.indexOf(x.at(-1) ?? "A") ^ 1];

async function strangersProof(door: Door): Promise<string> {
  const stranger = await anySigningKey();
  const header = base64url(JSON.stringify({ ...door.header, jwk: stranger.jwk }));
  const input = `${header}.${base64url(JSON.stringify(door.claims))}`;
  const signature = await crypto.subtle.sign("Ed25519", stranger.privateKey, Buffer.from(input));
  return `${input}.${base64url(new Uint8Array(signature))}`;
}

const PROOFS: readonly Attack[] = [
  proof(request, "another method", method, { htm: "PUT" }, REFUSED),
  proof(request, "the method in small letters", `${method}: case-sensitive`, { htm: "post" }, REFUSED),
  proof(request, "no method", "RFC 9449 section 4.3, 3", { htm: "" }, REFUSED),
  proof(request, "another path", uri, { htu: TOKEN_URL }, REFUSED),
  proof(request, "another host", uri, { htu: "https://evil.example/v1/heartbeat" }, REFUSED),
  proof(request, "another port", uri, { htu: "https://control.example:8443/v1/heartbeat" }, REFUSED),
  proof(request, "without TLS", uri, { htu: PROOF_URL.replace("https", "http") }, REFUSED),
  proof(request, "a host in front of it", uri, { htu: PROOF_URL.replace("//", "//evil@") }, REFUSED),
  proof(request, "with a query", "RFC 9449 section 4.2: without", { htu: `${PROOF_URL}?x=1` }, REFUSED),
  proof(request, "with a fragment", "RFC 9449 section 4.2: without", { htu: `${PROOF_URL}#x` }, REFUSED),
  proof(request, "a slash behind it", uri, { htu: `${PROOF_URL}/` }, REFUSED),
  proof(request, "another body", "a changed body under a right proof", { bsha: "x".repeat(43) }, REFUSED),
  proof(request, "no body", "a body where none was signed", { bsha: undefined }, SCHEMA),
  proof(request, "the body's digest in hexadecimal", "one spelling", { bsha: "0".repeat(64) }, SCHEMA),

  proof(
    "proof: for another token",
    "another one",
    "RFC 9449 section 4.3, 12",
    { ath: "x".repeat(43) },
    REFUSED,
  ),
  proof("proof: for another token", "none", "RFC 9449 section 4.3, 12", { ath: undefined }, REFUSED),
  proof("proof: for another token", "an empty digest", "RFC 9449 section 4.3, 12", { ath: "" }, SCHEMA),

  proof("proof: another nonce", "none", "RFC 9449 section 4.3, 10", { nonce: undefined }, "USE_DPOP_NONCE"),
  proof("proof: another nonce", "empty", "RFC 9449 section 9", { nonce: "" }, "USE_DPOP_NONCE"),
  proof(
    "proof: another nonce",
    "made up",
    "RFC 9449 section 11.3",
    { nonce: "x".repeat(22) },
    "USE_DPOP_NONCE",
  ),
  proof(
    "proof: another nonce",
    "two slots old",
    "RFC 9449 section 8.2",
    { nonce: NONCES.current(NOW_S - 600) },
    "USE_DPOP_NONCE",
  ),
  proof(
    "proof: another nonce",
    "of the slot to come",
    "RFC 9449 section 11.2: proofs made ahead",
    { nonce: NONCES.current(NOW_S + 300) },
    "USE_DPOP_NONCE",
  ),

  {
    kind: "proof: key in its header",
    name: "a stranger's",
    why: "RFC 9449 section 4.3, 12: the key the token is bound to",
    doors: ["proof"],
    make: strangersProof,
    expected: () => REFUSED,
  },
  jwk("with its private part", "RFC 9449 section 4.3, 7", (key) => ({ ...key, d: "A".repeat(43) }), UNKNOWN),
  jwk("with an id", "one key, one thumbprint", (key) => ({ ...key, kid: "k" }), UNKNOWN),
  jwk("with a use", "one key, one thumbprint", (key) => ({ ...key, use: "sig", key_ops: ["sign"] }), UNKNOWN),
  jwk("another curve", "RFC 8037 section 2", (key) => ({ ...key, crv: "X25519" }), UNKNOWN),
  jwk("a symmetric key", "RFC 9449 section 4.3, 5", () => ({ kty: "oct", k: "AAAA" }), UNKNOWN),
  jwk(
    "an elliptic key",
    "RFC 9449 section 4.3, 5",
    (key) => ({ ...key, kty: "EC", crv: "P-256", y: "AA" }),
    UNKNOWN,
  ),
  jwk(
    "its text with other spare bits",
    "RFC 7638 section 3: one key would have four thumbprints",
    (key) => ({ ...key, x: respelt((key as { x: string }).x) }),
    UNKNOWN,
  ),
  jwk("empty", "RFC 9449 section 4.3, 6", () => ({}), UNKNOWN),
  jwk("null", "RFC 9449 section 4.3, 6", () => null, UNKNOWN),
  jwk("a text", "RFC 9449 section 4.3, 6", (key) => JSON.stringify(key), UNKNOWN),
  {
    kind: "proof: key in its header",
    name: "named instead",
    why: "RFC 9449 section 4.2",
    doors: ["proof"],
    make: (door) => headed(door, { alg: "EdDSA", kid: door.key?.kid, typ: TYP.dpop }),
    expected: () => "DPOP_INVALID < JWS_MALFORMED",
  },

  proof("proof: its own id", "empty", "RFC 9449 section 4.2: unique", { jti: "" }, SCHEMA),
  proof(
    "proof: its own id",
    "short",
    "RFC 9449 section 4.2: 96 bits at least",
    { jti: "x".repeat(15) },
    SCHEMA,
  ),
  proof("proof: its own id", "endless", "it is remembered", { jti: "x".repeat(4000) }, SCHEMA),
  proof(
    "proof: its own id",
    "with a dot",
    "it is remembered under key and id",
    { jti: `${"x".repeat(20)}.` },
    SCHEMA,
  ),
];

const OTHER = `agt_${"x".repeat(20)}`;
const whose = "assertion: whose and for whom";

const ASSERTIONS: readonly Attack[] = [
  assertion(whose, "two agents", "RFC 7523 section 3, 1 and 2", { iss: OTHER }, "API_UNAUTHENTICATED"),
  assertion(whose, "another subject", "RFC 7523 section 3, 2", { sub: OTHER }, "API_UNAUTHENTICATED"),
  assertion(
    whose,
    "another server",
    "RFC 7523 section 3, 3",
    { aud: "https://evil.example/v1/token" },
    "API_UNAUTHENTICATED",
  ),
  assertion(whose, "another route", "RFC 7523 section 3, 3", { aud: PROOF_URL }, "API_UNAUTHENTICATED"),
  assertion(
    whose,
    "a slash behind the server",
    "RFC 7523 section 3, 3: compared as it is",
    { aud: "https://control.example/" },
    "API_UNAUTHENTICATED",
  ),
  assertion(
    whose,
    "several servers",
    "RFC 7523 section 3, 3",
    { aud: [TOKEN_URL, "https://evil.example"] },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
  assertion(
    whose,
    "no agent's name",
    "RFC 7523 section 3, 2",
    { iss: "root", sub: "root" },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
  assertion(
    whose,
    "a scope beside it",
    "RFC 7523 section 3, 8",
    { scope: "admin" },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
  assertion(
    "assertion: its own id",
    "empty",
    "RFC 7523 section 3, 7",
    { jti: "" },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
  assertion(
    "assertion: its own id",
    "short",
    "RFC 7523 section 3, 7",
    { jti: "1" },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
  assertion(
    "assertion: its own id",
    "endless",
    "it is remembered",
    { jti: "x".repeat(65) },
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
  ),
];

/** Texts that somebody without the secret could make. */
const BEARERS: readonly Attack[] = [
  {
    kind: "bearer: made by others",
    name: "each claim changed under the old MAC",
    why: "RFC 9068 section 4: the signature is checked",
    doors: ["bearer"],
    make: async (door) => {
      const mac = (await good(door)).split(".")[2];
      const changes = Object.keys(door.claims).map((name) => ({
        [name]: name === "exp" ? NOW_S + 9e5 : OTHER,
      }));
      return many(
        changes.map(async (change) => {
          const changed = await claiming(door, change);
          return `${changed.slice(0, changed.lastIndexOf("."))}.${mac}`;
        }),
      );
    },
    expected: () => "BEARER_INVALID",
  },
  {
    kind: "bearer: made by others",
    name: "signed by the agent itself",
    why: "RFC 8725 section 2.1",
    doors: ["bearer"],
    make: async (door, doors) => {
      const own = { ...doors.receipt, claims: door.claims };
      return many([headed(own, door.header), heading(own, { typ: TYP.bearer, alg: "EdDSA" })]);
    },
    expected: () => "BEARER_INVALID",
  },
  {
    kind: "bearer: made by others",
    name: "the MAC in hexadecimal, in base64, cut, doubled, nothing",
    why: "RFC 7515 section 5.2",
    doors: ["bearer"],
    make: async (door) => {
      const token = await good(door);
      const [input, mac] = [token.slice(0, token.lastIndexOf(".")), token.slice(token.lastIndexOf(".") + 1)];
      const bytes = Buffer.from(mac, "base64url");
      const macs = [bytes.toString("hex"), bytes.toString("base64"), mac.slice(0, -1), mac + mac, ""];
      return many(macs.map(async (other) => `${input}.${other}`));
    },
    expected: () => "BEARER_INVALID",
  },
];

export const ACCESS_ATTACKS: readonly Attack[] = [...PROOFS, ...ASSERTIONS, ...BEARERS];
