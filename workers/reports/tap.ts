import { TapDiagnostic } from "./tap-diagnostic.ts";
import { type TestReport, TestTally } from "./test-tally.ts";

const LINE_CHARS_MAX = 65_536;
const DEPTH_MAX = 32;
const COMMENTS_MAX = 20;
const INDENT = 4;

/** A test point whose diagnostics may still follow. */
interface Point {
  readonly ok: boolean;
  readonly name: string;
  readonly directive: "skip" | "todo" | null;
  /** From node-tap's `# time=12ms`. */
  readonly ms: number | null;
  readonly depth: number;
  /** Points below it seen so far; a point with any is a container. */
  readonly below: Level | null;
  readonly diagnostic: TapDiagnostic;
  readonly comments: string[];
}

/** One level of nesting between two points of the level above. */
interface Level {
  points: number;
  failed: number;
  /** From `# Subtest: name`: what the points one level deeper belong to. */
  name: string | null;
}

/**
 * Reads TAP (Test Anything Protocol 13 and 14) as it arrives, subtests and YAML diagnostics included. What is counted are
 * the leaves: a point with points below it stands for them and is counted itself only when it fails and none of them
 * did. That is how node:test's own JUnit reporter counts, so that one suite has one total in either format.
 * Both directives (skip, to-do) count as skipped, whatever the verdict beside them. Memory is bounded.
 */
export class TapReader {
  private readonly decoder = new TextDecoder();
  private readonly tally = new TestTally();
  private readonly levels: Level[] = [newLevel()];
  private rest = "";
  private restCut = false;
  private point: Point | null = null;
  private readonly braces: (Point | undefined)[] = [];
  private sawVersion = false;
  private planned: number | null = null;
  private planSkipped = false;
  private bailOut: string | null = null;

  push(chunk: Uint8Array): void {
    this.take(this.decoder.decode(chunk, { stream: true }));
  }

  /** The report, or null when what came was not TAP: neither a version line nor a test, or (unless `demanded`) no plan. */
  finish(demanded: boolean): TestReport | null {
    this.take(`${this.decoder.decode()}\n`);
    this.settle();
    const top = this.levels[0]?.points ?? 0;
    const looksRight = this.sawVersion || top > 0 || this.planned === 0;
    if (!looksRight || (this.planned === null && !(demanded && top > 0))) return null;
    return this.tally.report("tap", this.problem(top));
  }

  /** A plan that says it skips everything (`1..0 # SKIP why`) is a choice; one without tests is not. */
  get skippedWhole(): boolean {
    return this.planSkipped;
  }

  private problem(top: number): string | null {
    if (this.bailOut !== null) return `Bail out! ${this.bailOut}`.trim();
    if (this.planned === null) return "the output ends before its plan";
    if (this.planned !== top) return `the plan announces ${this.planned} tests, ${top} were reported`;
    return null;
  }

  private take(text: string): void {
    const lines = text.split("\n");
    for (let index = 0; index < lines.length - 1; index++) {
      this.line(this.restCut ? "" : this.rest + (lines[index] ?? ""));
      this.rest = "";
      this.restCut = false;
    }
    this.rest += lines.at(-1) ?? "";
    if (this.rest.length > LINE_CHARS_MAX) {
      this.rest = "";
      this.restCut = true; // no line of TAP is that long
    }
  }

  private line(raw: string): void {
    if (raw.length > LINE_CHARS_MAX) return;
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    if (this.point?.diagnostic.take(line)) return;
    const indent = line.length - line.trimStart().length;
    if (indent % INDENT !== 0 || indent > DEPTH_MAX * INDENT) return;
    const text = line.slice(indent);
    const depth = indent / INDENT;
    const point = POINT.exec(text);
    if (point) this.open(point, depth);
    else if (text.startsWith("#")) this.comment(text, depth);
    else if (text === "}") this.closeBrace(depth);
    else if (depth === 0) this.topLine(text);
  }

  /** Streams written one after the other add up: each brings its own plan. */
  private topLine(text: string): void {
    const plan = PLAN.exec(text);
    if (plan) {
      this.planned = (this.planned ?? 0) + Number(plan[1]);
      this.planSkipped = this.planned === 0 && /^skip/i.test(plan[2] ?? "");
    } else if (/^TAP version 1[34]$/.test(text)) {
      this.sawVersion = true;
    } else if (text.startsWith("Bail out!")) {
      this.bailOut ??= text.slice("Bail out!".length).trim();
    }
  }

  private comment(text: string, depth: number): void {
    const subtest = /^# Subtest:? (.+)$/.exec(text)?.[1];
    if (subtest !== undefined) {
      this.settle();
      this.level(depth).name = unescapeTap(subtest);
    } else if (this.point && !this.point.ok && this.point.comments.length < COMMENTS_MAX) {
      this.point.comments.push(text.slice(1).trim());
    }
  }

  private open(match: RegExpExecArray, depth: number): void {
    this.settle();
    const level = this.level(depth);
    const deeper = this.levels[depth + 1];
    this.levels.length = depth + 1; // what lay deeper belongs to this point
    level.points += 1;
    const { brace, ...described } = describe(match[3] ?? "");
    const point: Point = {
      ...described,
      ok: match[1] === undefined,
      depth,
      below: deeper && deeper.points > 0 ? deeper : null,
      diagnostic: new TapDiagnostic(depth * INDENT),
      comments: [],
    };
    if (brace) {
      level.name = point.name;
      this.braces[depth] = point;
    } else {
      this.point = point;
    }
  }

  /** The end of a buffered subtest (`ok 1 - name {` … `}`), whose point came before the points below it. */
  private closeBrace(depth: number): void {
    const point = this.braces[depth];
    if (!point) return;
    this.settle();
    const below = this.levels[depth + 1] ?? null;
    this.levels.length = depth + 1;
    this.braces.length = depth;
    this.point = { ...point, below };
    this.settle();
  }

  /** Counts the point before, now that everything said about it has been read. */
  private settle(): void {
    const { point } = this;
    if (!point) return;
    this.point = null;
    const level = this.level(point.depth);
    const failed = !point.ok && point.directive === null;
    if (failed || (point.below && point.below.failed > 0)) level.failed += 1;
    level.name = null;
    const stands = point.below ? failed && point.below.failed === 0 : !isEmptySuite(point);
    if (stands) this.count(point, failed);
  }

  private count(point: Point, failed: boolean): void {
    const above = this.levels.slice(0, point.depth).flatMap(({ name }) => (name === null ? [] : [name]));
    const status = point.directive !== null ? "skipped" : failed ? "failed" : "passed";
    const message = point.diagnostic.message ?? (point.comments.join("\n") || null);
    this.tally.add({
      name: [...above, point.name].join(" > "),
      status,
      ms: point.diagnostic.ms ?? point.ms,
      message: failed ? message : null,
    });
  }

  private level(depth: number): Level {
    for (let next = this.levels.length; next <= depth; next++) this.levels.push(newLevel());
    return this.levels[depth] ?? newLevel();
  }
}

const newLevel = (): Level => ({ points: 0, failed: 0, name: null });

const POINT = /^(not )?ok\b(?: +(\d+))?(?: *- *| +|$)(.*)$/s;
const PLAN = /^1\.\.(\d{1,9})(?:\s+#\s*(.*))?$/;

/** A suite of node:test that ran nothing is no test. */
const isEmptySuite = (point: Point): boolean => point.ok && point.diagnostic.type === "suite";

/** `description # SKIP reason`, `description # time=12ms {`; a `#` of the description itself is written `\#`. */
function describe(text: string): Pick<Point, "name" | "directive" | "ms"> & { readonly brace: boolean } {
  const brace = / \{$/.test(text);
  const plain = brace ? text.slice(0, -2) : text;
  const directive = /(?:^|[^\\])#\s*(skip|todo)\b/i.exec(plain);
  const time = /(?:^|\s)#\s*time=([\d.]{1,15})(ms|s)\s*$/.exec(plain);
  const end = Math.min(
    directive ? plain.indexOf("#", directive.index) : plain.length,
    time?.index ?? plain.length,
  );
  return {
    name: unescapeTap(plain.slice(0, end)).trim(),
    directive: directive ? (directive[1]?.toLowerCase() === "todo" ? "todo" : "skip") : null,
    ms: time ? Number(time[1]) * (time[2] === "s" ? 1000 : 1) || null : null,
    brace,
  };
}

const unescapeTap = (text: string): string => text.replace(/\\([\\#])/g, "$1");
