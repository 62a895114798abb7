import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import { errnoOf, fault, reasonOf } from "../../fault/fault.ts";
import { AccountIdSchema, AgentIdSchema, Sha256Schema } from "../../protocol/ids.ts";
import { parseDocument } from "../../protocol/json.ts";
import {
  CountSchema,
  EpochMillisSchema,
  EpochSecondsSchema,
  ThumbprintSchema,
} from "../../protocol/scalars.ts";
import { KEY_USES } from "../../protocol/trust.ts";
import { octal } from "./durable-file.ts";

const line = <const Type extends string, const Members extends v.ObjectEntries>(
  type: Type,
  members: Members,
) => v.strictObject({ v: v.literal(1), at: EpochMillisSchema, type: v.literal(type), ...members });

const whose = { account: AccountIdSchema, agent: AgentIdSchema };
const token = { account: AccountIdSchema, token: v.pipe(v.string(), v.regex(/^[0-9A-Za-z]{12}$/)) };

/** What must never be taken again, whatever an older copy of the database says. */
const LedgerLineSchema = v.variant("type", [
  line("token_redeemed", { ...token, jkt: ThumbprintSchema, agent: AgentIdSchema }),
  line("token_revoked", token),
  /** The agent id and its key are over for good. */
  line("agent_ended", { ...whose, jkt: ThumbprintSchema }),
  /** A key of an agent that has another one since. */
  line("key_retired", { ...whose, jkt: ThumbprintSchema }),
  /** A key of the Control Plane. */
  line("key_revoked", {
    use: v.picklist(KEY_USES),
    kid: ThumbprintSchema,
    revoked_at: EpochSecondsSchema,
    reason: v.string(),
  }),
  /** A key set with this number was made. */
  line("trust", { seq: CountSchema }),
  /** A backup was brought back. */
  line("era", { era: CountSchema, backup: Sha256Schema }),
]);
export type LedgerLine = v.InferOutput<typeof LedgerLineSchema>;
type WithoutFrame<T> = T extends unknown ? Omit<T, "v" | "at"> : never;
export type LedgerEntry = WithoutFrame<LedgerLine>;

/** What the ledger says of the installation as a whole. */
export interface LedgerSummary {
  /** Highest era, and highest number of a key set; 0 for none. */
  readonly era: number;
  readonly trustSeq: number;
  /** Revoked keys of the Control Plane, with the time in seconds. */
  readonly revokedKeys: ReadonlyMap<string, number>;
}

/** Writes down what must outlive the database. */
export interface Ledger {
  /**
   * Returns once the line is on the disk. It is called before the database commits what it speaks of: a crash in between
   * leaves a line about something that did not happen, which costs a restored installation one token or key; the other
   * way round, a restored one would take a spent token again. Throws CONTROL_DISK_FULL or what the system said.
   */
  append(entry: LedgerEntry, nowMs: number): void;
  summary(): LedgerSummary;
}

const MAX_BYTES = 268_435_456;

/** Opens the ledger for appending; makes it unless it is there. Cuts a last line that a crash left unfinished. */
export class LedgerFile implements Ledger {
  private readonly path: string;
  private known: LedgerSummary;

  private constructor(path: string, known: LedgerSummary) {
    this.path = path;
    this.known = known;
  }

  /** Reads what concerns the installation as a whole; the rest is for a restore. Throws LEDGER_DAMAGED naming the line. */
  static open(path: string): LedgerFile {
    const file = openLedger(path, constants.O_RDWR | constants.O_CREAT);
    try {
      const { text, bytes } = wholeLines(file, path);
      if (bytes < fstatSync(file).size) ftruncateSync(file, bytes);
      fsyncSync(file);
      syncDirectorySync(dirname(path));
      return new LedgerFile(path, summarise(parseLedger(text, path, isOfTheWhole)));
    } finally {
      closeSync(file);
    }
  }

  summary(): LedgerSummary {
    return this.known;
  }

  append(entry: LedgerEntry, nowMs: number): void {
    const whole = v.parse(LedgerLineSchema, { v: 1, at: nowMs, ...entry });
    const file = openLedger(this.path, constants.O_WRONLY | constants.O_APPEND);
    try {
      const { size } = fstatSync(file);
      try {
        const bytes = Buffer.from(`${JSON.stringify(whole)}\n`);
        if (writeSync(file, bytes) !== bytes.length) throw new Error("the disk took a part of the line only");
        fsyncSync(file);
      } catch (error) {
        ftruncateSync(file, size);
        throw error;
      }
    } catch (error) {
      throw ["ENOSPC", "EDQUOT"].includes(errnoOf(error)) ? fault("CONTROL_DISK_FULL", {}, error) : error;
    } finally {
      closeSync(file);
    }
    this.known = summarise([whole], this.known);
  }
}

/** Every whole line of a ledger, none when there is no such file. Throws LEDGER_DAMAGED. */
export function readLedger(path: string): LedgerLine[] {
  let file: number;
  try {
    file = openLedger(path, constants.O_RDONLY);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
  try {
    return parseLedger(wholeLines(file, path).text, path, () => true);
  } finally {
    closeSync(file);
  }
}

function openLedger(path: string, flags: number): number {
  const file = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  const stat = fstatSync(file);
  const refuse = (why: string) => {
    closeSync(file);
    return fault("LEDGER_DAMAGED", { path, line: 0, why });
  };
  if (!stat.isFile()) throw refuse("it is not a regular file");
  if (stat.uid !== process.getuid?.()) throw refuse(`it belongs to uid ${stat.uid}`);
  if ((stat.mode & 0o077) !== 0) throw refuse(`its mode ${octal(stat.mode)} lets others in`);
  if (stat.size > MAX_BYTES) throw refuse(`it is larger than ${MAX_BYTES} bytes`);
  return file;
}

/** A line without its end was never acted upon: the append before the commit had not returned. */
function wholeLines(file: number, path: string): { text: string; bytes: number } {
  const bytes = Buffer.alloc(fstatSync(file).size);
  for (let read = 0; read < bytes.length; ) {
    const count = readSync(file, bytes, read, bytes.length - read, read);
    if (count === 0)
      throw fault("LEDGER_DAMAGED", { path, line: 0, why: "it became shorter while it was read" });
    read += count;
  }
  const end = bytes.lastIndexOf(0x0a) + 1;
  return { text: bytes.toString("utf8", 0, end), bytes: end };
}

/** How every line begins, as it is written here. */
const BEGINNING = /^\{"v":1,"at":\d{1,15},"type":"([a-z_]{1,32})"/;
const isOfTheWhole = (type: string): boolean => ["era", "trust", "key_revoked"].includes(type);

/** The lines of the wanted types: a fleet's tokens are many, and a start has no use for them. */
function parseLedger(text: string, path: string, wanted: (type: string) => boolean): LedgerLine[] {
  const lines: LedgerLine[] = [];
  let number = 0;
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf("\n", start);
    const line = text.slice(start, end);
    start = end + 1;
    number += 1;
    const type = BEGINNING.exec(line)?.[1];
    if (type === undefined)
      throw fault("LEDGER_DAMAGED", { path, line: number, why: "it is not a line of a ledger" });
    if (!wanted(type)) continue;
    const parsed = parseDocument(line, LedgerLineSchema);
    if (!parsed.ok)
      throw fault("LEDGER_DAMAGED", { path, line: number, why: `${parsed.path}: ${parsed.why}` });
    lines.push(parsed.value);
  }
  return lines;
}

const NOTHING: LedgerSummary = { era: 0, trustSeq: 0, revokedKeys: new Map() };

/** What the lines say of the installation, on top of what is known. */
export function summarise(lines: readonly LedgerLine[], known = NOTHING): LedgerSummary {
  let { era, trustSeq } = known;
  const revokedKeys = new Map(known.revokedKeys);
  for (const line of lines) {
    if (line.type === "era") era = Math.max(era, line.era);
    if (line.type === "trust") trustSeq = Math.max(trustSeq, line.seq);
    if (line.type === "key_revoked" && !revokedKeys.has(line.kid)) revokedKeys.set(line.kid, line.revoked_at);
  }
  return { era, trustSeq, revokedKeys };
}

function syncDirectorySync(path: string): void {
  const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(directory);
  } catch (error) {
    throw fault("CONTROL_DATA_DIR", { path, why: reasonOf(error) }, error);
  } finally {
    closeSync(directory);
  }
}
