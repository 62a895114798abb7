// What programs find in the runtime itself: timers, chance, cryptography, a server. In a simulated world each of them
// belongs to that world.

import { createHash, KeyObject, sign, verify } from "node:crypto";
import { Dice } from "../dice.ts";
import type { Process } from "../machine.ts";
import { Timeline } from "../timeline.ts";

/** What the program's own names stand for while a world is on. Only the Control Plane uses the runtime's timers. */
interface Ambient {
  timeline: Timeline;
  dice: Dice;
  /** Whose the runtime's timers are. */
  server: Process | null;
  /** By how much a timer of a second or less is late. */
  slowness: number;
  onServe: (fetch: ServerFetch) => void;
}

export type ServerFetch = (request: Request, server: unknown) => Response | Promise<Response>;

const ambient: Ambient = {
  timeline: new Timeline(),
  dice: new Dice(0, "nobody"),
  server: null,
  slowness: 1,
  onServe: () => undefined,
};

/** Gives the runtime to a world. */
export function possess(world: Partial<Ambient>): void {
  Object.assign(ambient, world);
}

export const ambientDice = (): Dice => ambient.dice;
export const ambientTimeline = (): Timeline => ambient.timeline;

/** How long a timer of `ms` takes here: short ones are as late as this world's are. */
export const late = (ms: number): number => (ms >= 250 && ms <= 1_000 ? ms * ambient.slowness : ms);

function virtualTimers(): void {
  const start = (fn: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) => {
    const { server, timeline } = ambient;
    return timeline.after(late(ms), () => {
      if (server !== null && !server.dead) fn(...values);
    });
  };
  const repeat = (fn: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) => {
    let cancel = (): void => undefined;
    const round = () => {
      cancel = start(() => {
        round();
        fn(...values);
      }, ms);
    };
    round();
    return () => cancel();
  };
  const stop = (cancel: unknown) => {
    if (typeof cancel === "function") cancel();
  };
  Object.assign(globalThis, {
    setTimeout: start,
    setInterval: repeat,
    clearTimeout: stop,
    clearInterval: stop,
  });
  AbortSignal.timeout = () => new AbortController().signal;
}

function ownChance(): void {
  Math.random = () => ambient.dice.word() / 2 ** 32;
  crypto.getRandomValues = <T extends ArrayBufferView | null>(target: T): T => {
    if (target === null) return target;
    const view = new Uint8Array(target.buffer as ArrayBuffer, target.byteOffset, target.byteLength);
    view.set(ambient.dice.bytes(view.length));
    return target;
  };
}

type Operation = (...values: unknown[]) => Promise<unknown>;

/** PKCS #8 of an Ed25519 or X25519 key up to its 32 bytes (RFC 8410 section 7). */
const PKCS8 = { Ed25519: "302e020100300506032b657004220420", X25519: "302e020100300506032b656e04220420" };

/**
 * Signing, verifying and hashing on the spot, with the same keys and the same bytes: the runtime does them on other
 * threads, which end in any order. Keys are made from the world's dice. What remains keeps time from passing.
 */
function promptCrypto(): void {
  const subtle = SubtleCrypto.prototype as unknown as Record<string, Operation>;
  const real = new Map(Object.getOwnPropertyNames(subtle).map((name) => [name, subtle[name]] as const));
  const native = (name: string): Operation => {
    const operation = real.get(name);
    if (operation === undefined) throw new Error(`the runtime has no ${name}`);
    return (...values) => ambient.timeline.track(operation.apply(crypto.subtle, values));
  };
  for (const name of ["encrypt", "decrypt", "deriveBits", "deriveKey", "wrapKey", "unwrapKey"])
    subtle[name] = native(name);

  const objects = new WeakMap<CryptoKey, KeyObject>();
  const objectOf = (key: unknown): KeyObject => {
    const known = objects.get(key as CryptoKey);
    if (known) return known;
    const made = KeyObject.from(key as CryptoKey);
    objects.set(key as CryptoKey, made);
    return made;
  };
  subtle["sign"] = async (_, key, data) => arrayBuffer(sign(null, bytesOf(data), objectOf(key)));
  subtle["verify"] = async (_, key, signature, data) =>
    verify(null, bytesOf(data), objectOf(key), bytesOf(signature));
  subtle["digest"] = async (algorithm, data) =>
    arrayBuffer(
      createHash(String(nameOf(algorithm)).replace("-", "").toLowerCase())
        .update(bytesOf(data))
        .digest(),
    );

  const imported = new Map<string, Promise<unknown>>();
  const importKey = native("importKey");
  subtle["importKey"] = (format, data, algorithm, ...rest) => {
    const text = format === "jwk" ? JSON.stringify(data) : Buffer.from(bytesOf(data)).toString("base64url");
    const id = JSON.stringify([format, text, nameOf(algorithm), rest]);
    const known = imported.get(id) ?? importKey(format, data, algorithm, ...rest);
    imported.set(id, known);
    return known;
  };
  const exported = new WeakMap<CryptoKey, Map<unknown, Promise<unknown>>>();
  const exportKey = native("exportKey");
  subtle["exportKey"] = async (format, key) => {
    const of = exported.get(key as CryptoKey) ?? new Map<unknown, Promise<unknown>>();
    exported.set(key as CryptoKey, of);
    const known = of.get(format) ?? exportKey(format, key);
    of.set(format, known);
    return structuredClone(await known);
  };
  const generateKey = native("generateKey");
  subtle["generateKey"] = async (algorithm, extractable, usages) => {
    const name = nameOf(algorithm);
    if (name !== "Ed25519" && name !== "X25519") return await generateKey(algorithm, extractable, usages);
    const der = Buffer.concat([Buffer.from(PKCS8[name], "hex"), ambient.dice.bytes(32)]);
    const may = name === "Ed25519" ? ["sign"] : ["deriveBits"];
    const privateKey = await native("importKey")("pkcs8", der, { name }, true, may);
    const { d: _, key_ops: __, ...jwk } = (await exportKey("jwk", privateKey)) as Record<string, unknown>;
    const publicKey = await native("importKey")(
      "jwk",
      jwk,
      { name },
      true,
      name === "Ed25519" ? ["verify"] : [],
    );
    return { privateKey, publicKey };
  };
}

const nameOf = (algorithm: unknown): unknown =>
  typeof algorithm === "string" ? algorithm : (algorithm as { name: string }).name;
const bytesOf = (data: unknown): Uint8Array =>
  ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data as ArrayBuffer);
const arrayBuffer = (data: Uint8Array): ArrayBuffer => new Uint8Array(data).buffer;

/** A server that listens nowhere: whoever is in this world reaches its handler by calling it. */
function virtualServer(): void {
  const serve = ({ port, fetch }: { port: number; fetch: ServerFetch }) => {
    ambient.onServe(fetch);
    return { port, pendingRequests: 0, stop: async () => undefined, timeout: () => undefined };
  };
  Object.assign(Bun, { serve });
}

/** Takes over the runtime of this process, for good. */
export function takeOverRuntime(): void {
  virtualTimers();
  ownChance();
  promptCrypto();
  virtualServer();
}
