import { isFault } from "../../fault/fault.ts";
import { API, JOB_LOG_HEADERS, type JobView, JobViewSchema } from "../../protocol/api.ts";
import { style, type Terminal } from "../../terminal/output.ts";
import { SETTINGS } from "../settings.ts";
import type { ApiClient } from "./api-client.ts";
import { safeLine, safeText } from "./text.ts";

/** What a watcher is told, in the order it happens. */
export type WatchEvent =
  | { readonly event: "state"; readonly job: JobView }
  | { readonly event: "log"; readonly attempt: number; readonly text: string }
  | { readonly event: "waiting"; readonly why: string };

/** A server that is being restarted is waited for so long. */
const RECONNECT_MS = 60_000;
/** The rest of a log may arrive after the receipt that names its length. */
const REST_OF_LOG_MS = 10_000;
const RETRY_MS = 500;

/**
 * Follows a job until it is finished and its whole log is here; answers how it stands then. `connected` is asked anew
 * after a broken connection: a restarted server may listen elsewhere.
 */
export async function watchJob(
  id: string,
  connected: () => Promise<ApiClient>,
  tell: (event: WatchEvent) => void,
): Promise<JobView> {
  const watcher = new Watcher(id, tell);
  let client = await connected();
  let lostSince: number | null = null;
  for (;;) {
    try {
      const finished = await watcher.poll(client);
      if (finished !== null) return finished;
      lostSince = null;
    } catch (error) {
      const away = isFault(error, "API_UNREACHABLE") || isFault(error, "CONTROL_NOT_SERVING");
      if (!away) throw error;
      if (lostSince === null) tell({ event: "waiting", why: error.message });
      lostSince ??= performance.now();
      if (performance.now() - lostSince > RECONNECT_MS) throw error;
      await Bun.sleep(RETRY_MS);
      client = await reconnected(connected, client);
    }
  }
}

async function reconnected(connected: () => Promise<ApiClient>, client: ApiClient): Promise<ApiClient> {
  try {
    return await connected();
  } catch (error) {
    if (isFault(error, "CONTROL_NOT_SERVING")) return client; // not up again yet: the old address as well as any
    throw error;
  }
}

class Watcher {
  private readonly id: string;
  private readonly tell: (event: WatchEvent) => void;
  private offset = 0;
  private attempt = 0;
  private cursor = "";
  private job: JobView | null = null;
  private finishedAt: number | null = null;
  private decoder = new TextDecoder();

  constructor(id: string, tell: (event: WatchEvent) => void) {
    this.id = id;
    this.tell = tell;
  }

  /** Waits for the next news; the job once there are none to come. */
  async poll(client: ApiClient): Promise<JobView | null> {
    const waitS = this.finishedAt === null ? SETTINGS.LONG_POLL_S - 5 : 1;
    const query = `offset=${this.offset}&wait_s=${waitS}&seen=${this.cursor || "none"}`;
    const reply = await client.send({ method: "GET", path: `${API.jobLog(this.id)}?${query}` });
    const attempt = Number(reply.headers.get(JOB_LOG_HEADERS.attempt));
    const cursor = reply.headers.get(JOB_LOG_HEADERS.cursor) ?? "";
    if (attempt !== this.attempt) {
      const ahead = this.offset > 0;
      this.attempt = attempt;
      this.offset = 0;
      this.decoder = new TextDecoder();
      if (ahead) return null; // those bytes were asked for from the old log's end
    }
    if (reply.body.length > 0) {
      this.offset += reply.body.length;
      const text = this.decoder.decode(reply.body, { stream: true });
      this.tell({ event: "log", attempt, text });
    }
    if (cursor !== this.cursor || this.finishedAt !== null) await this.look(client, cursor);
    return this.isOver() ? this.job : null;
  }

  private async look(client: ApiClient, cursor: string): Promise<void> {
    this.job = await client.json({ method: "GET", path: API.job(this.id) }, JobViewSchema);
    if (cursor !== this.cursor) this.tell({ event: "state", job: this.job });
    this.cursor = cursor;
    if (this.job.state === "finished") this.finishedAt ??= performance.now();
  }

  private isOver(): boolean {
    if (this.job === null || this.finishedAt === null) return false;
    const whole = this.offset >= (this.job.receipt?.claims.log?.size ?? 0) && this.job.log_verified !== null;
    const none = (this.job.receipt?.claims.log?.size ?? 0) === 0;
    return whole || none || performance.now() - this.finishedAt > REST_OF_LOG_MS;
  }
}

/** Tells a person: the log as it is, what happens to the job between its lines. */
export function watchForPeople(terminal: Terminal): (event: WatchEvent) => void {
  let lineOpen = false;
  let said = "";
  const note = (text: string) => {
    if (text === said) return;
    said = text;
    terminal.out(`${lineOpen ? "\n" : ""}${style.dim(`── ${text}`, terminal.colour.out)}\n`);
    lineOpen = false;
  };
  return (event) => {
    switch (event.event) {
      case "log":
        terminal.out(safeText(event.text));
        lineOpen = !event.text.endsWith("\n");
        return;
      case "waiting":
        note(`waiting: ${safeLine(event.why)}`);
        return;
      case "state":
        // The end is told once the whole log is here.
        if (event.job.state !== "finished") note(stateNote(event.job));
        return;
    }
  };
}

function stateNote({ state, step, agent_id, attempt }: JobView): string {
  const by = agent_id === null ? "" : ` by ${agent_id}`;
  const again = attempt === 1 ? "" : ` (attempt ${attempt})`;
  switch (state) {
    case "queued":
      return `queued${again}`;
    case "offered":
      return `offered to ${agent_id}${again}`;
    case "leased":
      return `taken${by}`;
    case "running":
      return step === null ? `running${by}` : `step ${safeLine(step)}`;
    case "overdue":
      return "its agent is silent; the outcome is waited for";
    case "cancelling":
      return "cancelling: its agent is told to end it";
    case "finished":
      return "finished";
  }
}
