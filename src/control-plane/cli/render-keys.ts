import type { KeyList, KeyRequest, KeyView } from "../../protocol/api-keys.ts";
import { style } from "../../terminal/output.ts";
import { table } from "./text.ts";

/** The key set as people read it: root, set, keys, and what they should do. */
export function renderKeys({ root, trust, keys, findings }: KeyList, colour: boolean): string {
  const where = root.on_server ? "on this server" : "kept elsewhere";
  const lines = [
    `Trust root  ${root.thumbprint} (${where})`,
    `            ${root.token_form} in activation tokens`,
    `Key set     number ${trust.seq}, signed ${minute(trust.iat)}, expires ${minute(trust.exp)}`,
    "",
  ];
  const rows = keys
    .toSorted(byUse)
    .map((key) => [key.use, key.kid, standingOf(key), day(key.nbf), day(key.exp)]);
  const found = findings.map(({ code, text }) => `${style.yellow("Warning:", colour)} ${text} (${code})\n`);
  return `${lines.join("\n")}\n${table([["USE", "KEY", "STANDING", "FROM", "UNTIL"], ...rows])}${found.join("")}`;
}

/** What a root is asked to sign, in full: this is all the person at the root key sees. */
export function renderRequest({ root, claims }: KeyRequest): string {
  const { iss, seq, iat, exp, keys } = claims;
  const rows = keys.map((key) => [
    key.use,
    key.kid,
    key.revoked_at === undefined ? "" : `revoked ${minute(key.revoked_at)}`,
    minute(key.nbf),
    minute(key.exp),
  ]);
  return [
    `Key set number ${seq} of Control Plane ${iss}`,
    `Asked for   ${minute(iat)}`,
    `Expires     ${minute(exp)}`,
    `Trust root  ${root}`,
    "",
    table([["USE", "KEY", "", "FROM", "UNTIL"], ...rows]),
  ].join("\n");
}

function standingOf({ standing, signs_until, revoked_at }: KeyView): string {
  if (standing === "signs" && signs_until !== null) return `signs until ${day(signs_until)}`;
  return revoked_at === null ? standing : `revoked ${day(revoked_at)}`;
}

const byUse = (a: KeyView, b: KeyView): number => (a.use < b.use ? -1 : a.use > b.use ? 1 : a.nbf - b.nbf);
const day = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 10);
const minute = (seconds: number): string => `${new Date(seconds * 1000).toISOString().slice(0, 16)}Z`;
