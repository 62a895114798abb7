import * as v from "valibot";
import { AgentIdSchema, ControlPlaneIdSchema, JobIdSchema, LicenseIdSchema, Sha256Schema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { CountSchema, EpochSecondsSchema } from "./scalars.ts";
import { EnvNameSchema, JobLimitsSchema, ScopeSchema } from "./scope.ts";

export const JOB_KINDS = ["test.run", "code.implement", "test.write", "plan.draft", "ui.exercise"] as const;
export const JobKindSchema = v.picklist(JOB_KINDS);

const noNul = v.check((text: string) => !text.includes("\0"), "must not hold NUL");
const argument = v.pipe(v.string(), v.maxBytes(LIMITS.ARG_BYTES), noNul);
/** argv of one process; argv[0] is an absolute path or a bare name looked up on the fixed PATH inside. */
const ArgvSchema = v.pipe(
  v.array(argument),
  v.minLength(1, "must name a program"),
  v.maxLength(LIMITS.ARGV_ITEMS),
  v.check((argv) => argv[0] !== "", "must name a program"),
);

const CommitSchema = v.pipe(
  v.string(),
  v.regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/, "must be a full commit hash in lower-case hex"),
);
export const BlobNameSchema = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be a short name"),
);

/** Where a job's tree comes from. `bundle` names a blob that is a git bundle (git-bundle(1)). */
const SourceSchema = v.variant("type", [
  v.strictObject({
    type: v.literal("git"),
    url: v.pipe(v.string(), v.minLength(1), v.maxLength(2048), noNul),
    commit: CommitSchema,
    depth: v.optional(v.pipe(CountSchema, v.minValue(1), v.maxValue(1_000_000))),
  }),
  v.strictObject({ type: v.literal("bundle"), blob: BlobNameSchema, commit: CommitSchema }),
  v.strictObject({ type: v.literal("empty") }),
]);
export type Source = v.InferOutput<typeof SourceSchema>;

/** A path inside the workspace, relative, without `..`. */
const WorkspacePathSchema = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(4096),
  noNul,
  v.check((path) => !path.startsWith("/"), "must be relative to the workspace"),
  v.check(
    (path) => path.split("/").every((part) => part !== ".." && part !== ""),
    "must not climb or hold empty parts",
  ),
);

export const ReportFormatSchema = v.picklist(["auto", "tap", "junit", "exit"]);
export type ReportFormat = v.InferOutput<typeof ReportFormatSchema>;

/** How the verdict of a test run is read; JUnit XML is read from a file, so it needs a path. */
const ReportSchema = v.pipe(
  v.strictObject({ format: ReportFormatSchema, path: v.optional(WorkspacePathSchema) }),
  v.check(
    ({ format, path }) => format !== "junit" || path !== undefined,
    'needs "path" with the format "junit"',
  ),
);

/** Names of secrets, each once. */
const SecretNamesSchema = v.pipe(
  v.array(EnvNameSchema),
  v.maxLength(LIMITS.SECRETS),
  v.check((names) => new Set(names).size === names.length, "must not name a secret twice"),
);

/** Payload of `test.run`: fetch, set up, run one command, read its verdict. */
export const TestRunPayloadSchema = v.strictObject({
  source: SourceSchema,
  setup: v.optional(v.pipe(v.array(ArgvSchema), v.maxLength(LIMITS.SETUP_STEPS)), []),
  run: ArgvSchema,
  report: v.optional(ReportSchema, { format: "auto" }),
  env: v.optional(v.record(EnvNameSchema, v.pipe(v.string(), v.maxBytes(LIMITS.ENV_VALUE_BYTES), noNul)), {}),
  /** Which of the job's secrets each step finds in its environment. The checkout never has one. */
  secrets: v.optional(
    v.strictObject({ setup: v.optional(SecretNamesSchema), run: v.optional(SecretNamesSchema) }),
  ),
});
export type TestRunPayload = v.InferOutput<typeof TestRunPayloadSchema>;

/** Which schema a kind's payload must fit; a kind without a row is not known to this version. */
export const PAYLOAD_SCHEMAS = { "test.run": TestRunPayloadSchema } as const;
export type RunnableKind = keyof typeof PAYLOAD_SCHEMAS;
export const RUNNABLE_KINDS = Object.keys(PAYLOAD_SCHEMAS) as readonly RunnableKind[];
export const isRunnableKind = (kind: string): kind is RunnableKind => Object.hasOwn(PAYLOAD_SCHEMAS, kind);

const BlobRefSchema = v.strictObject({
  name: BlobNameSchema,
  sha256: Sha256Schema,
  size: v.pipe(CountSchema, v.maxValue(LIMITS.BLOB_BYTES)),
});
export type BlobRef = v.InferOutput<typeof BlobRefSchema>;

const OnLostSchema = v.picklist(["requeue", "fail"]);

/** Claims of an `agentina-job+jws`. `kind` and `payload` are opened only after these hold. */
export const JobClaimsSchema = v.strictObject({
  v: v.literal(1),
  iss: ControlPlaneIdSchema,
  aud: AgentIdSchema,
  sub: v.literal("job"),
  jti: JobIdSchema,
  attempt: v.pipe(CountSchema, v.minValue(1)),
  seq: v.pipe(CountSchema, v.minValue(1)),
  epoch: v.pipe(CountSchema, v.minValue(1)),
  lic: LicenseIdSchema,
  kind: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9]*\.[a-z][a-z0-9]*$/)),
  payload: v.record(v.string(), v.unknown()),
  scope: ScopeSchema,
  limits: JobLimitsSchema,
  /** Each a JWE to the agent's sealing key over a `SealedSecret` of this very job and name. */
  secrets: v.optional(
    v.pipe(
      v.record(EnvNameSchema, v.pipe(v.string(), v.maxLength(LIMITS.SMALL_JWS_BYTES))),
      v.check(
        (secrets) => Object.keys(secrets).length <= LIMITS.SECRETS,
        `must hold at most ${LIMITS.SECRETS} secrets`,
      ),
    ),
  ),
  blobs: v.optional(v.pipe(v.array(BlobRefSchema), v.maxLength(LIMITS.BLOBS))),
  on_lost: OnLostSchema,
  iat: EpochSecondsSchema,
  nbf: EpochSecondsSchema,
  exp: EpochSecondsSchema,
});
export type JobClaims = v.InferOutput<typeof JobClaimsSchema>;

/** What a person or program submits: a job before it is bound to an agent and signed. */
export const JobSubmissionSchema = v.strictObject({
  kind: JobKindSchema,
  payload: v.record(v.string(), v.unknown()),
  scope: ScopeSchema,
  limits: v.optional(v.partial(JobLimitsSchema), {}),
  blobs: v.optional(v.pipe(v.array(BlobRefSchema), v.maxLength(LIMITS.BLOBS)), []),
  /** Names of secrets kept by the Control Plane; the payload says which step gets which. */
  secrets: v.optional(SecretNamesSchema),
  on_lost: v.optional(OnLostSchema, "fail"),
  priority: v.optional(v.pipe(v.number(), v.integer(), v.minValue(-100), v.maxValue(100)), 0),
  idempotency_key: v.optional(v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/))),
});
export type JobSubmission = v.InferOutput<typeof JobSubmissionSchema>;
