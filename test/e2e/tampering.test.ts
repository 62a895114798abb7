// Goal: whatever is done to an agent's state files while nobody looks, the agent says which file, takes no work, and
// goes on by itself once it is undone.
// Method: a compiled agent is stopped, one thing is done to one file, and "status" and the agent are asked; then the
// files are put back. Every sealed file is edited, deleted, swapped for another's, and replaced by a link.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { agentFlags, controlJson, eventually, stopChild } from "../../dist-scripts/world.ts";
import {
  agentView,
  anomalies,
  beatNow,
  eventsOf,
  type Fleet,
  finished,
  idle,
  shellJob,
  showJob,
  startAgent,
  startFleet,
  submit,
} from "../support/fleet.ts";

const FILES = [
  "agent.json",
  "license.jwt",
  "fingerprint.json",
  "trust.json",
  "keypair/identity.pem",
  "keypair/sealing.pem",
  "seal.jws",
] as const;

let fleet: Fleet;
let other: string;

beforeAll(async () => {
  fleet = await startFleet("tampering");
  await idle(fleet.world);
  await stopChild(fleet.agent);
  // A second agent's files: genuine, and somebody else's.
  other = join(fleet.world.state, "..", "other");
  const { token } = await controlJson<{ token: string }>(fleet.world, ["token", "mint"]);
  const url = fleet.control.url;
  const argv = [fleet.world.agentina, "activate", "--url", url, "--token-file", "-", "--state-dir", other];
  const ran = await fleet.world.run("agent", argv, token);
  if (ran.status !== 0) throw new Error(ran.stderr);
}, 120_000);

afterAll(async () => {
  await fleet?.world.close();
}, 60_000);

interface Status {
  readonly state: string;
  readonly findings: readonly { readonly code: string; readonly message: string; readonly remedy: string }[];
}

async function status(): Promise<Status> {
  const { world } = fleet;
  const ran = await world.run("agent", [world.agentina, "status", ...agentFlags(world), "--json"]);
  return JSON.parse(ran.stdout) as Status;
}

/** What "status" says while `change` stands; everything is put back after. */
async function meddled(change: () => void): Promise<Status> {
  const kept = `${fleet.world.state}-kept`;
  const copied = Bun.spawnSync(["/bin/cp", "--archive", fleet.world.state, kept]);
  expect(copied.exitCode).toBe(0);
  try {
    change();
    return await status();
  } finally {
    rmSync(fleet.world.state, { recursive: true });
    renameSync(kept, fleet.world.state);
  }
}

const at = (name: string): string => join(fleet.world.state, name);
const mine = (path: string): void => fleet.world.give("agent", path);

const DEEDS: readonly (readonly [string, (name: string) => void])[] = [
  ["edited", (name) => appendFileSync(at(name), " ")],
  ["deleted", (name) => rmSync(at(name))],
  [
    "swapped for another's",
    (name) => {
      // Two agents of one host have the same trust.json and fingerprint.json: those get each other's bytes.
      const same = { "trust.json": "fingerprint.json", "fingerprint.json": "trust.json" }[name];
      copyFileSync(same === undefined ? join(other, name) : at(same), at(name));
      mine(at(name));
    },
  ],
  [
    "replaced by a link to itself",
    (name) => {
      const moved = join(fleet.world.dir, "moved");
      renameSync(at(name), moved);
      symlinkSync(moved, at(name));
    },
  ],
];

describe.each(FILES)("%s", (name) => {
  test.each(DEEDS)("%s is tampered with, and named", async (_, deed) => {
    const { state, findings } = await meddled(() => deed(name));
    expect(state).toBe("tampered");
    const named = findings.filter(({ code }) => code === "STATE_TAMPERED");
    expect(named.map(({ message }) => message).join("\n")).toContain(name);
    expect(named[0]?.remedy).not.toBe("");
  });
});

test("what does not belong there is named too, wherever it lies", async () => {
  for (const name of ["licence.jwt", "keypair/identity.pem.bak", ".hidden"]) {
    const { state, findings } = await meddled(() => {
      writeFileSync(at(name), "x", { mode: 0o600 });
      mine(at(name));
    });
    expect(state).toBe("tampered");
    expect(findings.map(({ message }) => message).join("\n")).toContain(name);
  }
});

test("what the agent keeps for itself is no finding, and nothing is when nothing was done", async () => {
  expect((await status()).findings.map(({ code }) => code)).toEqual(["AGENT_DOWN"]);
  const { state } = await meddled(() => {
    for (const name of ["cache", "lost+found"]) {
      mkdirSync(at(name), { mode: 0o700 });
      mine(at(name));
    }
  });
  expect(state).not.toBe("tampered");
});

test("an agent whose state was changed beats, says so, takes no work, and goes on once it is put back", async () => {
  const { world } = fleet;
  const license = readFileSync(at("license.jwt"));
  appendFileSync(at("license.jwt"), "\n");
  fleet.agent = startAgent(world);
  await eventually(20_000, "the Control Plane to hear of it", async () =>
    (await agentView(fleet))?.state === "tampered" ? true : null,
  );
  expect((await anomalies(world)).map(({ kind }) => kind)).toEqual(["tampered"]);
  const { id } = await submit(world, shellJob("echo ran"));
  await beatNow(fleet);
  await Bun.sleep(3000);
  expect((await showJob(world, id)).state).toBe("queued");
  writeFileSync(at("license.jwt"), license);
  await beatNow(fleet);
  expect((await finished(world, id, 60_000)).outcome).toBe("succeeded");
  expect((await eventsOf(world, "agent.state")).map(({ state }) => state)).toContain("tampered");
  await stopChild(fleet.agent);
}, 120_000);

test("without a key of its own it stays up, beats nothing, and names the file", async () => {
  const { world } = fleet;
  const key = at("keypair/identity.pem");
  const kept = readFileSync(key);
  const { uid, gid } = lstatSync(key);
  rmSync(key);
  const heard = (await agentView(fleet))?.last_beat_at;
  fleet.agent = startAgent(world);
  await Bun.sleep(4000);
  expect(fleet.agent.exitCode).toBeNull();
  expect((await agentView(fleet))?.last_beat_at).toBe(heard);
  const { state, findings } = await status();
  expect(state).toBe("tampered");
  expect(findings.map(({ message }) => message).join("\n")).toContain("keypair/identity.pem");
  expect(await stopChild(fleet.agent)).toBe(0);
  writeFileSync(key, kept, { mode: 0o600 });
  Bun.spawnSync(["/bin/chown", `${uid}:${gid}`, key]);
  fleet.agent = startAgent(world);
  const { id } = await submit(world, shellJob("true"));
  expect((await finished(world, id, 60_000)).outcome).toBe("succeeded");
}, 120_000);
