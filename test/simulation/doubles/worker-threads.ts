// node:worker_threads for programs in a simulated world: messages arrive when its time lets them.

import { ambientTimeline } from "./globals.ts";

export class MessageChannel {
  readonly port1: Port;
  readonly port2: Port;

  constructor() {
    this.port1 = new Port();
    this.port2 = new Port();
    this.port1.other = this.port2;
    this.port2.other = this.port1;
  }
}

export class Port {
  other: Port | null = null;
  private readonly listeners: ((message: unknown) => void)[] = [];
  private closed = false;

  on(_: "message", listener: (message: unknown) => void): void {
    this.listeners.push(listener);
  }

  postMessage(message: unknown): void {
    const to = this.other;
    const copy = structuredClone(message);
    if (!this.closed) ambientTimeline().after(0, () => to?.hear(copy));
  }

  close(): void {
    this.closed = true;
    if (this.other) this.other.closed = true;
  }

  private hear(message: unknown): void {
    if (!this.closed) for (const listener of this.listeners) listener(message);
  }
}
