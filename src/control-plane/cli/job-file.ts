import { createHash } from "node:crypto";
import { parse, safeParse } from "valibot";
import { type Fault, fault, isFault, reasonOf } from "../../fault/fault.ts";
import { API, BlobStoredSchema } from "../../protocol/api.ts";
import { Sha256Schema } from "../../protocol/ids.ts";
import { BlobNameSchema, type BlobRef, type JobSubmission } from "../../protocol/job.ts";
import { parseJson } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { checkSubmission } from "../queue/submission.ts";
import type { ApiClient } from "./api-client.ts";
import { jsonErrorPosition } from "./json-position.ts";

const UPLOAD_S = 3600;

/** A file to send along, named as the job names it. */
export interface BlobFile {
  readonly name: string;
  readonly path: string;
}

/** A submission with the files it needs on the other side. */
export interface PreparedJob {
  readonly submission: JobSubmission;
  readonly uploads: readonly { readonly file: Bun.BunFile; readonly ref: BlobRef }[];
}

/** Reads `NAME=PATH`. Throws CLI_BAD_VALUE. */
export function parseBlobArg(value: string, command: string): BlobFile {
  const equals = value.indexOf("=");
  const name = value.slice(0, Math.max(0, equals));
  const path = value.slice(equals + 1);
  if (safeParse(BlobNameSchema, name).success && path !== "") return { name, path };
  const why = "it must be NAME=PATH, the name of letters, digits, dots, dashes";
  throw fault("CLI_BAD_VALUE", { flag: "--blob", value, why, command });
}

/**
 * Reads a job file and checks it whole before anything is sent. The blobs given beside it stand in `blobs` with their
 * digest and size, in place of any of the same name. Throws JOB_FILE_MALFORMED, CLI_INPUT_UNREADABLE.
 */
export async function prepareJob(path: string, blobs: readonly BlobFile[]): Promise<PreparedJob> {
  const value = readValue(path, await textOf(path));
  const uploads = await Promise.all(blobs.map(measure));
  const refs = uploads.map(({ ref }) => ref);
  const checked = checkSubmission(refs.length === 0 ? value : withBlobs(value, refs));
  if (!checked.ok) throw malformed(path, checked.path, checked.why);
  return { submission: checked.value, uploads };
}

/** Uploads what the job needs. The same bytes again change nothing. */
export async function upload(client: ApiClient, { uploads }: PreparedJob): Promise<void> {
  for (const { file, ref } of uploads) {
    const request = { method: "PUT", path: API.blob(ref.sha256), file, timeoutS: UPLOAD_S } as const;
    await client.json(request, BlobStoredSchema);
  }
}

/** A refusal of the job's fields, told with the file they are in. */
export function withFile(error: unknown, path: string): unknown {
  if (!isFault(error, "API_BODY_MALFORMED")) return error;
  return malformed(path, String(error.params["path"]), String(error.params["why"]));
}

function readValue(path: string, text: string): unknown {
  const position = jsonErrorPosition(text);
  if (position !== null) {
    throw malformed(path, `line ${position.line}, column ${position.column}`, "is not JSON from here on");
  }
  const parsed = parseJson(text);
  if (!parsed.ok) throw malformed(path, parsed.path, parsed.why);
  return parsed.value;
}

async function textOf(path: string): Promise<string> {
  const file = path === "-" ? Bun.stdin : Bun.file(path);
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (bytes.length > LIMITS.API_BODY_BYTES) {
      throw malformed(path, "(document)", `is larger than ${LIMITS.API_BODY_BYTES} bytes`);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (isFault(error)) throw error;
    if (error instanceof TypeError) throw malformed(path, "(document)", "is not valid UTF-8");
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
}

async function measure({ name, path }: BlobFile): Promise<PreparedJob["uploads"][number]> {
  const file = Bun.file(path);
  const hash = createHash("sha256");
  let size = 0;
  try {
    for await (const chunk of file.stream()) {
      hash.update(chunk);
      size += chunk.length;
    }
  } catch (error) {
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  return { file, ref: { name, sha256: parse(Sha256Schema, hash.digest("hex")), size } };
}

function withBlobs(value: unknown, refs: readonly BlobRef[]): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const given = "blobs" in value && Array.isArray(value.blobs) ? (value.blobs as unknown[]) : [];
  const kept = given.filter((blob) => !refs.some(({ name }) => name === nameOf(blob)));
  return { ...value, blobs: [...kept, ...refs] };
}

const nameOf = (blob: unknown): unknown =>
  blob !== null && typeof blob === "object" && "name" in blob ? blob.name : undefined;

const malformed = (file: string, path: string, why: string): Fault =>
  fault("JOB_FILE_MALFORMED", { file, path, why });
