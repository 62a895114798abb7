import * as v from "valibot";
import { AgentIdSchema, Sha256Schema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { CountSchema, Ed25519JwkSchema } from "./scalars.ts";
import { TrustDocumentSchema } from "./trust.ts";

const SeqSchema = v.pipe(CountSchema, v.minValue(1));

/**
 * First line of an export of receipts: who they are by, from which to which, and the signatures that prove whose the keys
 * were. `trust` are key sets under one root, `keys` the agent's, the oldest first, each with a license bound to it.
 */
export const ReceiptExportHeaderSchema = v.strictObject({
  v: v.literal(1),
  format: v.literal("agentina-receipts"),
  agent: AgentIdSchema,
  trust: v.pipe(v.array(TrustDocumentSchema), v.minLength(1), v.maxLength(256)),
  keys: v.pipe(
    v.array(
      v.strictObject({
        jwk: Ed25519JwkSchema,
        license: v.pipe(v.string(), v.maxLength(LIMITS.SMALL_JWS_BYTES)),
      }),
    ),
    v.minLength(1),
    v.maxLength(256),
  ),
  /** Numbers of the first and the last line that follow, and the digest of the last; null for none. */
  range: v.nullable(v.strictObject({ first: SeqSchema, last: SeqSchema, head: Sha256Schema })),
});
export type ReceiptExportHeader = v.InferOutput<typeof ReceiptExportHeaderSchema>;

/** Every other line: one receipt, its number and the SHA-256 of its text. */
export const ReceiptExportLineSchema = v.strictObject({
  seq: SeqSchema,
  sha256: Sha256Schema,
  receipt: v.pipe(v.string(), v.maxLength(LIMITS.BEAT_RECEIPTS_BYTES)),
});
export type ReceiptExportLine = v.InferOutput<typeof ReceiptExportLineSchema>;

/** Answer of the export route: a page of lines from `since` on. */
export const ReceiptPageSchema = v.strictObject({
  header: ReceiptExportHeaderSchema,
  lines: v.array(ReceiptExportLineSchema),
});
