import * as v from "valibot";
import { ControlPlaneIdSchema, Sha256Schema } from "../../protocol/ids.ts";
import { CountSchema, EpochMillisSchema } from "../../protocol/scalars.ts";

export const MANIFEST_NAME = "manifest.json";
export const MANIFEST_BYTES = 1_073_741_824;

/** What may be in a backup, by its path: nothing else is ever written when one is brought back. */
const PATHS = [
  /^control\.db$/,
  /^admin\.key$/,
  /^keys\/(trust\.json|root\.pem|enrol\.pem|bearer\.key|(job|order|license)-[A-Za-z0-9_-]{43}\.pem)$/,
  /^keys\/sets\/\d{1,10}\.json$/,
  /^blobs\/acc_[0-9A-Za-z]{20}\/[0-9a-f]{64}$/,
  /^logs\/acc_[0-9A-Za-z]{20}\/job_[0-9A-Za-z]{20}\/\d{1,10}\.[a-z0-9_-]{1,32}\.log$/,
] as const;

export const isBackupPath = (path: string): boolean => PATHS.some((pattern) => pattern.test(path));

const PathSchema = v.pipe(v.string(), v.check(isBackupPath, "is no path of a backup"));

/** The last file of a backup: what is in it, with digests. Without it, a backup is not whole. */
export const ManifestSchema = v.strictObject({
  v: v.literal(1),
  format: v.literal("agentina-control-backup"),
  control_plane: ControlPlaneIdSchema,
  version: v.string(),
  era: CountSchema,
  trust_seq: CountSchema,
  created_at: EpochMillisSchema,
  files: v.array(v.strictObject({ path: PathSchema, size: CountSchema, sha256: Sha256Schema })),
  /** Files the database speaks of that were gone when the backup was made. */
  missing: v.array(PathSchema),
});
export type Manifest = v.InferOutput<typeof ManifestSchema>;
