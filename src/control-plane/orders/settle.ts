import type { Order, OrderType } from "../../protocol/order.ts";
import type { OrderRow } from "../store/schema.ts";

/** What a new order means for those the agent has not taken yet. */
export interface Settlement {
  /** An open order that says the same already; no other is given then. */
  readonly same: OrderRow | null;
  /** Open orders it takes the place of. */
  readonly superseded: readonly OrderRow[];
}

/** Orders of one row contradict each other: the one given last is meant. */
const RIVALS: readonly (readonly OrderType[])[] = [["drain", "stop", "resume"], ["recover"], ["reseal"]];

/**
 * Settles a new order with the open ones: what was said already is not said twice, of drain, stop and resume the last one
 * counts, another recovery or seal number replaces the one before, and the end replaces everything. Pure.
 */
export function settle(open: readonly OrderRow[], order: Order): Settlement {
  const same = open.find(({ body }) => body === JSON.stringify(order)) ?? null;
  if (order.type === "terminal") {
    const ending = open.find(({ type }) => type === "terminal") ?? null;
    return ending === null ? { same: null, superseded: open } : { same: ending, superseded: [] };
  }
  const rivals = RIVALS.find((types) => types.includes(order.type)) ?? [];
  // An older "drain" says nothing any more once a "resume" came after it.
  const last = open.findLast(({ type }) => rivals.includes(type)) ?? null;
  if (rivals.length > 0 && last !== null) {
    return same === last ? { same, superseded: [] } : { same: null, superseded: open.filter(isOf(rivals)) };
  }
  return { same, superseded: [] };
}

const isOf =
  (types: readonly OrderType[]) =>
  ({ type }: OrderRow): boolean =>
    types.includes(type);

/** Orders that a quarantined agent is told; any other waits until it has been recovered. */
const TOLD_WHILE_HELD: readonly OrderType[] = ["quarantine", "recover", "reseal", "terminal"];

/** The number of the last order the agent has taken in this epoch, as the beat tells. */
export const takenSeq = (told: { readonly epoch: number; readonly seq: number }, epoch: number): number =>
  told.epoch === epoch ? told.seq : 0;

/**
 * Open orders the agent has taken by now: those it was told and whose number it has reached. `quarantine` and `recover`
 * stay open until the agent has been recovered: every process that shares its identity is told the first, and the
 * second is not done with being taken. Pure.
 */
export const takenOf = (open: readonly OrderRow[], taken: number): OrderRow[] =>
  open.filter(
    ({ type, delivered_at, seq }) =>
      delivered_at !== null && seq <= taken && type !== "quarantine" && type !== "recover",
  );

/** Open orders to tell in an ordinary reply. `recover` never is. Pure. */
export const dueWhenLive = (open: readonly OrderRow[], taken: number): OrderRow[] =>
  open.filter(({ seq, type }) => seq > taken && type !== "recover" && type !== "quarantine");

/** Open orders to tell this very process of a quarantined agent. Pure. */
export const dueWhenHeld = (open: readonly OrderRow[], taken: number, inst: string): OrderRow[] =>
  open.filter(
    (order) =>
      order.seq > taken &&
      TOLD_WHILE_HELD.includes(order.type) &&
      (order.type !== "recover" || orderOf(order, "recover").inst === inst),
  );

/** What a row orders. Our own text, checked when it was given. */
export const orderIn = ({ body }: Pick<OrderRow, "body">): Order => JSON.parse(body) as Order;

function orderOf<T extends OrderType>(row: OrderRow, type: T): Extract<Order, { type: T }> {
  const order = orderIn(row);
  if (order.type !== type)
    throw new Error(`Invariant broken: the row of type "${type}" holds "${order.type}"`);
  return order as Extract<Order, { type: T }>;
}
