// What the table of attacks speaks of: doors that take a signed text, and attacks on them.

import { isFault } from "../../src/fault/fault.ts";
import type { TrustClaims } from "../../src/protocol/trust.ts";
import type { SigningKey } from "../../src/trust/keys.ts";

export const DOORS = [
  "trust set",
  "license",
  "job",
  "order",
  "reply",
  "receipt",
  "seal",
  "quarantine note",
  "rekey proof",
  "client assertion",
  "proof",
  "bearer",
] as const;
export type DoorName = (typeof DOORS)[number];

/** What a door's texts have, and so what can be attacked. */
export type Feature =
  /** The header names its key. */
  | "kid"
  /** The header carries its key. */
  | "jwk"
  /** Signed by a key of the trust set, which has a window and can be revoked. */
  | "key set"
  /** Signed by the agent's own key. */
  | "own key"
  /** A MAC under a secret nobody else has. */
  | "secret"
  | "issuer"
  | "agent"
  | "license"
  | "epoch"
  /** The text has a beginning and an end, held against a clock. */
  | "times"
  /** The end may be only so far from the beginning. */
  | "lifetime"
  /** The same text is good once. */
  | "once";

/** Changes to the surroundings a text is shown in. */
export interface Surroundings {
  /** Changes to every key of the trust set. */
  readonly keyRow?: Partial<TrustClaims["keys"][number]>;
  /** The text was shown before. */
  readonly again?: true;
}

export interface Door {
  readonly name: DoorName;
  readonly typ: string;
  readonly features: ReadonlySet<Feature>;
  /** Members of a right header, in their order. */
  readonly header: Readonly<Record<string, unknown>>;
  /** Right claims. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** Who rightly signs; null where the secret of the bearer does. */
  readonly key: SigningKey | null;
  /** The signature of this text by the right key or secret, in base64url. */
  readonly seal: (input: string) => Promise<string>;
  /** Largest text taken, in characters. */
  readonly maxBytes: number;
  /** Shows a text to the door: "accepted", or the code of its refusal. */
  readonly show: (text: unknown, surroundings?: Surroundings) => Promise<string>;
  /** How this door tells what the layer below refused with `code`. */
  readonly tells: (code: string) => string;
}

export type Doors = Readonly<Record<DoorName, Door>>;

/** A kind of attack; it is to be shown to every door that has what it needs. */
export interface AttackClass {
  readonly needs?: readonly Feature[];
  readonly only?: readonly DoorName[];
  /** Doors it means nothing to, and why that is so. */
  readonly except?: Partial<Readonly<Record<DoorName, string>>>;
}

/** Several texts of one attack: each must be refused alike. */
export class Many {
  readonly texts: readonly string[];

  constructor(texts: readonly string[]) {
    this.texts = texts;
  }
}

export const many = async (texts: readonly Promise<string>[]): Promise<Many> =>
  new Many(await Promise.all(texts));

export interface Attack {
  readonly kind: string;
  readonly name: string;
  /** The section that speaks of it, or what it would bring. */
  readonly why: string;
  /** The doors it is for; left out, every door of its kind. */
  readonly doors?: readonly DoorName[];
  /** The text, or whatever comes in its place. */
  readonly make: (door: Door, doors: Doors) => unknown;
  readonly surroundings?: Surroundings;
  /** The code of the layer below, which each door tells in its way; or, from a function, the very answer. */
  readonly expected: string | ((door: Door, doors: Doors) => string);
}

/** Code of a fault and of the one it was made of; anything but a fault is told as what it is. */
export function told(error: unknown): string {
  if (!isFault(error)) return `not a fault: ${String(error)}`;
  return isFault(error.cause) ? `${error.code} < ${error.cause.code}` : error.code;
}

export async function verdictOf(open: () => unknown): Promise<string> {
  try {
    await open();
    return "accepted";
  } catch (error) {
    return told(error);
  }
}

export const base64url = (text: string | Uint8Array): string => Buffer.from(text).toString("base64url");

/** These two texts, signed by the right key as they are. */
export async function sign(door: Door, header: string, payload: string | Uint8Array): Promise<string> {
  const input = `${base64url(header)}.${base64url(payload)}`;
  return `${input}.${await door.seal(input)}`;
}

/** A right text of this door. */
export const good = (door: Door): Promise<string> => claiming(door, {});

/** Signed by the right key, with this header. */
export const headed = (door: Door, header: object | string): Promise<string> =>
  sign(door, typeof header === "string" ? header : JSON.stringify(header), JSON.stringify(door.claims));

/** Signed by the right key, with members of the header changed, or added behind. */
export const heading = (door: Door, changes: object): Promise<string> =>
  headed(door, { ...door.header, ...changes });

/** Signed by the right key, with this payload. */
export const saying = (door: Door, payload: string | Uint8Array): Promise<string> =>
  sign(door, JSON.stringify(door.header), payload);

/** Signed by the right key, with these claims changed. */
export const claiming = (door: Door, changes: object): Promise<string> =>
  saying(door, JSON.stringify({ ...door.claims, ...changes }));
