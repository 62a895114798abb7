import * as v from "valibot";
import { AgentIdSchema, ControlPlaneIdSchema, JobIdSchema } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { CountSchema, EpochSecondsSchema, lineSchema, NonceSchema, ThumbprintSchema } from "./scalars.ts";

const reason = lineSchema(512);
const graceS = v.pipe(CountSchema, v.maxValue(LIMITS.ORDER_GRACE_S));

/**
 * What the Control Plane may tell an agent to do.
 * `cancel`: end this job, whichever attempt runs. `drain`: take nothing new, let running jobs end. `stop`: the same, and
 * cancel what still runs after `grace_s`; either way the agent goes on beating. `resume`: end of both.
 * `quarantine`: cancel everything, start nothing, until recovered. `recover`: the one process `inst` makes new keys.
 * `reseal`: take the state files as they are, under the seal number `ctr`. `terminal`: cancel what runs after `grace_s`,
 * deliver what is owed, exit for good.
 */
export const OrderSchema = v.variant("type", [
  v.strictObject({ type: v.literal("cancel"), jti: JobIdSchema }),
  v.strictObject({ type: v.literal("drain") }),
  v.strictObject({ type: v.literal("stop"), grace_s: graceS }),
  v.strictObject({ type: v.literal("resume") }),
  v.strictObject({ type: v.literal("quarantine"), reason }),
  v.strictObject({ type: v.literal("recover"), inst: NonceSchema }),
  v.strictObject({ type: v.literal("reseal"), ctr: v.pipe(CountSchema, v.minValue(1)) }),
  v.strictObject({ type: v.literal("terminal"), reason, grace_s: graceS }),
]);
export type Order = v.InferOutput<typeof OrderSchema>;
export type OrderType = Order["type"];

/**
 * Claims of an `agentina-order+jws`, signed by an order key when it is delivered. `jkt` is the thumbprint of the key of
 * the agent that is meant, `epoch` that of its license. `seq` counts the agent's orders from 1 within an epoch: one that
 * is not above the last one taken has been taken already.
 */
export const OrderClaimsSchema = v.strictObject({
  v: v.literal(1),
  iss: ControlPlaneIdSchema,
  aud: AgentIdSchema,
  sub: v.literal("order"),
  jkt: ThumbprintSchema,
  epoch: v.pipe(CountSchema, v.minValue(1)),
  seq: v.pipe(CountSchema, v.minValue(1)),
  order: OrderSchema,
  iat: EpochSecondsSchema,
  nbf: EpochSecondsSchema,
  exp: EpochSecondsSchema,
});
export type OrderClaims = v.InferOutput<typeof OrderClaimsSchema>;

/**
 * Claims of an `agentina-quarantine+jws`: what an agent writes down, signed by its own key, when it has found by itself
 * that it must not go on. Holds as long as the license is of the same epoch.
 */
export const QuarantineNoteSchema = v.strictObject({
  v: v.literal(1),
  iss: AgentIdSchema,
  epoch: v.pipe(CountSchema, v.minValue(1)),
  code: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{2,63}$/)),
  reason: v.pipe(v.string(), v.maxLength(2048)),
  iat: EpochSecondsSchema,
});
export type QuarantineNote = v.InferOutput<typeof QuarantineNoteSchema>;
