import { fault, isFault } from "../../../fault/fault.ts";
import { LIMITS } from "../../../protocol/limits.ts";
import type { Ed25519Jwk } from "../../../protocol/scalars.ts";
import { TYP } from "../../../protocol/trust.ts";
import { BeatRequestSchema, REPLY_HEADER, ROUTES } from "../../../protocol/wire.ts";
import { openReceipt } from "../../../trust/receipt.ts";
import { signJws } from "../../../trust/sign-jws.ts";
import { sha256Of } from "../../../trust/strict-jws.ts";
import type { AgentPrincipal } from "../../auth/principal.ts";
import type { BeatInput, ReceivedReceipt } from "../../beat/beat-input.ts";
import { afterBeat } from "../../live/after-beat.ts";
import { retiredKeysOf } from "../../store/retired-keys.ts";
import type { Reader } from "../../store/schema.ts";
import { parseBody } from "../body.ts";
import type { AgentRoute, Call } from "../route.ts";

/** `POST /v1/heartbeat`: facts, job states and receipts in; acknowledgements, leases and signed jobs out. */
export const heartbeatRoute: AgentRoute = {
  method: "POST",
  path: ROUTES.heartbeat,
  who: "agent",
  body: { type: "json", limit: LIMITS.BEAT_BODY_BYTES },
  query: [],
  proofBy: "handler",
  // Whatever has become of the agent, this is where it is told.
  refuses: [],
  handle: async ({ principal, body, services, nowMs, address }: Call<AgentPrincipal>) => {
    const { accountId, agentId, proven } = principal;
    const request = parseBody(body, BeatRequestSchema);
    const receipts = await openReceipts(request.receipts, principal, services.store.db);
    const { jkt, proof, iatS } = proven;
    const input: BeatInput = { accountId, agentId, jkt, address, proof, iatS, request, receipts, nowMs };
    const outcome = await services.store.beat(input).catch((error: unknown) => {
      if (isFault(error, "BEAT_AHEAD")) {
        services.log("error", "heartbeat ahead of this server", { agent: agentId, why: error.message });
      }
      throw error;
    });
    afterBeat(outcome.aftermath, services);
    const reply = new TextEncoder().encode(outcome.body);
    const key = services.keys.current().signer("order", Math.floor(nowMs / 1000));
    const claims = { agent: agentId, rid: request.beat.rid, sha256: sha256Of(reply) };
    return new Response(reply, {
      headers: {
        "content-type": "application/json",
        [REPLY_HEADER]: await signJws(TYP.reply, key, claims),
      },
    });
  },
};

/** Opens each receipt by itself: one that does not verify must not keep the others from being heard. */
async function openReceipts(
  texts: readonly string[],
  agent: AgentPrincipal,
  db: Reader,
): Promise<ReceivedReceipt[]> {
  const bytes = texts.reduce((sum, text) => sum + text.length, 0);
  if (bytes > LIMITS.BEAT_RECEIPTS_BYTES) {
    const why = `they are longer than ${LIMITS.BEAT_RECEIPTS_BYTES} bytes together`;
    throw fault("API_BODY_MALFORMED", { path: "receipts", why });
  }
  const received = await Promise.all(texts.map((text) => receivedReceipt(text, agent, agent.proven.jwk)));
  if (received.every(({ usable }) => usable)) return received;
  // What an agent wrote before it was recovered is signed by the key it had then.
  const former = await retiredKeysOf(db, agent.accountId, agent.agentId);
  return await Promise.all(
    received.map(async (receipt, index) => {
      if (receipt.usable) return receipt;
      for (const { identity_x: x } of former) {
        const again = await receivedReceipt(texts[index] ?? "", agent, { kty: "OKP", crv: "Ed25519", x });
        if (again.usable) return again;
      }
      return receipt;
    }),
  );
}

async function receivedReceipt(
  jws: string,
  { agentId }: AgentPrincipal,
  key: Ed25519Jwk,
): Promise<ReceivedReceipt> {
  try {
    const { claims, sha256 } = await openReceipt(jws, key);
    if (claims.iss === agentId) return { usable: true, jws, sha256, claims };
    return { usable: false, sha256, why: `it is by "${claims.iss}"` };
  } catch (error) {
    if (isFault(error)) return { usable: false, sha256: sha256Of(jws), why: error.message };
    throw error;
  }
}
