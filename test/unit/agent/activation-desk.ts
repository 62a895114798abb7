// The activation route of a Control Plane: opens what is sealed, binds a token to the first key that redeems it, answers
// that key alike however often it asks.

import { parse } from "valibot";
import { type ActivationInput, activate } from "../../../src/agent/activate.ts";
import { resolveDirectories } from "../../../src/agent/directories.ts";
import { mintActivationToken } from "../../../src/protocol/activation-token.ts";
import { type AgentId, newAgentId } from "../../../src/protocol/ids.ts";
import type { LicenseClaims } from "../../../src/protocol/trust.ts";
import {
  ActivateRequestSchema,
  type ActivateSealed,
  ActivateSealedSchema,
} from "../../../src/protocol/wire.ts";
import { importVerifyKey, thumbprint, tokenThumbprint } from "../../../src/trust/keys.ts";
import { unseal } from "../../../src/trust/sealed-box.ts";
import { openJws } from "../../../src/trust/strict-jws.ts";
import { FINGERPRINT, nonce, random } from "../../support/authority.ts";
import { problem } from "../../support/lies.ts";
import { PROOF } from "../../support/proof-door.ts";
import { type Exchange, ScriptedControl } from "../../support/scripted-control.ts";
import { wireTo } from "../../support/scripted-wire.ts";
import { VirtualTime } from "../../support/virtual-time.ts";

export class ActivationDesk implements Disposable {
  readonly time: VirtualTime;
  readonly control: ScriptedControl;
  token: string;
  secret: string;
  /** The key the token is bound to, and what it was answered. */
  redeemed: { jkt: string; reply: string; agentId: AgentId } | null = null;
  /** What was sealed, opened. */
  readonly opened: ActivateSealed[] = [];
  /** What the license says instead of the truth. */
  license: Partial<LicenseClaims> = {};
  private readonly owner: boolean;

  private constructor(
    time: VirtualTime,
    control: ScriptedControl,
    minted: { token: string; secret: string },
    owner: boolean,
  ) {
    this.time = time;
    this.control = control;
    this.token = minted.token;
    this.secret = minted.secret;
    this.owner = owner;
    control.always("activate", (_, exchange) => this.control.time.track(this.serve(exchange)));
  }

  static async open(wallMs?: number): Promise<ActivationDesk> {
    const time = new VirtualTime();
    if (wallMs !== undefined) time.setWall(wallMs);
    const control = await ScriptedControl.make(time);
    const root = await tokenThumbprint(control.authority.keys.root.jwk);
    return new ActivationDesk(time, control, mintActivationToken(root, random), true);
  }

  /** The same desk at this instant, for a host that branches off here. */
  fork(): ActivationDesk {
    const twin = new ActivationDesk(this.time, this.control.fork(), this, false);
    twin.redeemed = this.redeemed;
    return twin;
  }

  /** A fresh token in place of the one before. */
  async mint(): Promise<void> {
    const root = await tokenThumbprint(this.control.authority.keys.root.jwk);
    Object.assign(this, mintActivationToken(root, random), { redeemed: null });
  }

  /** Runs the real activation of a host in `stateDir` against this desk. */
  async activate(stateDir: string, over: Partial<ActivationInput> = {}) {
    const input: ActivationInput = {
      url: this.control.url,
      token: this.token,
      force: false,
      labels: { rack: "7" },
      dirs: resolveDirectories({ stateDir }, {}),
      version: "1.2.3",
      hostname: "host",
      ...over,
    };
    const { control, time } = this;
    const deps = { transport: wireTo(control), clock: time, random, fingerprint: () => FINGERPRINT };
    return await activate(input, deps);
  }

  async serve(exchange: Exchange): Promise<Response> {
    const { authority } = this.control;
    const request = parse(ActivateRequestSchema, JSON.parse(Buffer.from(exchange.body).toString()));
    const plain = Buffer.from(await unseal(request.sealed, authority.keys.enrol)).toString();
    const facts = parse(ActivateSealedSchema, JSON.parse(plain));
    this.opened.push(facts);
    await this.checkProof(exchange, facts);
    if (!this.token.startsWith(`act_${request.token_id}_`))
      return problem(this.control, 403, "TOKEN_UNKNOWN");
    if (facts.secret !== this.secret) return problem(this.control, 403, "TOKEN_UNKNOWN");
    const jkt = await thumbprint(facts.identity_jwk);
    if (this.redeemed !== null && this.redeemed.jkt !== jkt) return problem(this.control, 403, "TOKEN_USED");
    this.redeemed ??= { jkt, ...(await this.answer(facts)) };
    return new Response(this.redeemed.reply, {
      headers: { "content-type": "application/json", ...this.control.usualHeaders() },
    });
  }

  private async answer(facts: ActivateSealed) {
    const agentId = newAgentId(random);
    await this.control.enrol(agentId, facts.identity_jwk);
    const license = await this.control.authority.license({ fp: facts.fingerprint, ...this.license });
    const { slot, chain } = this.control;
    const reply = { v: 1, agent_id: agentId, license, slot, beat: { n: chain.n, nonce: nonce() } };
    return { agentId, reply: JSON.stringify(reply) };
  }

  private async checkProof({ headers, body }: Exchange, facts: ActivateSealed): Promise<void> {
    const { claims } = await openJws(headers.get("dpop"), PROOF, () => importVerifyKey(facts.identity_jwk));
    const bsha = new Bun.CryptoHasher("sha256").update(body).digest("base64url");
    if (claims.bsha !== bsha) this.control.violations.push("activate: proof of another body");
  }

  [Symbol.dispose](): void {
    if (this.owner) this.time[Symbol.dispose]();
  }
}
