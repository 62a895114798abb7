import { ofetch } from "ofetch";
import { type Fault, fault, isFault, reasonOf } from "../fault/fault.ts";
import { parseDocument } from "../protocol/json.ts";
import { LIMITS } from "../protocol/limits.ts";
import { type Problem, ProblemSchema } from "../protocol/wire.ts";

/** One request to the Control Plane. */
export interface WireRequest {
  readonly method: "GET" | "POST" | "PUT";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly maxReplyBytes: number;
  /** Media type the reply must have. */
  readonly accept: "application/json" | "application/octet-stream";
  readonly signal?: AbortSignal;
}

/** A reply with a success status; everything else became a fault. */
export interface WireReply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** Sends one request. Throws WIRE_* faults only. Tests and the simulation give another. */
export type Transport = (request: WireRequest) => Promise<WireReply>;

/** What a refused request said about itself, beside the fault it became. */
export interface Refusal {
  readonly status: number;
  readonly headers: Headers;
  /** The code of the problem document, when there was one. */
  readonly problem: string | null;
}

const refusals = new WeakMap<Fault, Refusal>();

/** The HTTP side of a fault this module threw: status, headers, problem code. Null for network failures. */
export const refusalOf = (error: Fault): Refusal | null => refusals.get(error) ?? null;

/**
 * The real transport: ofetch over the runtime's fetch, no redirects, bounded in time and size. The runtime obeys proxy
 * variables whatever it is told; the program takes them out of its environment at its start.
 */
export const httpTransport: Transport = async (request) => {
  const timeout = AbortSignal.timeout(LIMITS.REQUEST_TIMEOUT_MS);
  const signal = request.signal ? AbortSignal.any([timeout, request.signal]) : timeout;
  try {
    const response = await ofetch.raw(request.url, {
      method: request.method,
      headers: { accept: request.accept, ...request.headers },
      ...(request.body === undefined ? {} : { body: new Uint8Array(request.body) }),
      redirect: "manual",
      retry: 0,
      responseType: "stream",
      ignoreResponseError: true,
      signal,
    });
    return await openResponse(request, response);
  } catch (error) {
    throw isFault(error) ? error : networkFault(request.url, error, timeout.aborted);
  }
};

/** Reads a response as the reply to `request`. Throws WIRE_* faults for what is not one; a cut surfaces as it came. */
export async function openResponse(request: WireRequest, response: Response): Promise<WireReply> {
  const { url, accept, maxReplyBytes: limit } = request;
  if (response.status < 200 || response.status >= 300) throw await refusalFault(url, response);
  const body = await readBody(response.body, limit);
  if (body === null) throw fault("WIRE_REPLY_OVERSIZED", { url, limit });
  if (mediaType(response) !== accept) throw notOurs(url, response, body);
  return { status: response.status, headers: response.headers, body };
}

/** One request whose reply is read as it comes: wake-ups and big inputs. The reader bounds what it takes. */
export interface StreamRequest {
  readonly url: string;
  readonly accept: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export type OpenStream = (request: StreamRequest) => Promise<ReadableStream<Uint8Array>>;

const PROBLEM_BYTES_MAX = 16_384;

/** The real one. Throws WIRE_* faults until the headers are there; later cuts surface from the stream. */
export const openHttpStream: OpenStream = async (request) => {
  const { url, accept, headers, signal } = request;
  try {
    const response = await ofetch.raw(url, {
      headers: { accept, ...headers },
      redirect: "manual",
      retry: 0,
      responseType: "stream",
      ignoreResponseError: true,
      signal,
    });
    return await openStreamResponse(request, response);
  } catch (error) {
    throw isFault(error) ? error : networkFault(url, error, false);
  }
};

/** The stream of a response that is one, else the fault it stands for. */
export async function openStreamResponse(
  { url, accept }: StreamRequest,
  response: Response,
): Promise<ReadableStream<Uint8Array>> {
  if (response.status === 200 && mediaType(response) === accept && response.body) return response.body;
  if (response.status !== 200) throw await refusalFault(url, response);
  throw notOurs(url, response, await readBody(response.body, PROBLEM_BYTES_MAX));
}

/** The whole body, or null when it is larger than `limit`; the rest is then not read. */
async function readBody(
  stream: ReadableStream<Uint8Array> | null,
  limit: number,
): Promise<Uint8Array | null> {
  if (stream === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > limit) return null;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** A refusal is read as far as a problem document may go; what is larger is somebody else's page. */
async function refusalFault(url: string, response: Response): Promise<Fault> {
  const body = await readBody(response.body, PROBLEM_BYTES_MAX);
  const parsed =
    body !== null && mediaType(response) === "application/problem+json"
      ? parseDocument(body, ProblemSchema)
      : null;
  const problem = parsed?.ok ? parsed.value : null;
  const made = statusFault(url, response, body, problem);
  refusals.set(made, { status: response.status, headers: response.headers, problem: problem?.code ?? null });
  return made;
}

const notOurs = (url: string, response: Response, body: Uint8Array | null): Fault =>
  fault("WIRE_NOT_CONTROL_PLANE", {
    url,
    status: response.status,
    what: describe(mediaType(response), body),
  });

function statusFault(
  url: string,
  response: Response,
  body: Uint8Array | null,
  problem: Problem | null,
): Fault {
  const { status } = response;
  if (status === 429 || (status === 503 && response.headers.has("retry-after"))) {
    return fault("WIRE_RATE_LIMITED", { url, seconds: retryAfterSeconds(response.headers) });
  }
  if (problem === null) {
    if (status === 404) return fault("WIRE_NOT_FOUND", { url });
    if (status === 401 || status === 403) return fault("WIRE_UNAUTHORIZED", { url, why: `status ${status}` });
    if (status >= 500) return fault("WIRE_SERVER_ERROR", { url, status });
    return notOurs(url, response, body);
  }
  const seconds = problem.params?.["seconds"];
  if (problem.code === "WIRE_CLOCK_SKEW" && seconds !== undefined)
    return fault("WIRE_CLOCK_SKEW", { seconds });
  if (status === 401) return fault("WIRE_UNAUTHORIZED", { url, why: problem.detail });
  if (status >= 500) return fault("WIRE_SERVER_ERROR", { url, status });
  return fault("WIRE_REFUSED", { url, why: problem.detail, remedy: problem.remedy });
}

/** `Retry-After` in seconds (RFC 9110 section 10.2.3), 1 … 300; a date or nonsense counts as the shortest wait. */
export function retryAfterSeconds(headers: Headers): number {
  const value = Number(headers.get("retry-after") ?? "");
  if (!Number.isFinite(value)) return 1;
  return Math.min(Math.max(1, Math.ceil(value)), LIMITS.RETRY_AFTER_MAX_S);
}

function networkFault(url: string, error: unknown, timedOut: boolean): Fault {
  if (timedOut) return fault("WIRE_TIMEOUT", { url, seconds: LIMITS.REQUEST_TIMEOUT_MS / 1000 }, error);
  const inner = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = inner instanceof Error && "code" in inner ? String(inner.code) : "";
  return fault("WIRE_UNREACHABLE", { url, why: code || reasonOf(inner) }, error);
}

const mediaType = (response: Response) =>
  (response.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";

function describe(type: string, body: Uint8Array | null): string {
  if (body?.length === 0) return "an empty body";
  return type === "" ? "bytes of no declared type" : type;
}
