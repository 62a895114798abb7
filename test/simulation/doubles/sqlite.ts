// bun:sqlite for programs in a simulated world: the real one, which ends with the process that opened it, and whose every
// commit is a place to crash.

import { Database as Real, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { Crash } from "../crash.ts";
import { type Machine, machineAt, type Process } from "../machine.ts";

const WRITES = /^\s*(?:insert|update|delete|replace|create|alter|drop)\b/i;
const COMMITS = /^\s*commit\b/i;
const CALLS = ["run", "all", "get", "values"] as const;
const PAGES_MAX = 1_073_741_823;

type AnyCall = (...values: unknown[]) => unknown;

export class Database extends Real {
  private readonly machine: Machine | null;
  private readonly process: Process | null;
  private readonly statements = new Set<Statement>();
  private readonly hooked = new WeakSet<object>();
  private capped = false;
  private closed = false;

  constructor(path?: string, options?: ConstructorParameters<typeof Real>[1]) {
    const machine = machineAt(path);
    const process = machine?.enter(`open ${path}`) ?? null;
    super(path, options);
    this.machine = machine;
    this.process = process;
    process?.held.add({ release: () => this.release() });
  }

  override prepare<T, P extends SQLQueryBindings | SQLQueryBindings[]>(sql: string, params?: P) {
    const statement = params === undefined ? super.prepare<T, P>(sql) : super.prepare<T, P>(sql, params);
    return this.hook(statement as unknown as Statement, sql) as unknown as typeof statement;
  }

  override query<T, P extends SQLQueryBindings | SQLQueryBindings[]>(sql: string) {
    const statement = super.query<T, P>(sql);
    return this.hook(statement as unknown as Statement, sql) as unknown as typeof statement;
  }

  override run<P extends SQLQueryBindings[]>(sql: string, ...bindings: P[]) {
    return this.passing(sql, () => super.run(sql, ...bindings));
  }

  /** The same as the real one does, over statements of this class. */
  override transaction<A extends unknown[], T>(
    fn: (...values: A) => T,
  ): ReturnType<typeof Real.prototype.transaction<A, T>> {
    const go =
      (mode: string) =>
      (...values: A): T => {
        this.run(`BEGIN ${mode}`);
        try {
          const result = fn(...values);
          this.run("COMMIT");
          return result;
        } catch (error) {
          if (this.inTransaction && !this.process?.dead) this.run("ROLLBACK");
          throw error;
        }
      };
    const modes = { deferred: go("DEFERRED"), immediate: go("IMMEDIATE"), exclusive: go("EXCLUSIVE") };
    return Object.assign(go(""), modes) as unknown as ReturnType<typeof Real.prototype.transaction<A, T>>;
  }

  override close(throwOnError?: boolean): void {
    if (this.process?.dead) throw new Crash("and still wants to close a database");
    this.closed = true;
    super.close(throwOnError);
  }

  private hook(statement: Statement, sql: string): Statement {
    if (this.machine === null || this.hooked.has(statement)) return statement;
    this.hooked.add(statement);
    this.statements.add(statement);
    const calls = statement as unknown as Record<(typeof CALLS)[number], AnyCall>;
    for (const name of CALLS) {
      const call = calls[name];
      calls[name] = (...values) => this.passing(sql, () => call.apply(statement, values));
    }
    return statement;
  }

  /** A statement on its way to the database: not from a dead process, and when it commits, a crash before or after. */
  private passing<T>(sql: string, call: () => T): T {
    const { machine } = this;
    if (machine === null) return call();
    if (this.process?.dead) throw new Crash("and still wants to use a database");
    const commits = COMMITS.test(sql) || (!this.inTransaction && WRITES.test(sql));
    if (machine.full !== this.capped) this.cap(machine.full);
    return commits ? machine.durable(brief(sql, this.filename), call) : call();
  }

  /** A full disk: whatever needs another page fails as SQLite fails then. */
  private cap(full: boolean): void {
    if (this.inTransaction) return; // asked again with the next statement
    this.capped = full;
    const pages = super.query<{ page_count: number }, []>("PRAGMA page_count").get()?.page_count ?? PAGES_MAX;
    super.run(`PRAGMA max_page_count = ${full ? pages : PAGES_MAX}`);
  }

  /** What the kernel and the next opener do about a process that died: nothing uncommitted stays. */
  private release(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.inTransaction) super.run("ROLLBACK");
    for (const statement of this.statements) statement.finalize();
    super.close();
  }
}

const brief = (sql: string, filename: string): string =>
  `${filename.split("/").at(-1)}: ${sql.trim().split(/\s+/).slice(0, 3).join(" ")}`;
