// Goal: activation makes a host an agent whole or not at all; whoever answers in the Control Plane's place learns and
// changes nothing; a typo costs nothing; an active host is never half replaced.
// Method: the real activation on real directories against a desk that opens what is sealed, honest or lying.

import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { controlPlaneUrl } from "../../../src/agent/activate.ts";
import { statePaths } from "../../../src/agent/state-files.ts";
import { type Authority, anySigningKey, makeKeys } from "../../support/authority.ts";
import { faultOf } from "../../support/fault-of.ts";
import { answers, html, refuses, silent, unreachable } from "../../support/lies.ts";
import { ActivationDesk } from "./activation-desk.ts";
import { hostNames, identityOf, lasting, tree } from "./hosts.ts";

const fresh = hostNames();

describe("a new host", () => {
  test("becomes the agent its license says, with files nobody else can read", async () => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    const result = await desk.activate(dir, { token: `  ${desk.token}\n` });
    const identity = await identityOf(desk, dir);
    expect(result.agent_id).toBe(identity.file.agent_id);
    expect(identity.keys.identity.kid).toBe(identity.license.claims.cnf.jkt);
    expect(desk.opened[0]).toMatchObject({
      identity_jwk: identity.keys.identity.jwk,
      sealing_jwk: identity.keys.sealing.jwk,
      labels: { rack: "7" },
      hostname: "host",
      version: "1.2.3",
    });
    expect(identity.file).toMatchObject({ url: desk.control.url, labels: { rack: "7" } });
    expect(Object.keys(lasting(dir)).sort()).toEqual(
      [
        "agent.json",
        "fingerprint.json",
        "keypair",
        "keypair/identity.pem",
        "keypair/sealing.pem",
        "license.jwt",
        "seal.jws",
        "trust.json",
        "work",
      ].sort(),
    );
    for (const [path, entry] of Object.entries(lasting(dir))) {
      expect([path, entry.split(" ")[0]]).toEqual([path, entry.includes(" ") ? "600" : "700"]);
    }
    expect(Object.keys(tree(dir)).filter((path) => path.includes("next"))).toEqual([]);
    expect(lstatSync(dir).mode & 0o7777).toBe(0o700);
    expect(desk.control.violations).toEqual([]);
  });

  test("sends the secret only sealed, to the key its pinned root names", async () => {
    using desk = await ActivationDesk.open();
    await desk.activate(fresh());
    for (const { url, headers, body } of desk.control.requests) {
      const seen = `${url}${JSON.stringify([...headers])}${Buffer.from(body)}`;
      expect(seen).not.toContain(desk.secret);
      expect(seen).not.toContain("rack");
    }
  });

  test("answers the server's call for a nonce once", async () => {
    using desk = await ActivationDesk.open();
    desk.control.next("activate", refuses(401, "USE_DPOP_NONCE", { headers: { "dpop-nonce": "n1" } }));
    await desk.activate(fresh());
    expect(desk.control.to("activate")).toHaveLength(2);
    await desk.mint();
    desk.control.always("activate", refuses(401, "USE_DPOP_NONCE", { headers: { "dpop-nonce": "n1" } }));
    expect((await faultOf(desk.activate(fresh()))).code).toBe("WIRE_UNAUTHORIZED");
    expect(desk.control.to("activate")).toHaveLength(4);
  });
});

describe("a token with a typo", () => {
  test("is caught before any network and before anything is written", async () => {
    using desk = await ActivationDesk.open();
    const { token } = desk;
    const swap = (index: number) => {
      const letter = token[index] === "a" ? "b" : "a";
      return token.slice(0, index) + letter + token.slice(index + 1);
    };
    const typos = Array.from(token, (_, index) => swap(index));
    const others = [
      "",
      " ",
      "act_",
      token.slice(1),
      token.slice(0, -1),
      `${token}x`,
      token.replaceAll("_", "-"),
      token.toLowerCase(),
    ];
    for (const typo of [...typos, ...others]) {
      const dir = fresh();
      expect((await faultOf(desk.activate(dir, { token: typo }))).code).toBe("TOKEN_MALFORMED");
      expect(existsSync(dir)).toBe(false);
    }
    expect(desk.control.requests).toEqual([]);
  });
});

describe("a URL", () => {
  test.each([
    ["https://cp.example.com", "https://cp.example.com/"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080/"],
    ["http://127.8.9.1", "http://127.8.9.1/"],
    ["http://[::1]:80", "http://[::1]/"],
    ["http://localhost:3000/", "http://localhost:3000/"],
  ])("%s is kept as %s", (text, kept) => {
    expect(controlPlaneUrl(text)).toBe(kept);
  });

  test.each([
    "https://cp.example.com/base",
    "",
    "cp.example.com",
    "http://cp.example.com",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
    "http://10.0.0.1",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://user:pass@cp.example.com",
    "https://user@cp.example.com",
    "https://cp.example.com/base",
    "https://cp.example.com/?x=1",
    "https://cp.example.com/#x",
  ])("%s is refused before anything is asked or written", async (url) => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    expect((await faultOf(desk.activate(dir, { url }))).code).toBe("WIRE_INSECURE_URL");
    expect(existsSync(dir)).toBe(false);
    expect(desk.control.requests).toEqual([]);
  });
});

describe("somebody else in the Control Plane's place", () => {
  test("has another root: he is told nothing", async () => {
    using desk = await ActivationDesk.open();
    using other = await ActivationDesk.open();
    const dir = fresh();
    expect((await faultOf(other.activate(dir, { token: desk.token }))).code).toBe("TRUST_ROOT_MISMATCH");
    expect(other.control.to("activate")).toEqual([]);
    expect(existsSync(statePaths(dir).agent)).toBe(false);
    expect(existsSync(statePaths(dir).keypair)).toBe(false);
  });

  const keySets: Readonly<Record<string, readonly [string, (a: Authority) => Promise<unknown>]>> = {
    "shows the right root over keys of his own": [
      "JWS_UNKNOWN_KEY",
      async (a) => {
        const keys = await makeKeys();
        return { ...(await a.trustDocument(keys.root, a.trustOf(keys, 1))), root: a.keys.root.jwk };
      },
    ],
    "shows a key set long expired": [
      "TRUST_EXPIRED",
      (a) => {
        const { iat } = a.trustClaims;
        return a.trustDocument(a.keys.root, { ...a.trustClaims, iat: iat - 200, exp: iat - 100 });
      },
    ],
    "names a key what it is not": [
      "JWS_MALFORMED",
      async (a) => {
        const { kid } = await anySigningKey();
        return a.trustDocument(a.keys.root, {
          ...a.trustClaims,
          keys: a.trustClaims.keys.map((key) => ({ ...key, kid })),
        });
      },
    ],
    "sends something else": ["WIRE_REPLY_MALFORMED", async () => ({ v: 2 })],
  };
  for (const [name, [code, forge]] of Object.entries(keySets)) {
    test(`${name}: ${code}, and nothing is redeemed`, async () => {
      using desk = await ActivationDesk.open();
      const document = await forge(desk.control.authority);
      desk.control.always("trust", async (_, __, control) => control.json(document));
      const dir = fresh();
      expect<string>((await faultOf(desk.activate(dir))).code).toBe(code);
      expect(desk.control.to("activate")).toEqual([]);
      expect(existsSync(statePaths(dir).agent)).toBe(false);
    });
  }

  test.each([
    ["trust", html, "WIRE_NOT_CONTROL_PLANE"],
    ["trust", unreachable, "WIRE_UNREACHABLE"],
    ["trust", answers(404), "WIRE_NOT_FOUND"],
    ["activate", html, "WIRE_NOT_CONTROL_PLANE"],
    ["activate", answers(302, { location: "https://elsewhere.example" }), "WIRE_NOT_CONTROL_PLANE"],
    ["activate", answers(429, { "retry-after": "5" }), "WIRE_RATE_LIMITED"],
    ["activate", answers(500), "WIRE_SERVER_ERROR"],
    ["activate", answers(200, { "content-type": "application/json" }, '{"v":1}'), "WIRE_REPLY_MALFORMED"],
    ["activate", refuses(403, "TOKEN_EXPIRED"), "WIRE_REFUSED"],
  ] as const)(
    "%s trouble (%#) leaves a host that can be activated as if nothing had been",
    async (route, lie, code) => {
      using desk = await ActivationDesk.open();
      const dir = fresh();
      desk.control.next(route, lie);
      expect((await faultOf(desk.activate(dir))).code).toBe(code);
      expect((await faultOf(identityOf(desk, dir))).code).toBe("STATE_INACTIVE");
      const { agent_id } = await desk.activate(dir);
      expect((await identityOf(desk, dir)).file.agent_id).toBe(agent_id as never);
    },
  );

  test("hangs: the request ends after its time", async () => {
    using desk = await ActivationDesk.open();
    desk.control.next("activate", silent);
    const why = faultOf(desk.activate(fresh()));
    await desk.time.advance(31_000);
    expect((await why).code).toBe("WIRE_TIMEOUT");
  });

  test("refuses the proof while the clocks are far apart: it is the clock", async () => {
    using desk = await ActivationDesk.open();
    desk.control.skewMs = 7_200_000;
    desk.control.always("activate", refuses(401, "DPOP_INVALID"));
    const why = await faultOf(desk.activate(fresh()));
    expect([why.code, why.params["seconds"]]).toEqual(["WIRE_CLOCK_SKEW", 7_200]);
  });
});

describe("a state directory that is", () => {
  const cases: Readonly<Record<string, readonly [string, (dir: string) => void]>> = {
    "a link": [
      "STATE_DIR_NOT_DIRECTORY",
      (dir) => {
        mkdirSync(`${dir}.real`, { recursive: true, mode: 0o700 });
        symlinkSync(`${dir}.real`, dir);
      },
    ],
    "a dangling link": [
      "STATE_DIR_NOT_DIRECTORY",
      (dir) => {
        mkdirSync(join(dir, ".."), { recursive: true });
        symlinkSync(`${dir}.nowhere`, dir);
      },
    ],
    "a file": [
      "STATE_DIR_NOT_DIRECTORY",
      (dir) => {
        mkdirSync(join(dir, ".."), { recursive: true });
        writeFileSync(dir, "");
      },
    ],
    "open to others": [
      "STATE_DIR_OPEN",
      (dir) => {
        mkdirSync(dir, { recursive: true });
        Bun.spawnSync(["/bin/chmod", "0755", dir], { env: {} });
      },
    ],
    "below a file": [
      "STATE_DIR_CREATE",
      (dir) => {
        mkdirSync(join(dir, "..", ".."), { recursive: true });
        writeFileSync(join(dir, ".."), "");
      },
    ],
    "holding a link for its keys": [
      "STATE_DIR_NOT_DIRECTORY",
      (dir) => {
        mkdirSync(dir, { recursive: true, mode: 0o700 });
        symlinkSync("/tmp", join(dir, "keypair"));
      },
    ],
  };
  for (const [name, [code, make]] of Object.entries(cases)) {
    test(`${name} is refused (${code}), and no token is spent`, async () => {
      using desk = await ActivationDesk.open();
      const dir = fresh();
      make(dir);
      expect<string>((await faultOf(desk.activate(dir))).code).toBe(code);
      expect(desk.redeemed).toBeNull();
    });
  }

  test.each([
    ["notes.txt", (path: string) => writeFileSync(path, "")],
    ["keypair/identity.bak", (path: string) => writeFileSync(path, "", { mode: 0o600 })],
    ["cache", (path: string) => writeFileSync(path, "")],
    ["keypair/identity.next.pem", (path: string) => writeFileSync(path, "", { mode: 0o644 })],
  ])("holding %s is refused, naming it, and no token is spent", async (name, make) => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    mkdirSync(join(dir, "keypair"), { recursive: true, mode: 0o700 });
    chmodSync(dir, 0o700);
    make(join(dir, name));
    const why = await faultOf(desk.activate(dir));
    expect([why.code, why.params["name"]]).toEqual(["STATE_DIR_CLUTTERED", name]);
    expect(desk.control.requests).toEqual([]);
  });

  test("somebody else's is refused, naming both", async () => {
    using desk = await ActivationDesk.open();
    const dir = fresh();
    const uid = process.getuid?.() ?? 0;
    let foreign = "/usr";
    if (uid === 0) {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      Bun.spawnSync(["/bin/chown", "12345", dir], { env: {} });
      foreign = dir;
    }
    const why = await faultOf(desk.activate(foreign));
    expect([why.code, why.params["uid"]]).toEqual(["STATE_DIR_FOREIGN", uid]);
    expect(desk.control.requests).toEqual([]);
  });
});
