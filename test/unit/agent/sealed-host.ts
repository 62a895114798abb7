// Hosts under a seal: activated for real, then opened, meddled with, copied.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "../../../src/agent/identity.ts";
import { StateSeal } from "../../../src/agent/state-seal.ts";
import { openSeal, type SealClaims } from "../../../src/trust/seal.ts";
import { ActivationDesk } from "./activation-desk.ts";
import { identityOf } from "./hosts.ts";

export interface SealedHost {
  readonly dir: string;
  readonly identity: Identity;
  readonly seal: StateSeal;
  readonly at: (name: string) => string;
}

/** An agent, activated and checked once. */
export async function sealedHost(dir: string): Promise<SealedHost> {
  using desk = await ActivationDesk.open();
  await desk.activate(dir);
  const identity = await identityOf(desk, dir);
  return { dir, identity, seal: sealOf(dir, identity), at: (name) => join(dir, name) };
}

/** The seal as a process that has just begun opens it. */
export const sealOf = (dir: string, { file, keys }: Identity): StateSeal =>
  StateSeal.open(dir, file.agent_id, keys.identity);

/** What the seal on disk says. */
export const claimsOf = (dir: string, identity: Identity): Promise<SealClaims> =>
  openSeal(readFileSync(join(dir, "seal.jws"), "latin1").trimEnd(), identity.keys.identity.jwk);

/** Content of a file, or null. */
export const contentOf = (path: string): string | null =>
  existsSync(path) ? readFileSync(path, "latin1") : null;
