// Goal: whatever a person or a server gets wrong ends in one code, one remedy and one exit status, and changes nothing.
// Method: the compiled programs, a scripted HTTP server in the Control Plane's place, hostile files and directories.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  agentFlags,
  controlJson,
  makeWorld,
  type Ran,
  startControl,
  type World,
} from "../../dist-scripts/world.ts";
import { mintActivationToken } from "../../src/protocol/activation-token.ts";
import { shellJob } from "../support/fleet.ts";

const DIST = join(import.meta.dir, "..", "..", "dist");
let world: World;
let url: string;

beforeAll(async () => {
  world = makeWorld(DIST, "bad");
  url = (await startControl(world)).url;
}, 60_000);
afterAll(async () => {
  await world.close();
}, 60_000);

const someToken = (): string =>
  mintActivationToken("a".repeat(43), (count) => crypto.getRandomValues(new Uint8Array(count))).token;

let states = 0;

async function activate(
  to: string,
  token: string,
  state = join(world.dir, "agent", `s${++states}`),
): Promise<Ran & { code: string; state: string }> {
  const argv = [world.agentina, "activate", "--url", to, "--token-file", "-", "--state-dir", state, "--json"];
  const ran = await world.run("agent", argv, token);
  const answer = ran.stdout === "" ? null : JSON.parse(ran.stdout);
  return { ...ran, code: answer?.error?.code ?? "", state };
}

const html = (status: number) => () =>
  new Response("<html>Sign in to the guest network</html>", {
    status,
    headers: { "content-type": "text/html" },
  });

const servers: [name: string, answer: () => Response | Promise<Response>, code: string, exit: number][] = [
  ["a login page with 200", html(200), "WIRE_NOT_CONTROL_PLANE", 69],
  ["401", html(401), "WIRE_UNAUTHORIZED", 69],
  ["404", html(404), "WIRE_NOT_FOUND", 69],
  [
    "429 with Retry-After",
    () => new Response("", { status: 429, headers: { "retry-after": "7" } }),
    "WIRE_RATE_LIMITED",
    75,
  ],
  ["500", html(500), "WIRE_SERVER_ERROR", 69],
  ["a redirect", () => Response.redirect("http://127.0.0.1:1/", 302), "WIRE_NOT_CONTROL_PLANE", 69],
  ["nothing", () => new Response(null, { status: 204 }), "WIRE_NOT_CONTROL_PLANE", 69],
  ["broken JSON", () => json("{"), "WIRE_REPLY_MALFORMED", 69],
  ["a member twice", () => json('{"v":1,"v":1}'), "WIRE_REPLY_MALFORMED", 69],
  ["a body without end", () => json("x".repeat(200_000)), "WIRE_REPLY_OVERSIZED", 69],
  ["another trust root", () => json(JSON.stringify(otherTrust)), "TRUST_ROOT_MISMATCH", 65],
];
const json = (text: string) => new Response(text, { headers: { "content-type": "application/json" } });
const otherTrust = { v: 1, root: { kty: "OKP", crv: "Ed25519", x: "A".repeat(43) }, trust: "a.b.c" };

for (const [name, answer, code, exit] of servers) {
  test(`activate against a server that answers ${name}: ${code}`, async () => {
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
    try {
      const ran = await activate(server.url.href, someToken());
      expect([ran.code, ran.status]).toEqual([code, exit]);
      expect(existsSync(join(ran.state, "agent.json"))).toBe(false);
    } finally {
      await server.stop(true);
    }
  });
}

test("nothing listens: WIRE_UNREACHABLE", async () => {
  const ran = await activate("http://127.0.0.1:9/", someToken());
  expect([ran.code, ran.status]).toEqual(["WIRE_UNREACHABLE", 69]);
});

test("a token with a typo is refused before anything is sent or made", async () => {
  const { token } = await controlJson<{ token: string }>(world, ["token", "mint"]);
  const typo = token.slice(0, 20) + (token[20] === "a" ? "b" : "a") + token.slice(21);
  const ran = await activate("http://127.0.0.1:9/", typo);
  expect([ran.code, ran.status]).toEqual(["TOKEN_MALFORMED", 65]);
  expect(existsSync(ran.state)).toBe(false);
});

test("a token is good once: the second host is told, the first may ask again", async () => {
  const { token } = await controlJson<{ token: string }>(world, ["token", "mint"]);
  const first = await activate(url, token);
  expect(first.status).toBe(0);
  const second = await activate(url, token);
  expect(second.status).not.toBe(0);
  expect(second.stdout).toContain("redeemed already");
  const again = await activate(url, token, first.state);
  expect(again.code).toBe("STATE_ALREADY_ACTIVE");
});

test("a plain http URL to another host is refused", async () => {
  const ran = await activate("http://control.example.com/", someToken());
  expect([ran.code, ran.status]).toEqual(["WIRE_INSECURE_URL", 64]);
});

test("state directories that are missing, linked, open to others or read-only are told apart", async () => {
  const run = async (state: string) => {
    const ran = await world.run("agent", [world.agentina, "run", "--json", ...agentFlags(world, state)]);
    return [JSON.parse(ran.stdout.trim().split("\n").at(-1) ?? "{}").error?.code, ran.status];
  };
  const at = (name: string) => join(world.dir, "agent", name);
  expect(await run(at("none"))).toEqual(["STATE_DIR_MISSING", 66]);
  mkdirSync(at("open"));
  chmodSync(at("open"), 0o777);
  world.give("agent", at("open"));
  expect(await run(at("open"))).toEqual(["STATE_DIR_OPEN", 77]);
  symlinkSync(at("open"), at("link"));
  expect(await run(at("link"))).toEqual(["STATE_DIR_NOT_DIRECTORY", 78]);
  mkdirSync(at("closed"), { mode: 0o500 });
  world.give("agent", at("closed"));
  chmodSync(at("closed"), 0o500);
  const { token } = await controlJson<{ token: string }>(world, ["token", "mint"]);
  const ran = await activate(url, token, at("closed"));
  expect([ran.code, ran.status]).toEqual(["STATE_DIR_CREATE", 73]);
  expect(readdirSync(at("closed"))).toEqual([]);
});

const badJobs: [name: string, text: string, says: string][] = [
  ["no JSON", "{ kind: test }", "line 1"],
  ["a member twice", '{"kind":"test.run","kind":"test.run"}', "twice"],
  ["an unknown kind", JSON.stringify({ ...shellJob("true"), kind: "coffee.make" }), "kind"],
  ["a kind that is not licensed", JSON.stringify({ ...shellJob("true"), kind: "plan.draft" }), "plan.draft"],
  ["an unknown member", JSON.stringify({ ...shellJob("true"), colour: "red" }), "colour"],
  [
    "a program that is a number",
    JSON.stringify({ ...shellJob("true"), payload: { source: { type: "empty" }, run: [7] } }),
    "payload.run.0",
  ],
  [
    "a commit that is none",
    JSON.stringify({
      ...shellJob("true"),
      payload: { source: { type: "git", url: "file:///x", commit: "main" }, run: ["true"] },
    }),
    "payload.source.commit",
  ],
  [
    "a limit of nought",
    JSON.stringify({ ...shellJob("true"), limits: { timeout_s: 0 } }),
    "limits.timeout_s",
  ],
];

for (const [name, text, says] of badJobs) {
  test(`job submit of a file with ${name} names the place and queues nothing`, async () => {
    const file = join(world.dir, "bad.json");
    writeFileSync(file, text, { mode: 0o644 });
    const argv = [world.agentinaControl, "job", "submit", file, "--data-dir", world.controlData];
    const ran = await world.run("control", argv);
    expect(ran.status).toBe(65);
    expect(ran.stderr).toContain(says);
    const { jobs } = await controlJson<{ jobs: unknown[] }>(world, ["job", "list"]);
    expect(jobs).toEqual([]);
  });
}

test("hostile words on the command line are usage errors, never a crash", async () => {
  const lines = [
    ["constructor"],
    ["toString"],
    ["__proto__"],
    ["run", "--nope"],
    ["status", "--json", "--json"],
    ["activate", "--url"],
    ["version", "extra"],
    ["--", "x"],
  ];
  for (const words of lines) {
    const ran = await world.run("agent", [world.agentina, ...words]);
    expect([words, ran.status]).toEqual([words, 64]);
    expect(ran.stderr).not.toContain("    at ");
  }
});

test("a hostile environment is refused by name", async () => {
  for (const variable of ["BUN_OPTIONS", "BUN_INSPECT_CONNECT_TO", "BUN_CONFIG_VERBOSE_FETCH"]) {
    const ran = await world.run("agent", [world.agentina, "run", "--json", ...agentFlags(world)], "", {
      [variable]: "1",
    });
    expect(ran.status).toBe(78);
    expect(ran.stdout + ran.stderr).toContain(variable);
  }
});
