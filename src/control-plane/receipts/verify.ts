import { type Fault, fault, isFault } from "../../fault/fault.ts";
import type { AgentId, ControlPlaneId, Sha256 } from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import { FIRST_PREV_SHA256, type ReceiptClaims } from "../../protocol/receipt.ts";
import {
  type ReceiptExportHeader,
  ReceiptExportHeaderSchema,
  type ReceiptExportLine,
  ReceiptExportLineSchema,
} from "../../protocol/receipt-export.ts";
import type { Ed25519Jwk } from "../../protocol/scalars.ts";
import { thumbprint, tokenThumbprint } from "../../trust/keys.ts";
import { openLicense } from "../../trust/license.ts";
import { openReceipt } from "../../trust/receipt.ts";
import { openTrust, type TrustSet } from "../../trust/trust-set.ts";

/** What is proven of an export, or the first line that is wrong. */
export type ExportVerdict =
  | {
      readonly ok: true;
      readonly agent: AgentId;
      readonly control_plane: ControlPlaneId;
      /** The trust root everything hangs on, and whether the caller named it. */
      readonly root: { readonly thumbprint: string; readonly token_form: string; readonly pinned: boolean };
      /** Keys of the agent that signed, with the epoch of the license that proves each. */
      readonly keys: readonly { readonly kid: string; readonly epoch: number; readonly receipts: number }[];
      readonly receipts: number;
      readonly first: number | null;
      readonly last: number | null;
      /** SHA-256 of the last receipt: whoever knows it from elsewhere sees that nothing is missing at the end. */
      readonly head: Sha256 | null;
      readonly head_pinned: boolean;
      /** Whether the first one is the first the agent ever signed. */
      readonly from_the_beginning: boolean;
    }
  | { readonly ok: false; readonly line: number; readonly why: string };

export interface VerifyOptions {
  /** Thumbprint of the trust root, in either form; null to be told which it is. */
  readonly root: string | null;
  /** Digest of the last receipt as known from elsewhere. */
  readonly head: string | null;
}

/**
 * Verifies an export of receipts line by line, with nothing but its own bytes: key sets under one root, licenses under
 * them, keys by the licenses, receipts by the keys, each linked to the one before. Every line must be written exactly as
 * an export writes it. Throws RECEIPTS_MALFORMED when the file is no export at all.
 */
export async function verifyExport(
  lines: AsyncIterable<string>,
  path: string,
  options: VerifyOptions,
): Promise<ExportVerdict> {
  let check: ExportCheck | null = null;
  let number = 0;
  try {
    for await (const line of lines) {
      number += 1;
      if (check === null) check = await ExportCheck.begin(line, path, options);
      else await check.take(line);
    }
    if (check === null) throw fault("RECEIPTS_MALFORMED", { path, why: "it is empty" });
    number += 1;
    return await check.end();
  } catch (error) {
    if (error instanceof Wrong) return { ok: false, line: number, why: error.message };
    if (isFault(error) && check !== null) return { ok: false, line: number, why: error.message };
    throw error;
  }
}

/** What is wrong with the line at hand. */
class Wrong extends Error {
  override readonly name = "Wrong";
}

interface ProvenKey {
  readonly jwk: Ed25519Jwk;
  readonly kid: string;
  readonly epoch: number;
  receipts: number;
}

class ExportCheck {
  private readonly header: ReceiptExportHeader;
  private readonly trust: TrustSet;
  private readonly keys: readonly ProvenKey[];
  private readonly options: VerifyOptions;
  /** Which of the keys signed last: none before it may sign again. */
  private current = 0;
  private before: { readonly seq: number; readonly sha256: Sha256 } | null = null;
  private first: number | null = null;

  private constructor(
    header: ReceiptExportHeader,
    trust: TrustSet,
    keys: readonly ProvenKey[],
    options: VerifyOptions,
  ) {
    this.header = header;
    this.trust = trust;
    this.keys = keys;
    this.options = options;
  }

  static async begin(line: string, path: string, options: VerifyOptions): Promise<ExportCheck> {
    const parsed = parseDocument(line, ReceiptExportHeaderSchema);
    if (!parsed.ok) throw fault("RECEIPTS_MALFORMED", { path, why: `line 1: ${parsed.path}: ${parsed.why}` });
    requireCanonical(line, parsed.value);
    const header = parsed.value;
    const sets = await openSets(header, options.root);
    return new ExportCheck(header, sets.newest, await proveKeys(header, sets.all), options);
  }

  async take(text: string): Promise<void> {
    const parsed = parseDocument(text, ReceiptExportLineSchema);
    if (!parsed.ok) throw new Wrong(`${parsed.path}: ${parsed.why}`);
    requireCanonical(text, parsed.value);
    const { seq, sha256, receipt } = parsed.value;
    const { range } = this.header;
    if (range === null) throw new Wrong("the first line says that there are no receipts");
    const expected = this.before === null ? range.first : this.before.seq + 1;
    if (seq !== expected) throw new Wrong(`it is number ${seq}, and ${expected} is to come`);
    if (seq > range.last) throw new Wrong(`the first line says that ${range.last} is the last one`);
    const opened = await this.open({ seq, sha256, receipt });
    if (opened.sha256 !== sha256) throw new Wrong(`its text has the SHA-256 ${opened.sha256}`);
    this.link(opened.claims, seq);
    this.before = { seq, sha256 };
    this.first ??= seq;
  }

  async end(): Promise<ExportVerdict> {
    const { range } = this.header;
    const { before, first, options, trust } = this;
    if (range !== null && before?.seq !== range.last) {
      throw new Wrong(`receipts ${(before?.seq ?? range.first - 1) + 1} to ${range.last} are missing`);
    }
    if (range !== null && before?.sha256 !== range.head) {
      throw new Wrong("the last receipt is not the one the first line names");
    }
    const head = before?.sha256 ?? null;
    if (options.head !== null && options.head !== head) {
      throw new Wrong(`the last receipt is ${head ?? "none"}, not ${options.head}`);
    }
    const { root } = trust.document;
    return {
      ok: true,
      agent: this.header.agent,
      control_plane: trust.issuer,
      root: {
        thumbprint: await thumbprint(root),
        token_form: await tokenThumbprint(root),
        pinned: options.root !== null,
      },
      keys: this.keys.map(({ kid, epoch, receipts }) => ({ kid, epoch, receipts })),
      receipts: this.keys.reduce((sum, { receipts }) => sum + receipts, 0),
      first,
      last: before?.seq ?? null,
      head,
      head_pinned: options.head !== null,
      from_the_beginning: first === 1,
    };
  }

  /** Opens a receipt by the agent's key of that time: the one before signed with, or one that came after it. */
  private async open({ seq, receipt }: ReceiptExportLine) {
    let why: Fault | null = null;
    for (const [index, key] of this.keys.entries()) {
      if (index < this.current) continue;
      try {
        const opened = await openReceipt(receipt, key.jwk);
        this.current = index;
        key.receipts += 1;
        if (opened.claims.iss !== this.header.agent) throw new Wrong(`it is by "${opened.claims.iss}"`);
        if (opened.claims.seq !== seq) throw new Wrong(`its text is number ${opened.claims.seq}`);
        return opened;
      } catch (error) {
        if (!isFault(error)) throw error;
        if (why === null || error.code !== "JWS_UNKNOWN_KEY") why = error;
      }
    }
    throw new Wrong(why?.message ?? "no key of the agent signed it");
  }

  private link({ prev_sha256 }: ReceiptClaims, seq: number): void {
    const before = seq === 1 ? FIRST_PREV_SHA256 : this.before?.sha256;
    if (before !== undefined && before !== prev_sha256) {
      throw new Wrong(`it follows ${prev_sha256}, and the receipt before it is ${before}`);
    }
  }
}

/** One value, one text: white space, other orders of members and other escapes would be changes nobody sees. */
function requireCanonical(line: string, value: unknown): void {
  if (JSON.stringify(value) !== line) throw new Wrong("it is not written as an export writes it");
}

/** Every key set, under one root, of one Control Plane; the newest by its number. */
async function openSets(
  { trust }: ReceiptExportHeader,
  pinned: string | null,
): Promise<{ all: readonly TrustSet[]; newest: TrustSet }> {
  const all: TrustSet[] = [];
  for (const document of trust) {
    const forms = [await thumbprint(document.root), await tokenThumbprint(document.root)];
    if (pinned !== null && !forms.includes(pinned)) {
      throw new Wrong(`its trust root is ${forms[0]}, not ${pinned}`);
    }
    all.push(await asWrong(() => openTrust(document, 0)));
  }
  const [newest] = all.toSorted((a, b) => b.claims.seq - a.claims.seq);
  if (newest === undefined) throw new Wrong("it holds no key set");
  const other = all.find(
    ({ issuer, document }) => issuer !== newest.issuer || document.root.x !== newest.document.root.x,
  );
  if (other !== undefined) throw new Wrong("its key sets are of more than one Control Plane");
  return { all, newest };
}

/** The agent's keys, each by a license of its own under one of the key sets, in the order of their epochs. */
async function proveKeys(header: ReceiptExportHeader, sets: readonly TrustSet[]): Promise<ProvenKey[]> {
  const proven: ProvenKey[] = [];
  for (const { jwk, license } of header.keys) {
    const kid = await thumbprint(jwk);
    const { claims } = await asWrong(() => openUnderAny(license, sets, { jkt: kid, agentId: header.agent }));
    const before = proven.at(-1);
    if (before !== undefined && before.epoch >= claims.epoch) {
      throw new Wrong(`its key ${kid} is of epoch ${claims.epoch}, after one of epoch ${before.epoch}`);
    }
    proven.push({ jwk, kid, epoch: claims.epoch, receipts: 0 });
  }
  return proven;
}

async function openUnderAny(
  license: string,
  sets: readonly TrustSet[],
  own: { readonly jkt: string; readonly agentId: AgentId },
) {
  // What one key set revokes, no other one brings back.
  const revoked = new Set(
    sets.flatMap(({ claims }) =>
      claims.keys.filter((key) => key.revoked_at !== undefined).map(({ kid }) => kid),
    ),
  );
  let why: unknown = null;
  for (const set of sets) {
    try {
      const opened = await openLicense(license, set, own);
      if (revoked.has(kidOf(license))) throw fault("LICENSE_INVALID", { why: "its key was revoked" });
      return opened;
    } catch (error) {
      if (!isFault(error)) throw error;
      if (why === null || error.code !== "JWS_UNKNOWN_KEY") why = error;
    }
  }
  throw why;
}

/** Key id in the header of a text that has been opened. */
const kidOf = (jws: string): string =>
  (JSON.parse(Buffer.from(jws.split(".")[0] ?? "", "base64url").toString()) as { kid: string }).kid;

async function asWrong<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isFault(error)) throw new Wrong(error.message, { cause: error });
    throw error;
  }
}
