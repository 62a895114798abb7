// A world of its own for the compiled programs: private directories, users without rights, a free loopback port.
// The demo lives in one, and so do the end-to-end tests. Nothing in it needs root; started as root, it gives root up.

import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";

/** User ids no host gives to a person; the agent and the Control Plane get one each. */
const AGENT_UID = 64_101;
const CONTROL_UID = 64_102;
const LINE_WAIT_MS = 20_000;
const STOP_WAIT_MS = 30_000;

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Who = "agent" | "control";
export type Child = Subprocess<"ignore", "pipe", "pipe">;

export interface World {
  readonly dir: string;
  readonly agentina: string;
  readonly agentinaControl: string;
  readonly controlData: string;
  readonly state: string;
  readonly logs: string;
  readonly policy: string;
  /** argv that runs `argv` as that user, when this process may change users. */
  as(who: Who, argv: readonly string[]): string[];
  /** Gives a path to that user. */
  give(who: Who, path: string): void;
  run(who: Who, argv: readonly string[], input?: string, env?: Record<string, string>): Promise<Ran>;
  start(who: Who, argv: readonly string[], env?: Record<string, string>): Child;
  /** Ends what was started and is still there, and removes the directory. */
  close(): Promise<void>;
}

const POLICY = `# What jobs may do on this host at most. Anything a job asks for beyond it is refused.
[kinds]
allow = ["test.run"]

[files]
read = ["@REPOSITORIES@"]
write = []

[commands]
allow = "system"

# This host delegates no cgroup, so memory and process limits would not hold: accepted here by name.
[limits]
weak = "allow"
`;

/** Makes a world from the binaries in `dist`. Their bundles go along, so that the agent can verify itself. */
export function makeWorld(dist: string, label = "world"): World {
  const dir = mkdtempSync(join(tmpdir(), `agentina-${label}-`));
  chmodSync(dir, 0o755);
  const root = process.getuid?.() === 0;
  const uids = { agent: AGENT_UID, control: CONTROL_UID };
  const paths = {
    bin: join(dir, "bin"),
    agentHome: join(dir, "agent"),
    controlHome: join(dir, "control"),
    repositories: join(dir, "repositories"),
  };
  for (const path of Object.values(paths)) mkdirSync(path, { mode: 0o755 });
  for (const name of ["agentina", "agentina-control"]) {
    for (const file of [name, `${name}.sigstore.json`]) copyFileSync(join(dist, file), join(paths.bin, file));
  }
  const give = (who: Who, path: string) => {
    if (root) chownSync(path, uids[who], uids[who]);
  };
  give("agent", paths.agentHome);
  give("control", paths.controlHome);
  const policy = join(dir, "policy.toml");
  writeFileSync(policy, POLICY.replace("@REPOSITORIES@", paths.repositories), { mode: 0o644 });

  const as = (who: Who, argv: readonly string[]) =>
    root
      ? ["/usr/bin/setpriv", `--reuid=${uids[who]}`, `--regid=${uids[who]}`, "--clear-groups", "--", ...argv]
      : [...argv];
  const children = new Set<Child>();
  const spawn = (who: Who, argv: readonly string[], env: Record<string, string> = {}): Child => {
    const child = Bun.spawn({
      cmd: as(who, argv),
      cwd: dir,
      env: { PATH: "/usr/bin:/bin", HOME: dir, ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    return child;
  };
  return {
    dir,
    agentina: join(paths.bin, "agentina"),
    agentinaControl: join(paths.bin, "agentina-control"),
    controlData: join(paths.controlHome, "data"),
    state: join(paths.agentHome, "state"),
    logs: join(paths.agentHome, "logs"),
    policy,
    as,
    give,
    run: (who, argv, input, env) => runToEnd(as(who, argv), dir, input, env),
    start: (who, argv, env) => {
      const child = spawn(who, argv, env);
      children.add(child);
      return child;
    },
    close: async () => {
      await Promise.all([...children].map((child) => stopChild(child)));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function runToEnd(
  argv: string[],
  cwd: string,
  input = "",
  env: Record<string, string> = {},
): Promise<Ran> {
  const child = Bun.spawn({
    cmd: argv,
    cwd,
    env: { PATH: "/usr/bin:/bin", HOME: cwd, ...env },
    stdin: new TextEncoder().encode(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}

/** SIGTERM, then SIGKILL when it does not end within half a minute. Resolves with the exit status. */
export async function stopChild(child: Child): Promise<number> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? 128;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WAIT_MS);
  const status = await child.exited;
  clearTimeout(timer);
  return status;
}

/** The lines of a stream as they come. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

export interface Control {
  readonly child: Child;
  readonly url: string;
}

/** Starts the Control Plane of a world and waits until it listens. `address` keeps the port over a restart. */
export async function startControl(
  world: World,
  address = "127.0.0.1:0",
  more: string[] = [],
): Promise<Control> {
  const argv = [
    world.agentinaControl,
    "serve",
    "--data-dir",
    world.controlData,
    "--listen",
    address,
    "--json",
    ...more,
  ];
  const child = world.start("control", argv);
  const errors = new Response(child.stderr).text();
  const url = await within(LINE_WAIT_MS, "the Control Plane to listen", async () => {
    for await (const line of linesOf(child.stdout)) {
      const found = /"url"\s*:\s*"([^"]+)"/.exec(line)?.[1];
      if (found) return found;
    }
    throw new Error(`The Control Plane ended before it listened: ${await errors}`);
  });
  return { child, url };
}

/** Calls the Control Plane's command line and opens its JSON. Throws with what it said when it fails. */
export async function controlJson<T>(world: World, words: readonly string[], input?: string): Promise<T> {
  const argv = [world.agentinaControl, ...words, "--data-dir", world.controlData, "--json"];
  const ran = await world.run("control", argv, input);
  if (ran.status !== 0)
    throw new Error(`agentina-control ${words.join(" ")} failed: ${ran.stdout}${ran.stderr}`);
  return JSON.parse(ran.stdout) as T;
}

/** Mints a token and activates the world's agent with it. */
export async function activateAgent(
  world: World,
  url: string,
  state = world.state,
): Promise<{ agent_id: string }> {
  const { token } = await controlJson<{ token: string }>(world, ["token", "mint", "--label", "world"]);
  const argv = [
    world.agentina,
    "activate",
    "--url",
    url,
    "--token-file",
    "-",
    "--state-dir",
    state,
    "--json",
  ];
  const ran = await world.run("agent", argv, token);
  if (ran.status !== 0) throw new Error(`agentina activate failed: ${ran.stdout}${ran.stderr}`);
  return JSON.parse(ran.stdout) as { agent_id: string };
}

/** Options that point the agent at its world. */
export const agentFlags = (world: World, state = world.state, logs = world.logs): string[] => [
  ...[
    "--state-dir",
    state,
    "--log-dir",
    logs,
    "--config-dir",
    join(world.dir, "etc"),
    "--policy",
    world.policy,
  ],
];

/** Waits for `step`, at most `ms`. */
async function within<T>(ms: number, what: string, step: () => Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([step(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until the answer is not null. */
export const eventually = <T>(ms: number, what: string, ask: () => Promise<T | null>): Promise<T> =>
  within(ms, what, async () => {
    for (;;) {
      const answer = await ask();
      if (answer !== null) return answer;
      await Bun.sleep(50);
    }
  });
