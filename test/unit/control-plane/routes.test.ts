// Goal: every route says who may call it and holds to that; nothing hostile gets past its door or out of it.
// Method: walk the application's own routes against the table; then each route over HTTP with every kind of bad
// request that fits it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { parse } from "valibot";
import { createApp } from "../../../src/control-plane/api/app.ts";
import type { Route } from "../../../src/control-plane/api/route.ts";
import { ROUTE_TABLE } from "../../../src/control-plane/api/route-table.ts";
import type { Services } from "../../../src/control-plane/api/services.ts";
import { API } from "../../../src/protocol/api.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { ProblemSchema, ROUTES } from "../../../src/protocol/wire.ts";
import { newNonce } from "../../../src/trust/proof.ts";
import {
  mint,
  random,
  SUBMISSION,
  startTestControlPlane,
  submit,
  type TestControlPlane,
} from "./support/control-plane.ts";
import { ScriptedAgent } from "./support/scripted-agent.ts";

let control: TestControlPlane;
let agent: ScriptedAgent;
beforeAll(async () => {
  control = await startTestControlPlane();
  agent = await ScriptedAgent.enrol(control.url, await mint(control));
  await agent.beat();
});
afterAll(async () => {
  await control.close();
});

const JOB = "job_00000000000000000000";
/** A path of the route with values that are well-formed and name nothing. */
const pathOf = ({ path }: Route) =>
  path
    .replace(":sha256", "0".repeat(64))
    .replace(":jti", JOB)
    .replace(":attempt", "1")
    .replace(":id", path.includes("tokens") ? "000000000000" : JOB);
const name = ({ method, path }: Route) => `${method} ${path}`;
const OPERATOR = ROUTE_TABLE.filter(({ who }) => who === "operator");
const AGENT = ROUTE_TABLE.filter(({ who }) => who === "agent");
const JSON_ROUTES = ROUTE_TABLE.filter(({ body }) => body.type === "json");

async function problemOf(response: Response) {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const text = await response.text();
  expect(text).not.toMatch(/\.ts:\d|node_modules|SQLITE|\bat \w+ \(/);
  return parse(ProblemSchema, JSON.parse(text));
}

const call = (route: Route, init: RequestInit & { query?: string } = {}) =>
  fetch(`${control.url}${pathOf(route)}${init.query ?? ""}`, { method: route.method, ...init });
const asOperator = { authorization: `Bearer ${"x".repeat(8)}` };

describe("the route table", () => {
  test("is all there is: no route without a row that says who may call it", () => {
    const app = createApp(ROUTE_TABLE, { log: () => undefined } as unknown as Services);
    const registered = app.routes
      .filter(({ path }) => path !== "/*")
      .map(({ method, path }) => `${method} ${path}`);
    expect(registered.sort()).toEqual(ROUTE_TABLE.map(name).sort());
    expect(new Set(registered).size).toBe(registered.length);
    for (const { who } of ROUTE_TABLE) expect(["public", "agent", "operator"]).toContain(who);
  });

  test("lets only these be called by anyone", () => {
    const open = ROUTE_TABLE.filter(({ who }) => who === "public").map(name);
    expect(open).toEqual([
      "GET /healthz",
      "GET /readyz",
      "GET /install.sh",
      "GET /.well-known/agentina",
      "POST /v1/activate",
      "POST /v1/token",
      "POST /v1/readmit",
    ]);
  });

  test.each(OPERATOR.map((route) => [name(route), route] as const))(
    "%s is the operator's alone",
    async (_, route) => {
      for (const headers of [
        {},
        asOperator,
        { authorization: control.adminKey },
        { authorization: `Basic ${btoa(`admin:${control.adminKey}`)}` },
        { authorization: `DPoP ${agent.bearer}` },
        { authorization: `Bearer ${agent.bearer}` },
      ]) {
        const problem = await problemOf(await call(route, { headers }));
        expect([problem.status, problem.code]).toEqual([401, "API_UNAUTHENTICATED"]);
      }
      expect(
        (await call(route, { headers: { authorization: `Bearer ${control.adminKey}` } })).status,
      ).not.toBe(401);
    },
  );

  test.each(AGENT.map((route) => [name(route), route] as const))(
    "%s is an agent's alone",
    async (_, route) => {
      const headers = { authorization: `Bearer ${control.adminKey}` };
      expect((await problemOf(await call(route, { headers }))).code).toBe("BEARER_INVALID");
      const unbound = { authorization: `Bearer ${agent.bearer}` };
      expect((await problemOf(await call(route, { headers: unbound }))).code).toBe("BEARER_INVALID");
      const query = route.path.endsWith("log") ? "?stream=main&offset=0" : "";
      const type = route.body.type === "json" ? "application/json" : "application/octet-stream";
      const withoutProof = {
        authorization: `DPoP ${agent.bearer}`,
        ...(route.body.type === "none" ? {} : { "content-type": type }),
      };
      const body = route.body.type === "none" ? {} : { body: "{}" };
      const refused = await problemOf(await call(route, { headers: withoutProof, query, ...body }));
      expect(refused.code).toBe("DPOP_INVALID");
    },
  );
});

describe("every answer", () => {
  test.each(ROUTE_TABLE.map((route) => [name(route), route] as const))(
    "of %s has its headers",
    async (_, route) => {
      const response = await call(route);
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(response.headers.get("cache-control")).toContain("no-store");
      expect(response.headers.get("dpop-nonce")).toMatch(/^[A-Za-z0-9_-]{22}$/);
      expect(response.headers.get("x-powered-by")).toBeNull();
      await response.body?.cancel();
    },
  );

  test.each(["[::1", "x:99999999", "127.0.0.1:1:2"])(
    "with the Host header %s is the caller's mistake",
    async (host) => {
      const { hostname, port } = new URL(control.url);
      const said = Promise.withResolvers<string>();
      let text = "";
      const socket = await Bun.connect({
        hostname,
        port: Number(port),
        socket: {
          data: (_, bytes) => {
            text += bytes.toString();
          },
          close: () => said.resolve(text),
        },
      });
      socket.write(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(await said.promise).toStartWith("HTTP/1.1 400");
    },
  );

  test("to what is not there is a problem too", async () => {
    for (const path of [
      "/",
      "/v1",
      "/api/v1/nothing",
      "/%00",
      "/v1/heartbeat/x",
      "/.env",
      "/..%2f..%2fetc/passwd",
    ]) {
      const problem = await problemOf(await fetch(`${control.url}${path}`));
      expect([problem.status, problem.code]).toEqual([404, "API_NOT_FOUND"]);
    }
    expect((await fetch(`${control.url}/install.sh`)).status).toBe(404);
    expect((await problemOf(await fetch(`${control.url}/install.sh`))).code).toBe("INSTALLER_NOT_PUBLISHED");
    expect(await (await fetch(`${control.url}/healthz`)).json()).toEqual({ ok: true });
    expect(await (await fetch(`${control.url}/readyz`)).json()).toEqual({ ok: true });
  });
});

describe("a hostile body", () => {
  const good: Readonly<Record<string, unknown>> = {
    [ROUTES.activate]: { v: 1, token_id: "000000000000", sealed: "x" },
    [API.tokens]: {},
    [API.jobs]: SUBMISSION,
    [API.accountPlan]: {},
  };
  const goodFor = (route: Route) => good[route.path] ?? agent.beatRequest();

  async function send(route: Route, body: string | Uint8Array, type = "application/json") {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    if (route.who === "operator") {
      const headers = { authorization: `Bearer ${control.adminKey}`, "content-type": type };
      return await problemOf(await call(route, { headers, body: new Uint8Array(bytes) }));
    }
    const reply = await agent.send(route.method, pathOf(route), {
      body: bytes,
      type,
      anonymous: route.who === "public",
    });
    return parse(ProblemSchema, JSON.parse(reply.text));
  }

  const whole = (route: Route) => JSON.stringify(goodFor(route));
  const CASES: readonly (readonly [string, (route: Route) => string | Uint8Array])[] = [
    ["that is empty", () => ""],
    ["that is cut off", (route) => whole(route).slice(0, -1)],
    ["that goes on", (route) => `${whole(route)}{}`],
    ["that is a list", () => "[]"],
    ["that is null", () => "null"],
    ["with a member too many", (route) => JSON.stringify({ ...(goodFor(route) as object), surplus: 1 })],
    ["with a member twice", (route) => whole(route).replace(/^\{/, '{"v":1,"v":1,')],
    ["with __proto__", (route) => whole(route).replace(/^\{/, '{"__proto__":{},')],
    ["with a number beyond every reader", (route) => whole(route).replace(/^\{/, '{"v":1e400,')],
    ["that is nested without end", () => "[".repeat(5_000)],
    ["that is not UTF-8", () => new Uint8Array([0x7b, 0xff, 0x7d])],
  ];

  test.each(
    JSON_ROUTES.flatMap((route) => CASES.map(([what, make]) => [name(route), what, route, make] as const)),
  )("%s %s is refused", async (_, __, route, make) => {
    const problem = await send(route, make(route));
    expect([problem.status, problem.code]).toEqual([400, "API_BODY_MALFORMED"]);
  });

  test.each(
    ROUTE_TABLE.filter(({ body }) => body.type !== "none" && body.type !== "stream").map(
      (route) => [name(route), route] as const,
    ),
  )("%s takes no other type and no more than its limit", async (_, route) => {
    for (const type of ["text/plain", "application/jsonp", "application/json; charset=latin1", ""]) {
      const problem = await send(route, "{}", type);
      expect([problem.status, problem.code]).toEqual([415, "API_MEDIA_TYPE"]);
    }
    const limit = "limit" in route.body ? route.body.limit : 0;
    const types = {
      json: "application/json",
      form: "application/x-www-form-urlencoded",
      bytes: "application/octet-stream",
    };
    const type = types[route.body.type as keyof typeof types];
    const problem = await send(route, new Uint8Array(limit + 1).fill(0x20), type);
    expect([problem.status, problem.code]).toEqual([413, "API_BODY_OVERSIZED"]);
  });

  test("without a declared length is cut at the limit as well", async () => {
    const chunk = new Uint8Array(65_536).fill(0x20);
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(chunk),
    });
    const headers = { authorization: `Bearer ${control.adminKey}`, "content-type": "application/json" };
    const response = await fetch(`${control.url}${API.jobs}`, { method: "POST", headers, body });
    expect((await problemOf(response)).code).toBe("API_BODY_OVERSIZED");
  });

  test("of a form: unknown, doubled and missing members", async () => {
    const route = ROUTE_TABLE.find(({ path }) => path === ROUTES.token);
    if (route === undefined) throw new Error("there is a token route");
    const form = "application/x-www-form-urlencoded";
    for (const [text, path] of [
      ["", "grant_type"],
      ["grant_type=a&grant_type=b", "grant_type"],
      ["surplus=1", "surplus"],
      ["grant_type=password&client_assertion_type=x&client_assertion=y", "grant_type"],
    ] as const) {
      expect((await send(route, text, form)).params).toMatchObject({ path });
    }
  });
});

describe("a hostile query", () => {
  test.each([
    `${API.jobs}?limit=-1`,
    `${API.jobs}?limit=201`,
    `${API.jobs}?limit=1e3`,
    `${API.jobs}?limit=1&limit=2`,
    `${API.jobs}?state=gone`,
    `${API.jobs}?order=desc`,
    `${API.jobs}?state=queued'--`,
    `${API.agents}?x=1`,
    `${API.jobLog(JOB)}?wait_s=31`,
    `${API.jobLog(JOB)}?offset=-1`,
    "/healthz?x=1",
  ])("%s is refused", async (path) => {
    const problem = await problemOf(await control.api("GET", path));
    expect([problem.status, problem.code]).toEqual([400, "API_BODY_MALFORMED"]);
  });

  test.each([API.job("x"), API.job("job_%27%20OR%201=1--%20%20%20"), API.job(JOB), API.jobLog("..")])(
    "%s names nothing",
    async (path) => {
      expect((await control.api("GET", path)).status).toBe(404);
    },
  );

  test("of the log route: no stream, another stream, no offset, a strange attempt", async () => {
    const put = (path: string) =>
      agent.send("PUT", path, { body: new Uint8Array(1), type: "application/octet-stream" });
    for (const query of ["?offset=0", "?stream=other&offset=0", "?stream=main", "?stream=main&offset=x"]) {
      expect((await put(`/v1/jobs/${JOB}/1/log${query}`)).json.code).toBe("API_BODY_MALFORMED");
    }
    for (const attempt of ["0", "-1", "1.5", "01"]) {
      expect((await put(`/v1/jobs/${JOB}/${attempt}/log?stream=main&offset=0`)).status).toBe(404);
    }
  });
});

describe("a replayed proof", () => {
  test("opens no agent route a second time", async () => {
    const id = await submit(control);
    await agent.beat();
    await agent.beat({ jobs: [{ jti: id as never, attempt: 1, state: "running" }] });
    const put = (proof: object) =>
      agent.send("PUT", `/v1/jobs/${id}/1/log?stream=main&offset=0`, {
        body: Buffer.from("x"),
        type: "application/octet-stream",
        proof,
      });
    const jti = newNonce(random);
    expect((await put({ jti })).status).toBe(200);
    expect((await put({ jti })).json.code).toBe("DPOP_INVALID");
    await control.restart();
    expect((await put({ jti })).json.code).toBe("DPOP_INVALID");
    expect((await put({})).status).toBe(200);
    expect((await put({ body: Buffer.from("y") })).json.code).toBe("DPOP_INVALID");
  });
});

describe("a submitted job", () => {
  const post = (body: object) => control.api("POST", API.jobs, body);
  test.each([
    ["payload.run", { payload: { source: { type: "empty" }, run: [] } }],
    [
      "payload.source.commit",
      { payload: { source: { type: "bundle", blob: "b", commit: "x" }, run: ["a"] } },
    ],
    [
      "payload.source.blob",
      { payload: { source: { type: "bundle", blob: "b", commit: "a".repeat(40) }, run: ["a"] } },
    ],
    ["payload.surplus", { payload: { source: { type: "empty" }, run: ["a"], surplus: 1 } }],
    ["kind", { kind: "code.implement" }],
    ["kind", { kind: "rm.rf" }],
    ["scope.files", { scope: { ...SUBMISSION.scope, files: {} } }],
    ["limits.timeout_s", { limits: { timeout_s: 0 } }],
    ["limits", { limits: [] }],
    ["payload.env", { payload: { source: { type: "empty" }, run: ["a"], env: [] } }],
    ["priority", { priority: 101 }],
    ["idempotency_key", { idempotency_key: "a b" }],
  ])("is refused at %s", async (path, changes) => {
    const problem = await problemOf(await post({ ...SUBMISSION, ...changes }));
    expect(problem.code).toBe("API_BODY_MALFORMED");
    expect(String(problem.params?.["path"])).toStartWith(path);
  });

  test("too large to be signed is refused", async () => {
    const setup = Array.from({ length: 6 }, () => ["x".repeat(LIMITS.ARG_BYTES)]);
    const problem = await problemOf(await post({ ...SUBMISSION, payload: { ...SUBMISSION.payload, setup } }));
    expect(problem.detail).toContain("too large to be signed");
  });

  test("with an idempotency key is one job, however its members are ordered; another job is a conflict", async () => {
    const idempotency_key = "key-1";
    const first = (await (await post({ ...SUBMISSION, idempotency_key })).json()) as { id: string };
    const { kind, payload, scope } = SUBMISSION;
    const again = await post({ idempotency_key, scope, payload, kind });
    expect([again.status, ((await again.json()) as { id: string }).id]).toEqual([200, first.id]);
    const other = await post({ ...SUBMISSION, priority: 1, idempotency_key });
    expect((await problemOf(other)).code).toBe("API_IDEMPOTENCY_CONFLICT");
    const raced = await Promise.all([1, 2, 3].map(() => post({ ...SUBMISSION, idempotency_key: "key-2" })));
    const ids = await Promise.all(raced.map(async (reply) => ((await reply.json()) as { id: string }).id));
    expect(new Set(ids).size).toBe(1);
  });
});
