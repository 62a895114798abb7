import { type Fault, fault, reasonOf } from "../fault/fault.ts";
import { decodeBase64url } from "../protocol/base64url.ts";
import type { JobClaims } from "../protocol/job.ts";
import { parseDocument } from "../protocol/json.ts";
import { SealedSecretSchema, secretValueProblem, type Work, workDigest } from "../protocol/secret.ts";
import type { SealingKey } from "../trust/keys.ts";
import { unseal } from "../trust/sealed-box.ts";

/** A job's secrets by name, open: for the thread that runs it, never for a file, a log or a child of the agent's own. */
export type OpenSecrets = Readonly<Record<string, string>>;

/**
 * Opens a job's secrets with the agent's sealing key, all of them or none. Each must have been sealed for this very job,
 * for what it does, and under this name. Throws SECRET_UNOPENED naming the first that does not open; its reason holds nothing of what was inside.
 */
export async function openSecrets(
  { jti, secrets = {}, ...work }: Work & Pick<JobClaims, "jti" | "secrets">,
  key: SealingKey | null,
): Promise<OpenSecrets> {
  const open: [string, string][] = [];
  const digest = workDigest(work);
  for (const [name, box] of Object.entries(secrets))
    open.push([name, await openOne({ jti, work: digest, name, box }, key)]);
  return Object.fromEntries(open);
}

interface Sealed {
  readonly jti: string;
  readonly work: string;
  readonly name: string;
  readonly box: string;
}

async function openOne({ jti, work, name, box }: Sealed, key: SealingKey | null): Promise<string> {
  const unopened = (why: string): Fault => fault("SECRET_UNOPENED", { name, why });
  if (key === null) throw unopened("this agent has no sealing key");
  let plain: Uint8Array;
  try {
    plain = await unseal(box, key);
  } catch (error) {
    throw unopened(`it is not sealed to this agent (${reasonOf(error)})`);
  }
  const parsed = parseDocument(plain, SealedSecretSchema);
  if (!parsed.ok) throw unopened("what is sealed in it is not a secret");
  if (parsed.value.jti !== jti) throw unopened("it was sealed for another job");
  if (parsed.value.work !== work) throw unopened("it was sealed for other work under this job's name");
  if (parsed.value.name !== name) throw unopened("it was sealed under another name");
  const value = textOf(parsed.value.value);
  if (value === null || secretValueProblem(value) !== null)
    throw unopened("it holds no value that may be set");
  return value;
}

function textOf(base64url: string): string | null {
  const bytes = decodeBase64url(base64url);
  if (bytes === null) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null; // the decoder has only one complaint: it is not UTF-8
  }
}
