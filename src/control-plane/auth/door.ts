import { fault } from "../../fault/fault.ts";
import type { Services } from "../api/services.ts";
import { sameSecret } from "../data/admin-key.ts";
import { recordProofs } from "../store/proofs.ts";
import { type BearerClaims, openBearer } from "./bearer.ts";
import { noteSkew } from "./clock-skew.ts";
import { checkProof, type Proven, replayed } from "./dpop.ts";
import type { AgentPrincipal, OperatorPrincipal } from "./principal.ts";

/** Who holds the admin key. Throws API_UNAUTHENTICATED. */
export function operatorOf(request: Request, services: Services): OperatorPrincipal {
  const [, key] = /^Bearer ([!-~]{1,256})$/.exec(request.headers.get("authorization") ?? "") ?? [];
  if (key === undefined) throw fault("API_UNAUTHENTICATED", { why: "there is no bearer credential" });
  if (!sameSecret(key, services.adminKey)) {
    throw fault("API_UNAUTHENTICATED", { why: "the key is not one of this Control Plane" });
  }
  return { kind: "operator", accountId: services.operatorAccount };
}

/** The access token of a request, checked; costs next to nothing, so it comes before the body is read. */
export function bearerOf(
  request: Request,
  { keys }: Services,
  nowMs: number,
): { token: string; claims: BearerClaims } {
  const [, token] = /^DPoP ([!-~]+)$/.exec(request.headers.get("authorization") ?? "") ?? [];
  if (token === undefined) throw fault("BEARER_INVALID", { why: "there is none" });
  const claims = openBearer(keys.current().bearerSecret, token, Math.floor(nowMs / 1000));
  return { token, claims };
}

/** The agent that sent this request with this body: its token, and the proof that it has the token's key. */
export async function agentOf(
  request: Request,
  body: Uint8Array,
  bearer: { readonly token: string; readonly claims: BearerClaims },
  services: Services,
  nowMs: number,
): Promise<AgentPrincipal> {
  const { account, sub, cnf, exp } = bearer.claims;
  const bound = { token: bearer.token, jkt: cnf.jkt };
  const proven = await provenBy(request, body, services, nowMs, bound);
  return { kind: "agent", accountId: account, agentId: sub, untilS: exp, proven };
}

/** The key that signed the request's DPoP proof. It is not written down yet: `spendProofs`, or the handler's own work. */
export function provenBy(
  request: Request,
  body: Uint8Array,
  services: Services,
  nowMs: number,
  bearer?: { readonly token: string; readonly jkt: string },
): Promise<Proven> {
  const url = `${services.publicUrl}${new URL(request.url).pathname}`;
  const target = { method: request.method, url, body, ...(bearer === undefined ? {} : { bearer }) };
  const skewed = (jkt: string, seconds: number) => noteSkew(jkt, seconds, services);
  const ctx = { nonces: services.nonces, seen: services.seen, nowMs, skewed };
  return checkProof(request.headers.get("dpop"), target, ctx);
}

/** Writes proofs down where every replica and every restart sees them. Throws DPOP_INVALID for one seen before. */
export async function spendProofs(
  { store }: Services,
  accountId: AgentPrincipal["accountId"],
  proofs: readonly string[],
  nowMs: number,
): Promise<void> {
  const entries = proofs.map((proof) => ({ accountId, proof, nowMs }));
  const fresh = await store.write((db) => recordProofs(db, entries));
  if (proofs.some((proof) => !fresh.has(proof))) throw replayed();
}
