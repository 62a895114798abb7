// The log route of a Control Plane: appends at an offset, repeats change nothing, other bytes are refused.

import { problem } from "./lies.ts";
import type { Exchange, ScriptedControl } from "./scripted-control.ts";

export class LogStore {
  watched = false;
  /** Every accepted request: attempt, offset, bytes sent, boot-clock time. */
  readonly puts: {
    readonly key: string;
    readonly offset: number;
    readonly size: number;
    readonly at: number;
  }[] = [];
  private readonly logs = new Map<string, Buffer>();

  text(jti: string, attempt = 1): string {
    return (this.logs.get(`${jti}/${attempt}`) ?? Buffer.alloc(0)).toString("utf8");
  }

  /** Cuts what is stored, as a server does that lost it. */
  cut(jti: string, size: number, attempt = 1): void {
    const key = `${jti}/${attempt}`;
    this.logs.set(key, (this.logs.get(key) ?? Buffer.alloc(0)).subarray(0, size));
  }

  put({ url, body }: Exchange, control: ScriptedControl): Response {
    const [, jti, attempt] = /^\/v1\/jobs\/([^/]+)\/(\d+)\/log$/.exec(url.pathname) ?? [];
    const key = `${jti}/${attempt}`;
    const offset = Number(url.searchParams.get("offset"));
    const before = this.logs.get(key) ?? Buffer.alloc(0);
    const known = before.subarray(offset, offset + body.length);
    if (offset > before.length || !known.equals(body.subarray(0, known.length))) {
      return problem(control, 409, "API_OFFSET_MISMATCH");
    }
    this.puts.push({ key, offset, size: body.length, at: control.time.bootMs() });
    if (offset + body.length > before.length) {
      this.logs.set(key, Buffer.concat([before.subarray(0, offset), body]));
    }
    const stored = this.logs.get(key)?.length ?? 0;
    return control.json({ stored, watched: this.watched });
  }
}
