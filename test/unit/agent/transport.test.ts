// Goal: whatever comes back over HTTP becomes a reply or the one fault that names it; nothing is followed, nothing is read
// without bound, nothing hangs.
// Method: the real transport against real sockets on loopback: a Bun.serve for what a server may say, a bare TCP listener
// for what only a broken one says.

import { afterAll, afterEach, describe, expect, spyOn, test } from "bun:test";
import { gzipSync } from "node:zlib";
import {
  httpTransport,
  openHttpStream,
  refusalOf,
  retryAfterSeconds,
  type WireRequest,
} from "../../../src/agent/transport.ts";
import { LIMITS } from "../../../src/protocol/limits.ts";
import { dropProxies } from "../../../src/terminal/environment.ts";
import { faultOf } from "../../support/fault-of.ts";

const JSON_TYPE = { "content-type": "application/json" };
const problem = (code: string, over: object = {}) =>
  JSON.stringify({ title: "t", status: 400, code, detail: "why it is so", remedy: "do this", ...over });
const refusal = (status: number, code: string, headers: Record<string, string> = {}, over: object = {}) =>
  new Response(problem(code, over), {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });

const endless = () =>
  new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
  });

let elsewhere = 0;
const answers: Readonly<Record<string, (request: Request) => Response | Promise<Response>>> = {
  good: () => new Response('{"ok":true}', { headers: JSON_TYPE }),
  charset: () => new Response("{}", { headers: { "content-type": "Application/JSON; charset=utf-8" } }),
  created: () => new Response("{}", { status: 201, headers: JSON_TYPE }),
  echo: async (request) =>
    Response.json({
      method: request.method,
      type: request.headers.get("content-type"),
      accept: request.headers.get("accept"),
      dpop: request.headers.get("dpop"),
      body: Buffer.from(await request.arrayBuffer()).toString("hex"),
    }),
  html: () => new Response("<html>log in</html>", { headers: { "content-type": "text/html" } }),
  typeless: () => new Response(new Blob(["{}"])),
  empty: () => new Response(null, { status: 204 }),
  moved: () => new Response("", { status: 301, headers: { location: "/elsewhere" } }),
  found: () => new Response("", { status: 302, headers: { location: "/elsewhere" } }),
  kept: () => new Response("", { status: 307, headers: { location: "/elsewhere" } }),
  elsewhere: () => {
    elsewhere += 1;
    return new Response("{}", { headers: JSON_TYPE });
  },
  "401": () => new Response("", { status: 401 }),
  "403": () => new Response("<h1>Forbidden</h1>", { status: 403, headers: { "content-type": "text/html" } }),
  "404": () => new Response("<h1>nginx</h1>", { status: 404, headers: { "content-type": "text/html" } }),
  "418": () => new Response("", { status: 418 }),
  "429": () => new Response("", { status: 429, headers: { "retry-after": "17" } }),
  "429 bare": () => new Response("", { status: 429 }),
  "500": () => new Response("", { status: 500 }),
  "502 page": () =>
    new Response("x".repeat(500_000), { status: 502, headers: { "content-type": "text/html" } }),
  "503": () => new Response("", { status: 503 }),
  "503 later": () => new Response("", { status: 503, headers: { "retry-after": "9" } }),
  "problem 400": () => refusal(400, "API_BODY_MALFORMED"),
  "problem 401": () => refusal(401, "BEARER_INVALID", { "dpop-nonce": "n" }),
  "problem 404": () => refusal(404, "API_NOT_FOUND"),
  "problem 409": () => refusal(409, "API_OFFSET_MISMATCH"),
  "problem 500": () => refusal(500, "INTERNAL_ERROR"),
  "problem skew": () => refusal(401, "WIRE_CLOCK_SKEW", {}, { params: { seconds: 99 } }),
  "problem long": () =>
    refusal(403, "LEASE_NOT_HELD", {}, { remedy: "r".repeat(4096), detail: "d".repeat(4096) }),
  "problem malformed": () =>
    new Response('{"code":1}', { status: 400, headers: { "content-type": "application/problem+json" } }),
  "problem as json": () => new Response(problem("BEARER_INVALID"), { status: 401, headers: JSON_TYPE }),
  "too much": () => new Response("x".repeat(5_000), { headers: JSON_TYPE }),
  "much too much": () => new Response(endless(), { headers: JSON_TYPE }),
  "endless refusal": () => new Response(endless(), { status: 500 }),
  bomb: () =>
    new Response(gzipSync(Buffer.alloc(50_000_000)), {
      headers: { ...JSON_TYPE, "content-encoding": "gzip" },
    }),
  silent: () => new Promise<Response>(() => undefined),
  trickle: () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(Buffer.from('{"ok"')),
      }),
      { headers: JSON_TYPE },
    ),
};

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  fetch: async (request) => {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    return await (answers[name]?.(request) ?? new Response("", { status: 599 }));
  },
});
afterAll(() => server.stop(true));
const at = (name: string) => `http://127.0.0.1:${server.port}/${encodeURIComponent(name)}`;

const ask = (url: string, over: Partial<WireRequest> = {}) =>
  httpTransport({
    method: "GET",
    url,
    headers: {},
    maxReplyBytes: 4096,
    accept: "application/json",
    ...over,
  });

describe("a reply", () => {
  test("is what it is: status, headers, bytes", async () => {
    const reply = await ask(at("good"));
    expect(Buffer.from(reply.body).toString()).toBe('{"ok":true}');
    expect((await ask(at("charset"))).status).toBe(200);
    expect((await ask(at("created"))).status).toBe(201);
  });

  test("answers exactly the bytes and headers that were given", async () => {
    const body = Uint8Array.from({ length: 256 }, (_, index) => index);
    const headers = { "content-type": "application/octet-stream", dpop: "proof" };
    const reply = await ask(at("echo"), { method: "PUT", body, headers });
    expect(JSON.parse(Buffer.from(reply.body).toString())).toEqual({
      method: "PUT",
      type: "application/octet-stream",
      accept: "application/json",
      dpop: "proof",
      body: Buffer.from(body).toString("hex"),
    });
  });
});

describe("what is not a reply", () => {
  const NO_REPLIES: [name: string, code: string, status: number | null, problem?: string | null][] = [
    ["html", "WIRE_NOT_CONTROL_PLANE", null],
    ["typeless", "WIRE_NOT_CONTROL_PLANE", null],
    ["empty", "WIRE_NOT_CONTROL_PLANE", null],
    ["moved", "WIRE_NOT_CONTROL_PLANE", 301],
    ["found", "WIRE_NOT_CONTROL_PLANE", 302],
    ["kept", "WIRE_NOT_CONTROL_PLANE", 307],
    ["401", "WIRE_UNAUTHORIZED", 401],
    ["403", "WIRE_UNAUTHORIZED", 403],
    ["404", "WIRE_NOT_FOUND", 404],
    ["418", "WIRE_NOT_CONTROL_PLANE", 418],
    ["429", "WIRE_RATE_LIMITED", 429],
    ["429 bare", "WIRE_RATE_LIMITED", 429],
    ["500", "WIRE_SERVER_ERROR", 500],
    ["502 page", "WIRE_SERVER_ERROR", 502],
    ["503", "WIRE_SERVER_ERROR", 503],
    ["503 later", "WIRE_RATE_LIMITED", 503],
    ["problem 400", "WIRE_REFUSED", 400, "API_BODY_MALFORMED"],
    ["problem 401", "WIRE_UNAUTHORIZED", 401, "BEARER_INVALID"],
    ["problem 404", "WIRE_REFUSED", 404, "API_NOT_FOUND"],
    ["problem 409", "WIRE_REFUSED", 409, "API_OFFSET_MISMATCH"],
    ["problem 500", "WIRE_SERVER_ERROR", 500, "INTERNAL_ERROR"],
    ["problem skew", "WIRE_CLOCK_SKEW", 401, "WIRE_CLOCK_SKEW"],
    ["problem long", "WIRE_REFUSED", 403, "LEASE_NOT_HELD"],
    ["problem malformed", "WIRE_NOT_CONTROL_PLANE", 400],
    ["problem as json", "WIRE_UNAUTHORIZED", 401],
    ["too much", "WIRE_REPLY_OVERSIZED", null],
    ["much too much", "WIRE_REPLY_OVERSIZED", null],
    ["endless refusal", "WIRE_SERVER_ERROR", 500],
    ["bomb", "WIRE_REPLY_OVERSIZED", null],
  ];
  test.each(NO_REPLIES)("%s is %s", async (name, code, status, problemCode = null) => {
    const why = await faultOf(ask(at(name)));
    expect<string>(why.code).toBe(code);
    expect(refusalOf(why)?.status ?? null).toBe(status);
    expect(refusalOf(why)?.problem ?? null).toBe(problemCode);
    expect(elsewhere).toBe(0); // no redirect was followed
  });

  test("a problem's words come through, and its headers", async () => {
    const why = await faultOf(ask(at("problem 400")));
    expect([why.params["why"], why.remedy]).toEqual(["why it is so", "do this"]);
    expect(refusalOf(await faultOf(ask(at("problem 401"))))?.headers.get("dpop-nonce")).toBe("n");
  });

  test.each([
    ["17", 17],
    ["0", 1],
    ["-3", 1],
    ["1.2", 2],
    ["999999", LIMITS.RETRY_AFTER_MAX_S],
    ["1e99", LIMITS.RETRY_AFTER_MAX_S],
    ["Infinity", 1],
    ["Wed, 21 Oct 2026 07:28:00 GMT", 1],
    ["soon", 1],
    ["", 1],
  ])("Retry-After %j is %i s", (value, seconds) => {
    expect(retryAfterSeconds(new Headers({ "retry-after": value }))).toBe(seconds);
  });
});

describe("a broken wire", () => {
  /** A listener that answers the first bytes of each connection with `bytes`, then closes or stays. */
  const raw = (bytes: string, close: boolean) =>
    Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data: (socket) => {
          socket.write(bytes);
          if (close) socket.end();
        },
      },
    });

  test.each([
    ["closes without a word", ""],
    ["speaks no HTTP", "SSH-2.0-OpenSSH_9.9\r\n"],
    ["closes within its headers", "HTTP/1.1 200 OK\r\nContent-Ty"],
    [
      "closes within its body",
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"ok"',
    ],
    [
      "closes within a chunk",
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"ok"',
    ],
  ])("a server that %s is unreachable", async (_, bytes) => {
    using listener = raw(bytes, true);
    const why = await faultOf(ask(`http://127.0.0.1:${listener.port}/`));
    expect(why.code).toBe("WIRE_UNREACHABLE");
    expect(refusalOf(why)).toBeNull();
  });

  test("nobody listening is unreachable, and the reason is named", async () => {
    const listener = raw("", true);
    const { port } = listener;
    listener.stop(true);
    const why = await faultOf(ask(`http://127.0.0.1:${port}/`));
    expect(why.code).toBe("WIRE_UNREACHABLE");
    expect(String(why.params["why"])).toMatch(/refused/i);
  });

  test.each(["silent", "trickle"])("an answer that is %s ends after the time for a request", async (name) => {
    const timeout = AbortSignal.timeout.bind(AbortSignal);
    const spy = spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
      expect(ms).toBe(LIMITS.REQUEST_TIMEOUT_MS);
      return timeout(60);
    });
    try {
      expect((await faultOf(ask(at(name)))).code).toBe("WIRE_TIMEOUT");
    } finally {
      spy.mockRestore();
    }
  });

  test.each(["silent", "trickle", "much too much"])(
    "a caller that gives up ends %s at once",
    async (name) => {
      const over = new AbortController();
      const sent = faultOf(ask(at(name), { signal: over.signal, maxReplyBytes: 1e12 }));
      await Bun.sleep(20);
      over.abort();
      expect((await sent).code).toBe("WIRE_UNREACHABLE");
    },
  );
});

describe("a stream", () => {
  const open = (name: string, over: AbortController = new AbortController()) =>
    openHttpStream({ url: at(name), accept: "application/json", headers: {}, signal: over.signal });

  test("is read as it comes, and ends when its caller says so", async () => {
    const over = new AbortController();
    const reader = (await open("trickle", over)).getReader();
    const { value } = await reader.read();
    expect(Buffer.from(value ?? []).toString()).toBe('{"ok"');
    const rest = reader.read().then(
      ({ done }) => done,
      () => "cut",
    );
    over.abort();
    expect([true, "cut"]).toContain(await rest);
  });

  test.each([
    ["html", "WIRE_NOT_CONTROL_PLANE"],
    ["empty", "WIRE_NOT_CONTROL_PLANE"],
    ["found", "WIRE_NOT_CONTROL_PLANE"],
    ["404", "WIRE_NOT_FOUND"],
    ["429", "WIRE_RATE_LIMITED"],
    ["503 later", "WIRE_RATE_LIMITED"],
    ["problem 401", "WIRE_UNAUTHORIZED"],
    ["endless refusal", "WIRE_SERVER_ERROR"],
  ])("%s is none: %s", async (name, code) => {
    expect<string>((await faultOf(open(name))).code).toBe(code);
    expect(elsewhere).toBe(0);
  });

  test("a caller that gives up before the headers gets a fault", async () => {
    const over = new AbortController();
    const opened = faultOf(open("silent", over));
    await Bun.sleep(10);
    over.abort();
    expect((await opened).code).toBe("WIRE_UNREACHABLE");
  });
});

describe("a proxy in the environment", () => {
  const names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"];
  const before = names.map((name) => [name, process.env[name]] as const);
  afterEach(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });

  test("is out of the way once the program has dropped it, also for connections of the same process", async () => {
    let asked = 0;
    using proxy = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => {
        asked += 1;
        return new Response("{}", { headers: JSON_TYPE });
      },
    });
    for (const name of names) process.env[name] = `http://127.0.0.1:${proxy.port}`;
    await ask(at("good"));
    expect(asked).toBe(1); // the runtime obeys it, so the program must not have it
    dropProxies(process.env);
    expect(Buffer.from((await ask(at("good"))).body).toString()).toBe('{"ok":true}');
    expect(asked).toBe(1);
  });
});
