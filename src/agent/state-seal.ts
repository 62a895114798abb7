import { join } from "node:path";
import { fault, invariant, isFault } from "../fault/fault.ts";
import type { AgentId, Sha256 } from "../protocol/ids.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { FIRST_PREV_SHA256 } from "../protocol/receipt.ts";
import { TrustDocumentSchema } from "../protocol/trust.ts";
import { readSigningKey, type SigningKey, thumbprint } from "../trust/keys.ts";
import {
  type Changes,
  type Digests,
  SEALED_NAMES,
  type SealClaims,
  type SealedName,
  sealRoot,
  settled,
  signSeal,
} from "../trust/seal.ts";
import { sha256Of } from "../trust/strict-jws.ts";
import { readSmallFile, removeDurably, renameDurably, writeDurably } from "./durable-file.ts";
import type { Journal } from "./journal.ts";
import { receiptChainFinding } from "./receipt-chain.ts";
import { promoteIdentityKey, promoteSealingKey, readIdentityKey, statePaths } from "./state-files.ts";
import {
  digestIn,
  type Examination,
  examineState,
  REQUIRED,
  readSeal,
  type Sealer,
} from "./state-seal-check.ts";
import { NEXT_SEAL_NAME, type Scan, SEAL_NAME, type SealFinding, scanState } from "./state-seal-scan.ts";

export type { SealFinding } from "./state-seal-scan.ts";

/** What a check of the state directory came to. No findings: everything is as the agent left it. */
export interface SealVerdict {
  /** Number of the seal, or of the last that held since this process began; 0 without any. */
  readonly ctr: number;
  /** Digest of that seal; zeros without any. */
  readonly root: Sha256;
  /**
   * Thumbprint of the trust root that activation pinned, as the seal has it, whatever trust.json says now. Null when no
   * seal holds and none has held since this process began: then no key set can be believed.
   */
  readonly trustRoot: string | null;
  /** At most LIMITS.SEAL_FINDINGS, one for each file. */
  readonly findings: readonly SealFinding[];
}

/** What sealed files are to hold, in the order in which they are written; null removes one. */
export type SealedChanges = Partial<Record<SealedName, string | Uint8Array | null>>;

/**
 * The seal over one agent's state files. A change writes first a seal that says what is going to change, then the files,
 * then the seal that says it has: cut anywhere, each file is as one of the two says, and the next check ends the change.
 * What somebody else changed in the meantime is not taken over by any of this.
 */
export class StateSeal {
  private readonly stateDir: string;
  private readonly agentId: AgentId;
  private readonly journal: Journal | null;
  private key: SigningKey;
  /** What the last seal said that held: its number is never gone below, its trust root outlives the file. */
  private held: SealClaims | null = null;
  private lane: Promise<unknown> = Promise.resolve();

  private constructor(stateDir: string, agentId: AgentId, key: SigningKey, journal: Journal | null) {
    this.stateDir = stateDir;
    this.agentId = agentId;
    this.journal = journal;
    this.key = key;
  }

  /** With a journal, a check looks at its receipt chain too. */
  static open(
    stateDir: string,
    agentId: AgentId,
    key: SigningKey,
    journal: Journal | null = null,
  ): StateSeal {
    return new StateSeal(stateDir, agentId, key, journal);
  }

  /** Writes the first seal of an agent and, under it, the files `changes` names. The keys are on disk already. */
  static async first(
    stateDir: string,
    agent: { readonly id: AgentId; readonly key: SigningKey; readonly trustRoot: string },
    changes: SealedChanges,
  ): Promise<void> {
    const seal = new StateSeal(stateDir, agent.id, agent.key, null);
    const { sealed } = scanState(stateDir, process.getuid?.() ?? 0);
    const files: Digests = {};
    for (const name of ["keypair/identity.pem", "keypair/sealing.pem"] as const) {
      const { sha256 } = sealed[name];
      if (sha256 !== null) files[name] = sha256;
    }
    const base: SealClaims = { v: 1, agent: agent.id, ctr: 0, trust_root: agent.trustRoot, files };
    await seal.carryOut(base, changes);
  }

  /** Looks at everything and ends a change that was cut. Throws nothing on what lies there, nor on a full disk. */
  check(): Promise<SealVerdict> {
    return this.inTurn(() => this.look(true));
  }

  /** The same, writing nothing: for whoever looks while the agent may be running. */
  inspect(): Promise<SealVerdict> {
    return this.inTurn(() => this.look(false));
  }

  /**
   * Changes sealed files, all under one new number. Throws STATE_TAMPERED while no seal holds, STATE_DISK_FULL and
   * STATE_DIR_UNWRITABLE: then each file is as it was or as it was to be, and the next change or check goes on from there.
   */
  change(changes: SealedChanges): Promise<void> {
    return this.inTurn(async () => this.carryOut(await this.current(), changes));
  }

  /**
   * Takes the files as they are, under the number `ctr`: changed and missing ones, never one that was not sealed before,
   * a key set under another root, or an identity key that is not this process's. Throws ORDER_NOT_APPLICABLE when the
   * number is not above the seal's, STATE_TAMPERED when no seal has held since this process began.
   */
  reseal(ctr: number): Promise<void> {
    return this.inTurn(async () => {
      const { claims, scan } = await examineState(this.stateDir, this.sealer());
      const base = claims === null ? this.held : settled(claims, (name) => digestIn(scan, name));
      if (base === null) throw fault("STATE_TAMPERED", { name: SEAL_NAME, what: "not one that holds" });
      if (ctr <= base.ctr) {
        throw fault("ORDER_NOT_APPLICABLE", { why: `it names seal ${ctr} and this agent is at ${base.ctr}` });
      }
      await this.save(SEAL_NAME, { ...base, ctr, files: await this.asTheyAre(scan, base) }, this.key);
    });
  }

  /**
   * Moves the agent to the identity key that waits as identity.next.pem, with its sealing key and `changes`. Order: a
   * seal by the old key that names everything to come; the files; the sealing key; the new key's seal, beside the old
   * one; the identity key; the new seal into its place. A boot in between tells by the key in use: as long as that is
   * the old one, the old seal holds (and this is done again from the start); once it is the new one, whichever of the
   * two seals the new key has signed holds, and a check puts it in its place. Throws as `change`, and KEYPAIR_INVALID.
   */
  rekey(changes: SealedChanges, newKey: SigningKey): Promise<void> {
    return this.inTurn(async () => {
      // An earlier try may have failed just after the key had come into its place.
      if ((await readIdentityKey(this.stateDir))?.kid === newKey.kid) this.key = newKey;
      const base = await this.current();
      if (this.key.kid === newKey.kid) return await this.carryOut(base, changes);
      const pems = await this.waitingKeys(newKey);
      const ctr = base.ctr + 1;
      const next = { ...digestsOf(changes), ...digestsOf(pems) };
      const intent: SealClaims = { ...base, ctr, next };
      await this.save(SEAL_NAME, intent, this.key);
      this.writeFiles(changes);
      promoteSealingKey(this.stateDir);
      const after = settled(intent, (name) => next[name]);
      await this.save(NEXT_SEAL_NAME, after, newKey);
      promoteIdentityKey(this.stateDir);
      this.key = newKey;
      this.held = after;
      renameDurably(join(this.stateDir, NEXT_SEAL_NAME), join(this.stateDir, SEAL_NAME));
    });
  }

  private async look(finish: boolean): Promise<SealVerdict> {
    const seen = await examineState(this.stateDir, this.sealer());
    const chain = this.journal && receiptChainFinding(this.journal);
    const findings = told(chain === null ? seen.findings : [...seen.findings, chain]);
    if (seen.claims === null) return lastKnown(this.held, findings);
    const claims = settled(seen.claims, (name) => digestIn(seen.scan, name));
    this.held = claims;
    if (finish) await this.finish(seen, claims);
    return { ctr: claims.ctr, root: sealRoot(claims), trustRoot: claims.trust_root, findings };
  }

  /** Ends what was cut, unless a file it was about is as neither side says: then both sides stay open to it. */
  private async finish({ claims, from, findings }: Examination, ended: SealClaims): Promise<void> {
    const next = claims?.next;
    const astray = findings.some(({ name }) => next !== undefined && Object.hasOwn(next, name));
    try {
      if (from === NEXT_SEAL_NAME) {
        renameDurably(join(this.stateDir, NEXT_SEAL_NAME), join(this.stateDir, SEAL_NAME));
      }
      if (next !== undefined && !astray) await this.save(SEAL_NAME, ended, this.key);
    } catch (error) {
      // The change stays open, which is no finding; whoever writes next hears of the disk.
      if (!isFault(error, "STATE_DISK_FULL") && !isFault(error, "STATE_DIR_UNWRITABLE")) throw error;
    }
  }

  /** The seal that holds now, with an unfinished change ended as far as it came. */
  private async current(): Promise<SealClaims> {
    const uid = process.getuid?.() ?? 0;
    const { claims, from, finding } = await readSeal(this.stateDir, this.sealer(), uid);
    if (claims === null || claims.agent !== this.agentId) {
      const { name, what } = finding ?? { name: SEAL_NAME, what: "another agent's" };
      throw fault("STATE_TAMPERED", { name, what });
    }
    if (from === NEXT_SEAL_NAME) {
      renameDurably(join(this.stateDir, NEXT_SEAL_NAME), join(this.stateDir, SEAL_NAME));
    }
    if (claims.next === undefined) return claims;
    const scan = scanState(this.stateDir, uid);
    return settled(claims, (name) => digestIn(scan, name));
  }

  private async carryOut(base: SealClaims, changes: SealedChanges): Promise<void> {
    const next = digestsOf(changes);
    const intent: SealClaims = { ...base, ctr: base.ctr + 1, next };
    await this.save(SEAL_NAME, intent, this.key);
    this.writeFiles(changes);
    await this.save(
      SEAL_NAME,
      settled(intent, (name) => next[name]),
      this.key,
    );
  }

  private writeFiles(changes: SealedChanges): void {
    for (const [name, data] of Object.entries(changes)) {
      const path = join(this.stateDir, name);
      if (data === null) removeDurably(path);
      else writeDurably(path, data);
    }
  }

  private async save(name: string, claims: SealClaims, key: SigningKey): Promise<void> {
    invariant(claims.ctr >= (this.held?.ctr ?? 0), "a seal's number only grows");
    writeDurably(join(this.stateDir, name), `${await signSeal(key, claims)}\n`);
    if (name === SEAL_NAME) this.held = claims;
  }

  /** What an admin who has seen the evidence takes over: the files of this agent, not what was put beside them. */
  private async asTheyAre(scan: Scan, base: SealClaims): Promise<Digests> {
    const files: Digests = { ...base.files };
    for (const name of SEALED_NAMES) {
      const found = digestIn(scan, name);
      const known = base.files[name] !== undefined || REQUIRED.includes(name);
      if (!known || found === undefined || !(await this.isAcceptable(name, scan, base))) continue;
      if (found === null) delete files[name];
      else files[name] = found;
    }
    return files;
  }

  private async isAcceptable(name: SealedName, scan: Scan, base: SealClaims): Promise<boolean> {
    const look = scan.sealed[name];
    if (look.state !== "read") return true;
    if (name === "trust.json") {
      const document = parseDocument(look.bytes, TrustDocumentSchema);
      return document.ok && (await thumbprint(document.value.root)) === base.trust_root;
    }
    if (name !== "keypair/identity.pem") return true;
    try {
      const key = await readSigningKey(Buffer.from(look.bytes).toString("latin1"), name);
      return key.kid === this.key.kid;
    } catch (error) {
      if (isFault(error, "KEYPAIR_INVALID")) return false; // it would seal the agent out of its own state
      throw error;
    }
  }

  /** The two PEM files the agent is to have; the sealing key may be in its place already. */
  private async waitingKeys(newKey: SigningKey): Promise<SealedChanges> {
    const paths = statePaths(this.stateDir);
    const identity = readSmallFile(paths.nextIdentityKey, LIMITS.SMALL_JWS_BYTES);
    const sealing =
      readSmallFile(paths.nextSealingKey, LIMITS.SMALL_JWS_BYTES) ??
      readSmallFile(paths.sealingKey, LIMITS.SMALL_JWS_BYTES);
    const path = paths.nextIdentityKey;
    if (identity === null || sealing === null) throw fault("KEYPAIR_INVALID", { path, why: "it is missing" });
    const { kid } = await readSigningKey(Buffer.from(identity).toString("latin1"), path);
    if (kid !== newKey.kid) throw fault("KEYPAIR_INVALID", { path, why: "it is not the key the move is to" });
    return { "keypair/sealing.pem": sealing, "keypair/identity.pem": identity };
  }

  private sealer(): Sealer {
    return { agentId: this.agentId, key: this.key, atLeast: this.held?.ctr ?? 0 };
  }

  /** One thing after the other: a check must not see the middle of a change. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.lane.then(work);
    this.lane = turn.catch(() => undefined); // whoever waits for `turn` has the error; the next in the lane goes on
    return turn;
  }
}

/** What is found while agent.json or the identity key cannot be used: every file is named, nothing is believed. */
export async function inspectUnbound(
  stateDir: string,
  agentId: AgentId | null,
  key: SigningKey | null,
): Promise<SealVerdict> {
  const { findings } = await examineState(stateDir, { agentId, key, atLeast: 0 });
  return lastKnown(null, told(findings));
}

function lastKnown(held: SealClaims | null, findings: readonly SealFinding[]): SealVerdict {
  if (held === null) return { ctr: 0, root: FIRST_PREV_SHA256, trustRoot: null, findings };
  return { ctr: held.ctr, root: sealRoot(held), trustRoot: held.trust_root, findings };
}

function digestsOf(changes: SealedChanges): Changes {
  return Object.fromEntries(
    Object.entries(changes).map(([name, data]) => [name, data === null ? null : sha256Of(data)]),
  );
}

/** One finding for each file, the first being the most telling. */
function told(findings: readonly SealFinding[]): SealFinding[] {
  const names = new Set<string>();
  const once = findings.filter(({ name }) => !names.has(name) && names.add(name));
  return once.slice(0, LIMITS.SEAL_FINDINGS);
}
