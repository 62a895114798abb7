import { Database, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from "kysely";
import { fault, reasonOf } from "../../fault/fault.ts";
import type { Tables } from "./schema.ts";

const STATEMENTS_KEPT = 256;
const BUSY_MS = 5_000;

/**
 * Opens the database file through bun:sqlite: WAL, so that `sqlite3` and a backup may read along, and FULL, so that a
 * committed beat survives a power cut. Kysely takes one connection and one transaction at a time on it.
 */
export function openSqlite(path: string): Kysely<Tables> {
  try {
    const database = new Database(path, { create: true, readwrite: true, strict: true });
    database.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    database.run("PRAGMA foreign_keys = ON");
    return new Kysely<Tables>({ dialect: new SqliteDialect({ database: new BunSqlite(database) }) });
  } catch (error) {
    throw fault("CONTROL_DATABASE", { why: reasonOf(error) }, error);
  }
}

/** What Kysely's SQLite dialect asks of a driver, over bun:sqlite. Keeps compiled statements by their text. */
class BunSqlite implements SqliteDatabase {
  private readonly statements = new Map<string, CompiledStatement>();
  private readonly database: Database;

  constructor(database: Database) {
    this.database = database;
  }

  prepare(sql: string): SqliteStatement {
    // A full disk has ended the transaction already; a second end would hide that reason behind its own.
    if (sql === "rollback" && !this.database.inTransaction) return NOTHING;
    const known = this.statements.get(sql);
    if (known !== undefined) return known;
    const statement = new CompiledStatement(this.database.prepare(sql));
    if (this.statements.size >= STATEMENTS_KEPT) this.forgetOldest();
    this.statements.set(sql, statement);
    return statement;
  }

  close(): void {
    for (const statement of this.statements.values()) statement.finalize();
    this.statements.clear();
    this.database.close();
  }

  private forgetOldest(): void {
    for (const [sql, statement] of this.statements) {
      this.statements.delete(sql);
      statement.finalize();
      return;
    }
  }
}

const NOTHING: SqliteStatement = {
  reader: false,
  all: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 }),
  iterate: () => [].values(),
};

class CompiledStatement implements SqliteStatement {
  readonly reader: boolean;
  private readonly statement: Statement<unknown, SQLQueryBindings[]>;

  constructor(statement: Statement<unknown, SQLQueryBindings[]>) {
    this.statement = statement;
    this.reader = statement.columnNames.length > 0;
  }

  all(parameters: readonly unknown[]): unknown[] {
    return this.statement.all(...bindings(parameters));
  }

  run(parameters: readonly unknown[]): { changes: number; lastInsertRowid: number | bigint } {
    return this.statement.run(...bindings(parameters));
  }

  iterate(parameters: readonly unknown[]): IterableIterator<unknown> {
    return this.statement.iterate(...bindings(parameters));
  }

  finalize(): void {
    this.statement.finalize();
  }
}

const bindings = (parameters: readonly unknown[]) => parameters as readonly SQLQueryBindings[];
