// For whom, from whom, when and how often: right texts in the wrong place (RFC 7519 section 4.1, RFC 8725 sections 3.8, 3.9).

import { LIMITS } from "../../src/protocol/limits.ts";
import { NOW_S } from "../unit/trust/signing-world.ts";
import { type Attack, type AttackClass, claiming, type DoorName, good } from "./door.ts";

const NUMBERED = { "trust set": "an older one is known by its number" };
const SIGHT = { proof: "has one time, not two", bearer: "whoever checks it made it" };

export const BINDING_CLASSES = {
  "other issuer": { needs: ["issuer"] },
  "other agent": { needs: ["agent"] },
  "other license": { needs: ["license"] },
  "other epoch": { needs: ["epoch"] },
  late: { needs: ["times"] },
  early: { needs: ["times"], except: { ...NUMBERED, bearer: SIGHT.bearer } },
  "issued in the future": { needs: ["times"], except: { ...NUMBERED, bearer: SIGHT.bearer } },
  "ends before it begins": { needs: ["times"], except: { ...NUMBERED, ...SIGHT } },
  "ten years": { needs: ["lifetime"] },
  replay: { needs: ["once"] },
} as const satisfies Readonly<Record<string, AttackClass>>;

const foreign = { cp: `cp_${"x".repeat(20)}`, agt: `agt_${"x".repeat(20)}`, lic: `lic_${"x".repeat(20)}` };
const T = LIMITS.CLOCK_TOLERANCE_S;
const AGE = LIMITS.DPOP_AGE_S;
const TEN_YEARS_S = 3650 * 86_400;

/** One door, these claims changed, this very answer. */
const at = (
  kind: keyof typeof BINDING_CLASSES,
  door: DoorName,
  changes: object,
  answer: string,
  why: string,
): Attack => ({
  kind,
  name: `${door}: ${JSON.stringify(changes).slice(0, 80)}`,
  why,
  doors: [door],
  make: (shown) => claiming(shown, changes),
  expected: () => answer,
});

const issuer = "RFC 7519 section 4.1.1, RFC 8725 section 3.8";
const audience = "RFC 7519 section 4.1.3, RFC 8725 section 3.9";
const binding = "RFC 7800 section 3: bound to a key";
const epoch = "an older life of this agent";
const expiry = "RFC 7519 section 4.1.4";
const beginning = "RFC 7519 section 4.1.5";
const issue = "RFC 7519 section 4.1.6";
const lifetime = "RFC 8725 section 3.8: a thief's text does not live for ever";

/** A span of `seconds` from `begin`, as claims. */
const span = (begin: number, seconds: number) => ({
  iat: NOW_S + begin,
  nbf: NOW_S + begin,
  exp: NOW_S + begin + seconds,
});
const ending = (seconds: number) => ({ exp: NOW_S + seconds });

export const BINDING_ATTACKS: readonly Attack[] = [
  at("other issuer", "license", { iss: foreign.cp }, "LICENSE_INVALID", issuer),
  at("other issuer", "job", { iss: foreign.cp }, "JOB_WRONG_ISSUER", issuer),
  at("other issuer", "order", { iss: foreign.cp }, "ORDER_WRONG_ISSUER", issuer),

  at("other agent", "license", { sub: foreign.agt }, "LICENSE_INVALID", "RFC 7519 section 4.1.2"),
  at("other agent", "license", { cnf: { jkt: "x".repeat(43) } }, "LICENSE_INVALID", binding),
  at("other agent", "job", { aud: foreign.agt }, "JOB_WRONG_AGENT", audience),
  at("other agent", "order", { aud: foreign.agt }, "ORDER_WRONG_AGENT", audience),
  at("other agent", "order", { jkt: "x".repeat(43) }, "ORDER_WRONG_AGENT", binding),
  at(
    "other agent",
    "order",
    { order: { type: "recover", inst: "x".repeat(22) } },
    "ORDER_WRONG_AGENT",
    "a copy of the agent holds the same key: one process is named",
  ),
  at("other agent", "reply", { agent: foreign.agt }, "WIRE_REPLY_UNSIGNED", audience),
  at("other agent", "reply", { rid: "x".repeat(22) }, "WIRE_REPLY_UNSIGNED", "the reply to another request"),
  at("other agent", "reply", { sha256: "0".repeat(64) }, "WIRE_REPLY_UNSIGNED", "another body"),
  at("other agent", "rekey proof", { agent: foreign.agt }, "REKEY_PROOF_INVALID", audience),
  at("other agent", "rekey proof", { old_jkt: "x".repeat(43) }, "REKEY_PROOF_INVALID", binding),
  at(
    "other agent",
    "rekey proof",
    { order_sha256: "0".repeat(64) },
    "REKEY_PROOF_INVALID",
    "another recovery",
  ),
  at("other agent", "rekey proof", { sealing_x: "A".repeat(43) }, "REKEY_PROOF_INVALID", "another's secrets"),

  at(
    "other license",
    "job",
    { lic: foreign.lic },
    "JOB_WRONG_LICENSE",
    "another license of the same account",
  ),
  at("other epoch", "job", { epoch: 2 }, "JOB_WRONG_EPOCH", epoch),
  at("other epoch", "order", { epoch: 2 }, "ORDER_WRONG_EPOCH", epoch),

  at("late", "trust set", ending(-T), "TRUST_EXPIRED", expiry),
  at("late", "license", span(-100, 50), "license grace", expiry),
  at("late", "license", { ...span(-100, 50), offline_grace_s: 50 }, "license expired", expiry),
  at("late", "job", span(-600 - T, 600), "JOB_EXPIRED", expiry),
  at("late", "order", span(-600 - T, 600), "ORDER_NOT_IN_TIME", expiry),
  at(
    "late",
    "client assertion",
    { iat: NOW_S - 30, exp: NOW_S },
    "API_UNAUTHENTICATED",
    "RFC 7523 section 3, 4",
  ),
  at("late", "client assertion", { iat: NOW_S - AGE - 1 }, "WIRE_CLOCK_SKEW", "RFC 7523 section 3, 6"),
  at("late", "proof", { iat: NOW_S - AGE - 1 }, "WIRE_CLOCK_SKEW", "RFC 9449 section 4.3, 11"),
  at("late", "bearer", ending(0), "BEARER_INVALID", expiry),

  at("early", "license", { nbf: NOW_S + T + 1 }, "license not_yet_valid", beginning),
  at("early", "job", { nbf: NOW_S + T + 1 }, "JOB_NOT_YET_VALID", beginning),
  at("early", "order", { nbf: NOW_S + T + 1 }, "ORDER_NOT_IN_TIME", beginning),
  at(
    "early",
    "client assertion",
    { iat: NOW_S + AGE + 1, exp: NOW_S + AGE + 50 },
    "WIRE_CLOCK_SKEW",
    "RFC 7523 section 3, 5",
  ),
  at("early", "proof", { iat: NOW_S + AGE + 1 }, "WIRE_CLOCK_SKEW", "RFC 9449 section 4.3, 11"),

  at("issued in the future", "license", { iat: NOW_S + 3600 }, "license not_yet_valid", issue),
  at("issued in the future", "job", { iat: NOW_S + T + 1 }, "JOB_LIFETIME", issue),
  at("issued in the future", "job", span(T + 1, 600), "JOB_NOT_YET_VALID", issue),
  at("issued in the future", "order", { iat: NOW_S + T + 1 }, "ORDER_NOT_IN_TIME", issue),
  at("issued in the future", "order", span(T + 1, 600), "ORDER_NOT_IN_TIME", issue),
  at(
    "issued in the future",
    "client assertion",
    span(3600, 60),
    "API_UNAUTHENTICATED < JWS_WRONG_CLAIMS",
    issue,
  ),
  at(
    "issued in the future",
    "client assertion",
    { iat: NOW_S + 3600, exp: NOW_S + 3660 },
    "WIRE_CLOCK_SKEW",
    issue,
  ),
  at("issued in the future", "proof", { iat: NOW_S + 3600 }, "WIRE_CLOCK_SKEW", "RFC 9449 section 11.1"),

  at("ends before it begins", "license", { nbf: NOW_S + 100, exp: NOW_S + 50 }, "LICENSE_INVALID", beginning),
  at("ends before it begins", "license", { exp: NOW_S }, "LICENSE_INVALID", expiry),
  at("ends before it begins", "job", { exp: NOW_S }, "JOB_LIFETIME", expiry),
  at("ends before it begins", "job", { nbf: NOW_S + 30, exp: NOW_S + 20 }, "JOB_LIFETIME", beginning),
  at("ends before it begins", "order", { exp: NOW_S }, "ORDER_NOT_IN_TIME", expiry),
  at("ends before it begins", "order", { nbf: NOW_S + 30, exp: NOW_S + 20 }, "ORDER_NOT_IN_TIME", beginning),
  at(
    "ends before it begins",
    "client assertion",
    { iat: NOW_S + 9, exp: NOW_S + 9 },
    "API_UNAUTHENTICATED",
    expiry,
  ),

  at("ten years", "license", ending(TEN_YEARS_S), "LICENSE_INVALID", lifetime),
  at("ten years", "job", ending(TEN_YEARS_S), "JOB_LIFETIME", lifetime),
  at("ten years", "job", ending(LIMITS.JOB_LIFETIME_S + 1), "JOB_LIFETIME", lifetime),
  at("ten years", "job", span(-TEN_YEARS_S, TEN_YEARS_S + 600), "JOB_LIFETIME", lifetime),
  at("ten years", "order", ending(TEN_YEARS_S), "ORDER_NOT_IN_TIME", lifetime),
  at("ten years", "client assertion", ending(TEN_YEARS_S), "API_UNAUTHENTICATED", "RFC 7523 section 3, 4"),

  ...(
    [
      ["job", "JOB_REPLAYED", "RFC 8725 section 3.8: one offer, one number"],
      ["order", "ORDER_REPLAYED", "one order, one number"],
      ["proof", "DPOP_INVALID", "RFC 9449 section 11.1"],
    ] as const
  ).map(
    ([door, answer, why]): Attack => ({
      kind: "replay",
      name: `${door}, as it was`,
      why,
      doors: [door],
      make: good,
      surroundings: { again: true },
      expected: () => answer,
    }),
  ),
];
