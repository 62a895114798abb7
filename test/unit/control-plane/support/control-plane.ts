// A real Control Plane on a free loopback port and a private data directory, in this process.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningControlPlane, startControlPlane } from "../../../../src/control-plane/serve/start.ts";
import { API } from "../../../../src/protocol/api.ts";

export interface TestControlPlane {
  readonly running: () => RunningControlPlane;
  readonly url: string;
  readonly adminKey: string;
  /** Everything it logged, one JSON text a line. */
  readonly log: string[];
  /** Moves its clock. */
  readonly shift: (ms: number) => void;
  /** Stops it and starts it again on the same data directory and port; `between` works on the directory meanwhile. */
  readonly restart: (between?: () => Promise<unknown>) => Promise<void>;
  readonly api: (method: string, path: string, body?: unknown) => Promise<Response>;
  readonly close: () => Promise<void>;
}

export const random = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));

export async function startTestControlPlane(
  options: { intervalS?: number; maxWakes?: number } = {},
): Promise<TestControlPlane> {
  const dataDir = await mkdtemp(join(tmpdir(), "agentina-control-"));
  const log: string[] = [];
  let shifted = 0;
  const start = (port: number) =>
    startControlPlane({
      dataDir,
      listen: { host: "127.0.0.1", port },
      publicUrl: null,
      intervalS: options.intervalS ?? 60,
      maxWakes: options.maxWakes ?? 100,
      log: (level, message, fields) => log.push(JSON.stringify({ level, message, ...fields })),
      nowMs: () => Date.now() + shifted,
      random,
    });
  let running = await start(0);
  const { url } = running;
  const adminKey = (await Bun.file(join(dataDir, "admin.key")).text()).trim();
  return {
    running: () => running,
    url,
    adminKey,
    log,
    shift: (ms) => {
      shifted += ms;
    },
    restart: async (between) => {
      await running.stop();
      await between?.();
      running = await start(Number(new URL(url).port));
    },
    api: (method, path, body) =>
      fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${adminKey}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    close: async () => {
      await running.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Mints an activation token. */
export async function mint(control: TestControlPlane, options: object = {}): Promise<string> {
  const reply = await control.api("POST", API.tokens, options);
  const { token } = (await reply.json()) as { token: string };
  return token;
}

export const SUBMISSION = {
  kind: "test.run",
  payload: { source: { type: "empty" }, run: ["true"] },
  scope: { files: { read: [], write: ["./"] }, commands: "system", hosts: [], env: [] },
} as const;

/** Submits a job and answers its id. */
export async function submit(control: TestControlPlane, changes: object = {}): Promise<string> {
  const reply = await control.api("POST", API.jobs, { ...SUBMISSION, ...changes });
  const body = (await reply.json()) as { id: string };
  if (!reply.ok) throw new Error(JSON.stringify(body));
  return body.id;
}
