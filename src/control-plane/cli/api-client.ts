import type * as v from "valibot";
import { Fault, fault, reasonOf } from "../../fault/fault.ts";
import { FAULTS, type FaultCode } from "../../fault/registry.ts";
import { parseDocument } from "../../protocol/json.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { type Problem, ProblemSchema } from "../../protocol/wire.ts";

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Path with its query. */
  readonly path: string;
  /** A value to send as JSON, or a file to send as it is. */
  readonly json?: unknown;
  readonly file?: Blob;
  readonly timeoutS?: number;
}

/** Talks to the operator's side of a Control Plane. A refusal comes back as the fault it was on the other side. */
export class ApiClient {
  readonly url: string;
  private readonly key: string;

  constructor(url: string, key: string) {
    this.url = url;
    this.key = key;
  }

  /** Sends a request and reads the JSON answer by its schema. */
  async json<S extends v.GenericSchema>(request: ApiRequest, schema: S): Promise<v.InferOutput<S>> {
    const { body } = await this.send(request);
    const parsed = parseDocument(body, schema);
    if (parsed.ok) return parsed.value;
    throw fault("WIRE_REPLY_MALFORMED", { url: this.url, why: `${parsed.path}: ${parsed.why}` });
  }

  /** Sends a request and answers what came back, whole. Throws the server's fault, API_UNREACHABLE or WIRE_*. */
  async send(request: ApiRequest): Promise<{ headers: Headers; body: Uint8Array }> {
    const response = await this.fetch(request);
    const body = await this.bodyOf(response);
    if (response.ok) return { headers: response.headers, body };
    throw this.refusal(response, body);
  }

  private async fetch(request: ApiRequest): Promise<Response> {
    const { method, path, json, file, timeoutS = LIMITS.REQUEST_TIMEOUT_MS / 1000 } = request;
    const type = json === undefined ? "application/octet-stream" : "application/json";
    const body = json === undefined ? file : JSON.stringify(json);
    try {
      return await fetch(`${this.url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${this.key}`,
          ...(body === undefined ? {} : { "content-type": type }),
        },
        ...(body === undefined ? {} : { body }),
        redirect: "manual",
        signal: AbortSignal.timeout(timeoutS * 1000),
      });
    } catch (error) {
      throw fault("API_UNREACHABLE", { url: this.url, why: networkReason(error) }, error);
    }
  }

  private async bodyOf(response: Response): Promise<Uint8Array> {
    const limit = LIMITS.API_REPLY_BYTES;
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of response.body ?? []) {
        size += chunk.length;
        if (size > limit) throw fault("WIRE_REPLY_OVERSIZED", { url: this.url, limit });
        chunks.push(chunk);
      }
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw fault("API_UNREACHABLE", { url: this.url, why: networkReason(error) }, error);
    }
    return new Uint8Array(Buffer.concat(chunks));
  }

  private refusal(response: Response, body: Uint8Array): Fault {
    const type = (response.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
    const problem = type === "application/problem+json" ? parseDocument(body, ProblemSchema) : null;
    if (problem?.ok) return faultOf(problem.value, this.url);
    const what = body.length === 0 ? "an empty body" : type || "bytes of no declared type";
    return fault("WIRE_NOT_CONTROL_PLANE", { url: this.url, status: response.status, what });
  }
}

/** The server's fault as this program words it; one it does not know keeps the server's words. */
function faultOf({ code, params, detail, remedy }: Problem, url: string): Fault {
  if (isKnown(code) && params !== undefined) return new Fault(code, params);
  return fault("WIRE_REFUSED", { url, why: `${code}: ${detail}`, remedy });
}

/** The system's own word for a broken connection ("ECONNREFUSED"), or whatever was said. */
const networkReason = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" && /^[A-Z]/.test(error.code)
    ? error.code
    : reasonOf(error);

const isKnown = (code: string): code is FaultCode => Object.hasOwn(FAULTS, code);
