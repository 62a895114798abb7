// Goal: every door of both programs that takes a signed text refuses everything the standards warn of, each with its code.
// Method: one table of attacks; each is made for every door it is for, with real keys, and shown to the real check. Then
// the table itself is held against what it must cover: every class of text, every kind of attack, every section.

import { describe, expect, test } from "bun:test";
import { ROOT, sourceFiles } from "../support/source-files.ts";
import { ACCESS_ATTACKS, ACCESS_CLASSES } from "./access-attacks.ts";
import { BINDING_ATTACKS, BINDING_CLASSES } from "./binding-attacks.ts";
import { type Attack, type AttackClass, DOORS, type DoorName, good, Many } from "./door.ts";
import { makeDoors } from "./doors.ts";
import { FORM_ATTACKS, FORM_CLASSES } from "./form-attacks.ts";
import { HEADER_ATTACKS, HEADER_CLASSES } from "./header-attacks.ts";
import { PAYLOAD_ATTACKS, PAYLOAD_CLASSES } from "./payload-attacks.ts";
import { SIGNATURE_ATTACKS, SIGNATURE_CLASSES } from "./signature-attacks.ts";

const { doors } = await makeDoors();

const CLASSES: Readonly<Record<string, AttackClass>> = {
  ...FORM_CLASSES,
  ...HEADER_CLASSES,
  ...PAYLOAD_CLASSES,
  ...SIGNATURE_CLASSES,
  ...BINDING_CLASSES,
  ...ACCESS_CLASSES,
};
const ATTACKS: readonly Attack[] = [
  ...FORM_ATTACKS,
  ...HEADER_ATTACKS,
  ...PAYLOAD_ATTACKS,
  ...SIGNATURE_ATTACKS,
  ...BINDING_ATTACKS,
  ...ACCESS_ATTACKS,
];

/** The doors a kind of attack is to be shown to. */
function doorsFor(kind: AttackClass): readonly DoorName[] {
  return (kind.only ?? DOORS).filter(
    (name) =>
      (kind.needs ?? []).every((feature) => doors[name].features.has(feature)) &&
      kind.except?.[name] === undefined,
  );
}

const targets = (attack: Attack): readonly DoorName[] =>
  attack.doors ?? doorsFor(CLASSES[attack.kind] ?? { only: [] });

describe.each(DOORS.map((name) => [name] as const))("%s", (name) => {
  const door = doors[name];

  test("takes a right text, so that what it refuses is refused for its fault", async () => {
    expect(await door.show(await good(door))).toBe("accepted");
  });

  test.each(
    ATTACKS.filter((attack) => targets(attack).includes(name)).map(
      (attack) => [attack.kind, attack.name, attack] as const,
    ),
  )("refuses %s: %s", async (_, __, { make, surroundings, expected }) => {
    const made = await make(door, doors);
    const answer = typeof expected === "string" ? door.tells(expected) : expected(door, doors);
    const texts = made instanceof Many ? made.texts : [made];
    expect(texts.length).toBeGreaterThan(0);
    const answers = await Promise.all(texts.map((text) => door.show(text, surroundings)));
    expect(answers).toEqual(texts.map(() => answer));
  });
});

describe("the table", () => {
  test("shows every kind of attack to every door it is for, and to no other", () => {
    const missing: string[] = [];
    for (const [kind, cls] of Object.entries(CLASSES)) {
      const shown = new Set(ATTACKS.filter((attack) => attack.kind === kind).flatMap(targets));
      const due = doorsFor(cls);
      missing.push(...due.filter((name) => !shown.has(name)).map((name) => `${kind} at ${name}`));
      missing.push(
        ...[...shown].filter((name) => !due.includes(name)).map((name) => `${kind} not at ${name}`),
      );
      if (due.length === 0) missing.push(`${kind} nowhere`);
    }
    expect(missing).toEqual([]);
    expect(ATTACKS.filter(({ kind }) => !(kind in CLASSES))).toEqual([]);
  });

  test("has each attack once", () => {
    const names = ATTACKS.map(({ kind, name, doors: on }) => `${kind}: ${name} (${on ?? "all"})`);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  test("knows a door for every class of signed text there is in the sources", async () => {
    const opens = /\btyp: TYP\.(\w+),\n/g;
    const sources = await sourceFiles(["src/**/*.ts"]);
    const classes = new Set(sources.flatMap(({ text }) => [...text.matchAll(opens)].map(([, use]) => use)));
    expect(classes.size).toBeGreaterThan(8);
    const { TYP } = await import(`${ROOT}/src/protocol/trust.ts`);
    const typs = new Set(DOORS.map((name) => doors[name].typ));
    expect([...classes].filter((use) => !typs.has(TYP[use ?? ""]))).toEqual([]);
  });

  test("knows no way to open a signed text but the strict one and the bearer's", async () => {
    const loose =
      /\b(?:jwtVerify|compactVerify|flattenedVerify|generalVerify|decodeJwt|EmbeddedJWK|UnsecuredJWT)\b/;
    const sources = await sourceFiles(["{src,workers}/**/*.{ts,tsx}"]);
    expect(sources.filter(({ text }) => loose.test(text)).map(({ path }) => path)).toEqual([]);
  });

  test.each(SECTIONS())("speaks of %s", (section) => {
    expect(ATTACKS.filter(({ why }) => why.includes(section)).length).toBeGreaterThan(0);
  });
});

/** What the standards tell a verifier to do or beware of, as far as these texts can be wrong in it. */
function SECTIONS(): readonly string[] {
  return [
    "RFC 7515 section 4.1.1",
    "RFC 7515 section 4.1.4",
    "RFC 7515 section 4.1.9",
    "RFC 7515 section 4.1.11",
    "RFC 7515 section 5.2",
    "RFC 7515 section 7.2.1",
    "RFC 7515 section 7.2.2",
    "RFC 7515 section 10.4",
    "RFC 7515 section 10.7",
    ...[1, 2, 3, 4, 5, 6].map((claim) => `RFC 7519 section 4.1.${claim}`),
    "RFC 7519 section 6",
    "RFC 7519 section 7.2",
    ...["2.1", "2.7", "2.10", "3.1", "3.2", "3.4", "3.6", "3.8", "3.9", "3.10", "3.11", "3.12"].map(
      (section) => `RFC 8725 section${section.startsWith("2.7") ? "s" : ""} ${section}`,
    ),
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((rule) => `RFC 7523 section 3, ${rule}`),
    ...[1, 3, 5, 6, 7, 8, 9, 10, 11, 12].map((rule) => `RFC 9449 section 4.3, ${rule}`),
    "RFC 9449 section 11.1",
    "RFC 9449 section 11.2",
    "RFC 9449 section 11.3",
  ];
}
