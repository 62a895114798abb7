// What can stand between a request and its honest answer: cut wires, proxies, broken and lying servers.

import { fault } from "../../src/fault/fault.ts";
import type { BeatReply } from "../../src/protocol/wire.ts";
import { REPLY_HEADER } from "../../src/protocol/wire.ts";
import type { SigningKey } from "../../src/trust/keys.ts";
import type { Lie, ScriptedControl } from "./scripted-control.ts";

/** A refusal as the Control Plane words it (RFC 9457). */
export function problem(
  control: ScriptedControl,
  status: number,
  code: string,
  over: { readonly headers?: Record<string, string>; readonly params?: Record<string, string | number> } = {},
): Response {
  const body = { title: code, status, code, detail: `${code} it is`, remedy: "None", params: over.params };
  const headers = { "content-type": "application/problem+json", ...control.usualHeaders(), ...over.headers };
  return new Response(JSON.stringify(body), { status, headers });
}

const cutWire = (exchange: { url: URL }) =>
  fault("WIRE_UNREACHABLE", { url: exchange.url.href, why: "ECONNREFUSED" });

/** The request does not arrive. */
export const unreachable: Lie = async (_, exchange) => {
  throw cutWire(exchange);
};

/** The request has its effect, the answer is lost. */
export const lost: Lie = async (honest, exchange) => {
  await honest();
  throw cutWire(exchange);
};

/** No answer, ever. */
export const silent: Lie = () => new Promise<never>(() => undefined);

/** The request has its effect, the answer never comes. */
export const swallowed: Lie = async (honest) => {
  await honest();
  return await new Promise<never>(() => undefined);
};

/** The honest answer, `ms` after the request had its effect. */
export const slow =
  (ms: number): Lie =>
  async (honest, _, control) => {
    const response = await honest();
    await control.time.sleep(ms);
    return response;
  };

/** The request itself is `ms` on its way. */
export const delayed =
  (ms: number): Lie =>
  async (honest, _, control) => {
    await control.time.sleep(ms);
    return await honest();
  };

export const answers =
  (status: number, headers: Record<string, string> = {}, body = ""): Lie =>
  async () =>
    new Response(body, { status, headers });

/** A captive portal or a proxy's error page. */
export const html: Lie = answers(200, { "content-type": "text/html" }, "<html>Please log in</html>");

export const redirect = answers(302, { location: "http://127.0.0.1:1/elsewhere" });

export const refuses =
  (status: number, code: string, over: Parameters<typeof problem>[3] = {}): Lie =>
  async (_, __, control) =>
    problem(control, status, code, over);

/** The honest answer with other bytes under the signature of the right ones. */
export const altered =
  (change: (text: string) => string): Lie =>
  async (honest) => {
    const response = await honest();
    return new Response(change(await response.text()), { headers: response.headers });
  };

export const retyped =
  (type: string): Lie =>
  async (honest) => {
    const response = await honest();
    const headers = new Headers(response.headers);
    headers.set("content-type", type);
    return new Response(await response.text(), { headers });
  };

/** The honest answer under another signature, or none. */
const resigned =
  (header: (text: string, control: ScriptedControl) => Promise<string | null>): Lie =>
  async (honest, _, control) => {
    const response = await honest();
    const text = await response.text();
    const headers = new Headers(response.headers);
    const value = await header(text, control);
    if (value === null) headers.delete(REPLY_HEADER);
    else headers.set(REPLY_HEADER, value);
    return new Response(text, { headers });
  };

export const unsigned = resigned(async () => null);
export const signedWith = (key: (control: ScriptedControl) => SigningKey) =>
  resigned((text, control) => control.authority.reply(text, control.rid, { key: key(control) }));
export const signedForAgent = (agent: string) =>
  resigned((text, control) => control.authority.reply(text, control.rid, { agent }));
export const signedForRequest = (rid: string) =>
  resigned((text, control) => control.authority.reply(text, rid));

/** Another reply than the honest one, properly signed. */
export const says =
  (change: (reply: BeatReply) => unknown): Lie =>
  async (honest, _, control) => {
    const reply = JSON.parse(await (await honest()).text()) as BeatReply;
    return await control.signed(JSON.stringify(change(reply)));
  };
