/** How one of a group ended. */
export type Settled<R> =
  | { readonly ok: true; readonly value: R }
  | { readonly ok: false; readonly error: unknown };

export interface GroupCommitOptions<T, R> {
  readonly maxItems: number;
  readonly waitMs: number;
  /** Does the whole group's work, durably, and answers one result for each item in order. A throw fails them all. */
  readonly apply: (items: readonly T[]) => Promise<readonly Settled<R>[]>;
}

interface Waiting<T, R> {
  readonly item: T;
  readonly resolve: (value: R) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Collects what arrives within a moment and does it in one go, so that many share one flush of the disk. One group is
 * under way at a time; what arrives meanwhile is the next.
 */
export class GroupCommit<T, R> {
  private readonly options: GroupCommitOptions<T, R>;
  private waiting: Waiting<T, R>[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;
  private running: Promise<void> | null = null;
  private closed = false;

  constructor(options: GroupCommitOptions<T, R>) {
    this.options = options;
  }

  /** Resolves with the item's own result once its group is durable. */
  submit(item: T): Promise<R> {
    if (this.closed) return Promise.reject(new Error("the group writer is closed"));
    return new Promise<R>((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      this.schedule();
    });
  }

  /** Takes nothing new, finishes what was taken. */
  async close(): Promise<void> {
    this.closed = true;
    while (this.waiting.length > 0 || this.running !== null) {
      this.start();
      await this.running;
    }
  }

  private schedule(): void {
    if (this.running !== null) return;
    if (this.waiting.length >= this.options.maxItems) this.start();
    else this.timer ??= setTimeout(() => this.start(), this.options.waitMs);
  }

  private start(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.running !== null || this.waiting.length === 0) return;
    const group = this.waiting.splice(0, this.options.maxItems);
    this.running = this.perform(group).finally(() => {
      this.running = null;
      if (this.waiting.length > 0) this.schedule();
    });
  }

  private async perform(group: readonly Waiting<T, R>[]): Promise<void> {
    try {
      const results = await this.options.apply(group.map(({ item }) => item));
      for (const [index, { resolve, reject }] of group.entries()) {
        const result = results[index];
        if (result?.ok) resolve(result.value);
        else reject(result?.error ?? new Error("the group left an item without a result"));
      }
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}
