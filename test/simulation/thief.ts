// Who has stolen the order key and stands between the agents and the Control Plane: he signs what answers he likes, and
// repeats every job he has seen. The job key he does not have.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { newJobId } from "../../src/protocol/ids.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import { TYP } from "../../src/protocol/trust.ts";
import { type BeatAnswer, type BeatReply, type BeatRequest, REPLY_HEADER } from "../../src/protocol/wire.ts";
import { readSigningKey, type SigningKey } from "../../src/trust/keys.ts";
import { signJws } from "../../src/trust/sign-jws.ts";
import { sha256Of } from "../../src/trust/strict-jws.ts";
import type { Answer, Asked } from "./control.ts";
import type { Dice } from "./dice.ts";
import type { Tally } from "./tally.ts";

export class Thief {
  /** Whether he is at it. */
  active = true;
  private readonly dice: Dice;
  private readonly tally: Tally;
  private readonly keys: string;
  private readonly seen: string[] = [];
  private key: Promise<SigningKey> | null = null;

  constructor(controlDir: string, dice: Dice, tally: Tally) {
    this.keys = join(controlDir, "keys");
    this.dice = dice;
    this.tally = tally;
  }

  /** Another answer in place of the true one. */
  async meddle(asked: Asked, answer: Answer): Promise<Answer> {
    if (!this.active || answer.status !== 200 || !asked.url.endsWith("/v1/heartbeat")) return answer;
    const reply = JSON.parse(new TextDecoder().decode(answer.body)) as BeatAnswer;
    if (reply.standing !== "live") return answer;
    const request = JSON.parse(new TextDecoder().decode(asked.body)) as BeatRequest;
    const changed = this.change(reply, request);
    this.seen.push(...reply.jobs);
    if (changed === null) return answer;
    this.tally.note("reply forged");
    const body = new TextEncoder().encode(JSON.stringify(changed));
    const agent = claimsOf<{ agent: string }>(answer.headers.get(REPLY_HEADER) ?? "").agent;
    const claims = { agent, rid: request.beat.rid, sha256: sha256Of(body) };
    const headers = new Headers(answer.headers);
    headers.set(REPLY_HEADER, await signJws(TYP.reply, await this.stolenKey(), claims));
    return { ...answer, headers, body };
  }

  /** Old envelopes, his own agent's and others', some with a stroke of his own, and leases for whatever is named. */
  private change(reply: BeatReply, request: BeatRequest): BeatReply | null {
    const { dice } = this;
    const repeated = this.seen.filter(() => dice.chance(0.4)).slice(0, LIMITS.REPLY_JOBS - reply.jobs.length);
    const leased = new Set(reply.leases.map(({ jti, attempt }) => `${jti}/${attempt}`));
    const given = request.jobs
      .filter(({ jti, attempt, state }) => state !== "returned" && !leased.has(`${jti}/${attempt}`))
      .map(({ jti, attempt }) => ({ jti, attempt, ttl_s: 300 }));
    if (repeated.length === 0 && given.length === 0) return null;
    this.tally.note("envelope repeated", repeated.length);
    const jobs = [...reply.jobs, ...repeated.map((jws) => (dice.chance(0.2) ? this.bent(jws) : jws))];
    return { ...reply, jobs, leases: [...reply.leases, ...given] };
  }

  /** A job of his own, with the signature of another. */
  private bent(jws: string): string {
    const [header = "", , signature = ""] = jws.split(".");
    const { dice } = this;
    const jti = newJobId((count) => dice.bytes(count));
    const { payload, seq, ...claims } = claimsOf<{ payload: object; seq: number }>(jws);
    const mine = {
      ...claims,
      jti,
      seq: seq + dice.between(1, 50),
      payload: { ...payload, run: ["rm", "-rf", "/"] },
    };
    const text = JSON.stringify(sameOrder(claimsOf<object>(jws), mine));
    this.tally.note("envelope bent");
    return `${header}.${Buffer.from(text).toString("base64url")}.${signature}`;
  }

  private stolenKey(): Promise<SigningKey> {
    const name = readdirSync(this.keys).find((file) => file.startsWith("order-")) ?? "";
    const path = join(this.keys, name);
    this.key ??= readSigningKey(readFileSync(path, "utf8"), path);
    return this.key;
  }
}

const claimsOf = <T>(jws: string): T =>
  JSON.parse(Buffer.from(jws.split(".")[1] ?? "", "base64url").toString()) as T;

const sameOrder = (like: object, values: Readonly<Record<string, unknown>>): object =>
  Object.fromEntries(Object.keys(like).map((name) => [name, values[name]]));
