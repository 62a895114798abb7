import { join } from "node:path";
import type { Sha256 } from "../protocol/ids.ts";
import { LIMITS } from "../protocol/limits.ts";
import type { License } from "../trust/license.ts";
import type { SealedName } from "../trust/seal.ts";
import type { TrustSet } from "../trust/trust-set.ts";
import { readSmallFile } from "./durable-file.ts";
import type { Journal } from "./journal.ts";
import { acceptReceipts } from "./receipt-chain.ts";
import { standing } from "./standing.ts";
import type { SealFinding, SealVerdict, StateSeal } from "./state-seal.ts";

/** The sealed files of the state directory, as the loop sees them. */
export interface SealedState {
  /** Number and root of the seal; null while there is none that could be told. */
  readonly head: { readonly ctr: number; readonly root: Sha256 } | null;
  /** What the last look found wrong. */
  readonly findings: readonly SealFinding[];
  /** Looks at every file again. */
  check(): Promise<void>;
  /** Brings the files in line with what is in force; while something is wrong with them they stay as they are. */
  follow(license: License, trust: TrustSet): Promise<void>;
  /** Takes the files as they are, under this number, and the receipts of the journal. */
  reseal(ctr: number): Promise<void>;
  /** Why that cannot be done; null when it can. */
  resealProblem(ctr: number): string | null;
}

/** The real one: the journal is the truth, the files follow it through the seal. */
export class SealedFiles implements SealedState {
  private readonly stateDir: string;
  private readonly journal: Journal;
  private readonly seal: StateSeal;
  private verdict: SealVerdict;

  constructor(stateDir: string, journal: Journal, seal: StateSeal, verdict: SealVerdict) {
    this.stateDir = stateDir;
    this.journal = journal;
    this.seal = seal;
    this.verdict = verdict;
  }

  get head(): SealedState["head"] {
    const { ctr, root } = this.verdict;
    return ctr === 0 ? null : { ctr, root };
  }

  get findings(): readonly SealFinding[] {
    return this.verdict.findings;
  }

  async check(): Promise<void> {
    this.verdict = await this.seal.check();
  }

  async follow(license: License, trust: TrustSet): Promise<void> {
    if (this.findings.length > 0) return;
    const { epoch, fp } = license.claims;
    const wanted: Readonly<Partial<Record<SealedName, string | null>>> = {
      "license.jwt": `${license.text}\n`,
      "trust.json": document(trust.document),
      "fingerprint.json": document(fp),
      "quarantine.jws": line(standing.quarantine(this.journal, epoch)?.jws),
      "terminal.jws": line(standing.end(this.journal)?.jws),
    };
    const changes = Object.fromEntries(
      Object.entries(wanted).filter(([name, text]) => this.textOf(name) !== text),
    );
    if (Object.keys(changes).length === 0) return;
    await this.seal.change(changes);
    await this.check();
  }

  async reseal(ctr: number): Promise<void> {
    await this.seal.reseal(ctr);
    acceptReceipts(this.journal);
    await this.check();
  }

  resealProblem(ctr: number): string | null {
    if (ctr <= this.verdict.ctr) return `the seal's number is ${this.verdict.ctr} already`;
    return null;
  }

  private textOf(name: string): string | null {
    const bytes = readSmallFile(join(this.stateDir, name), LIMITS.TRUST_DOCUMENT_BYTES * 2);
    return bytes === null ? null : Buffer.from(bytes).toString("utf8");
  }
}

const document = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
const line = (text: string | undefined): string | null => (text === undefined ? null : `${text}\n`);
