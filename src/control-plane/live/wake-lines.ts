import { fault } from "../../fault/fault.ts";
import type { AccountId, AgentId } from "../../protocol/ids.ts";
import type { AgentStanding } from "../beat/standing.ts";
import { SETTINGS } from "../settings.ts";

/** Whose line it is, how the agent stands, and when its access token ends. */
export interface WakeHolder {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  readonly standing: AgentStanding;
  readonly untilMs: number;
}

interface Line {
  readonly accountId: AccountId;
  readonly agentId: AgentId;
  standing: AgentStanding;
  nudgedMs: number;
  readonly send: (text: string) => void;
  readonly close: () => void;
}

/** A line already told is told again for the same queue only so much later. */
const NUDGED_AGAIN_MS = 10_000;

const BEAT = "event: beat\ndata:\n\n";
const COMMENT = ":\n\n";

/**
 * Lines on which agents are told to beat now (server-sent events without data; WHATWG HTML section 9.2). They only save
 * time: an agent without one learns the same at its interval.
 */
export class WakeLines {
  private readonly lines = new Map<AgentId, Line>();
  private readonly max: number;

  constructor(max: number) {
    this.max = max;
  }

  /** Opens the agent's one line, closing the one before. Throws WAKE_FULL. */
  open(holder: WakeHolder, nowMs: number): ReadableStream<Uint8Array> {
    this.lines.get(holder.agentId)?.close();
    if (this.lines.size >= this.max) throw fault("WAKE_FULL", { max: this.max });
    let line: Line | null = null;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        line = this.start(holder, controller, nowMs);
      },
      cancel: () => line?.close(),
    });
  }

  get any(): boolean {
    return this.lines.size > 0;
  }

  /** Notes how an agent stands after a heartbeat. */
  update(agentId: AgentId, standing: AgentStanding): void {
    const line = this.lines.get(agentId);
    if (line !== undefined) line.standing = standing;
  }

  /**
   * Tells as many agents as there are jobs of the kind waiting, those with most places first. `again` is for a queue
   * looked at before: then those told lately are left alone.
   */
  nudge(
    queue: { readonly accountId: AccountId; readonly kind: string; readonly jobs: number },
    nowMs: number,
    again: boolean,
  ): void {
    const able = [...this.lines.values()].filter(
      ({ accountId, standing, nudgedMs }) =>
        accountId === queue.accountId &&
        standing.free > 0 &&
        standing.kinds.includes(queue.kind) &&
        (!again || nowMs - nudgedMs > NUDGED_AGAIN_MS),
    );
    able.sort((a, b) => b.standing.free - a.standing.free || a.nudgedMs - b.nudgedMs);
    for (const line of able.slice(0, queue.jobs)) {
      line.nudgedMs = nowMs;
      line.standing = { ...line.standing, free: line.standing.free - 1 };
      line.send(BEAT);
    }
  }

  /** Tells one agent to beat now, whether or not there is work for it. */
  tell(agentId: AgentId): void {
    this.lines.get(agentId)?.send(BEAT);
  }

  /** Tells those of the account that wait for a slot: one may be free. */
  tellWaiting(accountId: AccountId): void {
    for (const line of [...this.lines.values()]) {
      if (line.accountId === accountId && line.standing.waits) line.send(BEAT);
    }
  }

  /** Tells every agent of the account: what concerns them all has changed. */
  tellAll(accountId: AccountId): void {
    for (const line of [...this.lines.values()]) if (line.accountId === accountId) line.send(BEAT);
  }

  /** Ends the agent's line: it has no right to one any more. */
  close(agentId: AgentId): void {
    this.lines.get(agentId)?.close();
  }

  /** Ends every line: the server stops. */
  closeAll(): void {
    for (const line of [...this.lines.values()]) line.close();
  }

  private start(
    { accountId, agentId, standing, untilMs }: WakeHolder,
    controller: ReadableStreamDefaultController<Uint8Array>,
    nowMs: number,
  ): Line {
    const encoder = new TextEncoder();
    let open = true;
    const send = (text: string) => {
      if (!open) return;
      // A reader that does not read is cut rather than remembered for.
      if ((controller.desiredSize ?? 0) < -64) close();
      else controller.enqueue(encoder.encode(text));
    };
    const close = () => {
      if (!open) return;
      open = false;
      clearInterval(comments);
      clearTimeout(end);
      if (this.lines.get(agentId) === line) this.lines.delete(agentId);
      try {
        controller.close();
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // the reader went first
      }
    };
    const comments = setInterval(() => send(COMMENT), SETTINGS.WAKE_COMMENT_MS);
    const end = setTimeout(close, Math.max(0, untilMs - nowMs));
    const line: Line = { accountId, agentId, standing, nudgedMs: 0, send, close };
    this.lines.set(agentId, line);
    send(COMMENT); // so that the answer's head leaves at once
    return line;
  }
}
