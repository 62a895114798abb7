// How a Control Plane changes an agent's key: on its own order, for a proof by both keys, the same answer to the same key.

import { parseDocument } from "../../src/protocol/json.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Ed25519Jwk } from "../../src/protocol/scalars.ts";
import { TYP } from "../../src/protocol/trust.ts";
import { RekeyClaimsSchema, type RekeyReply, RekeyRequestSchema } from "../../src/protocol/wire.ts";
import { importVerifyKey, thumbprint } from "../../src/trust/keys.ts";
import { verifyOrder } from "../../src/trust/order.ts";
import { openJws, sha256Of } from "../../src/trust/strict-jws.ts";
import type { EnrolledAgent } from "./authority.ts";
import { nonce } from "./authority.ts";
import { problem } from "./lies.ts";
import type { ScriptedControl } from "./scripted-control.ts";

const PROOF = {
  what: "rekey proof",
  typ: TYP.rekey,
  maxBytes: LIMITS.SMALL_JWS_BYTES,
  schema: RekeyClaimsSchema,
} as const;

/** Answers `POST /v1/rekey` from `asking`, whose bearer and proof were found good. */
export async function changeKeys(
  control: ScriptedControl,
  asking: EnrolledAgent,
  body: Uint8Array,
): Promise<Response> {
  const refuse = (why: string) => {
    control.violations.push(`rekey: ${why}`);
    return problem(control, 400, "ORDER_NOT_APPLICABLE");
  };
  const parsed = parseDocument(body, RekeyRequestSchema);
  if (!parsed.ok) return refuse(`${parsed.path} ${parsed.why}`);
  const request = parsed.value;
  const key = await importVerifyKey(request.identity_jwk);
  const kid = await thumbprint(request.identity_jwk);
  const { claims } = await openJws(request.proof, PROOF, (header) => (header.kid === kid ? key : null));
  const bound =
    claims.agent === asking.id &&
    claims.old_jkt === asking.jkt &&
    claims.order_sha256 === sha256Of(request.order) &&
    claims.sealing_x === request.sealing_jwk.x;
  if (!bound) return refuse("a proof of something else");
  const { current, known } = control.rekeyed ?? {};
  if (known !== undefined && current === kid) return control.json(known);
  if (known !== undefined) return refuse("another key for the same order");
  if (asking.jkt !== control.authority.agent.jkt) return problem(control, 403, "AGENT_SUPERSEDED");
  const order = await verifyOrder(request.order, {
    trust: await control.authority.trustSet(),
    license: { sub: asking.id, epoch: control.desk.epoch },
    jkt: asking.jkt,
    inst: control.recovering ?? "",
    lastSeq: 0,
    nowS: control.time.nowS(),
  });
  if (order.verdict === "refused") return problem(control, 400, order.why.code);
  return control.json(await replaceKey(control, asking, request.identity_jwk, kid));
}

async function replaceKey(
  control: ScriptedControl,
  { id, jkt }: EnrolledAgent,
  jwk: Ed25519Jwk,
  kid: string,
): Promise<RekeyReply> {
  const epoch = control.desk.epoch + 1;
  control.retired.add(jkt);
  await control.enrol(id, jwk);
  control.desk.begin(epoch);
  control.quarantined = false;
  control.chain = { n: 0, nonce: nonce() };
  control.forgetBeats();
  const known: RekeyReply = {
    v: 1,
    license: await control.authority.license({ epoch, ...control.nextLicense }),
    receipts: control.receipts.head,
    beat: { ...control.chain },
  };
  control.rekeyed = { current: kid, known };
  return known;
}
