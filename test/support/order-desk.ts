// The Control Plane's orders to one agent: numbered in their epoch, signed when they are delivered, told until acknowledged.

import type { Order } from "../../src/protocol/order.ts";
import type { BeatRequest } from "../../src/protocol/wire.ts";
import type { Authority } from "./authority.ts";

export class OrderDesk {
  /** Orders in the sequence they were given. */
  given: { readonly seq: number; readonly order: Order }[] = [];
  epoch = 1;
  private readonly authority: Authority;

  constructor(authority: Authority) {
    this.authority = authority;
  }

  fork(authority: Authority): OrderDesk {
    const twin = new OrderDesk(authority);
    twin.given = [...this.given];
    twin.epoch = this.epoch;
    return twin;
  }

  /** Returns the number it got. */
  give(order: Order): number {
    const seq = this.given.length + 1;
    this.given.push({ seq, order });
    return seq;
  }

  /** Everything begins anew with an epoch. */
  begin(epoch: number): void {
    this.given = [];
    this.epoch = epoch;
  }

  /** What an answer to this beat carries. */
  async open({ orders: { epoch, seq: taken }, beat: { inst } }: BeatRequest): Promise<string[]> {
    const from = epoch === this.epoch ? taken : 0;
    const due = this.given.filter(
      ({ seq, order }) => seq > from && (order.type !== "recover" || order.inst === inst),
    );
    return await Promise.all(
      due.map(({ seq, order }) => this.authority.order(order, { seq, epoch: this.epoch })),
    );
  }
}
