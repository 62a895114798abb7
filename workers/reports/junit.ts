import { type FoundTest, type TestReport, TestTally } from "./test-tally.ts";
import { decodeXml, scanXml, XmlProblem, xmlAttributes } from "./xml-scan.ts";

export type JUnitReading =
  | { readonly ok: true; readonly report: TestReport }
  | { readonly ok: false; readonly why: string };

const MESSAGE_CHARS_MAX = 2_000;

/** A testcase, or a suite (whose own failure counts as a test of its name). */
interface Subject {
  readonly kind: "suite" | "case";
  readonly name: string;
  readonly ms: number | null;
  status: FoundTest["status"];
  message: string;
}

/** One open element: a subject, a verdict about one (its text may be the message), or something of no interest. */
type Frame =
  | Subject
  | { readonly kind: "verdict"; readonly about: Subject; readonly wantsText: boolean }
  | null;

/**
 * Reads a JUnit XML report: any nesting of testsuites and testsuite, one test per testcase. A failure or error outside a
 * testcase (a suite whose set-up broke) counts as one failed test of the suite's name. What suites claim about
 * themselves in attributes is not believed.
 */
export function readJUnit(text: string): JUnitReading {
  try {
    const reader = new JUnitReader();
    for (const event of scanXml(text)) {
      if (event.type === "open") reader.open(event.name, event.tag);
      else if (event.type === "close") reader.close();
      else reader.text(event.text, event.raw);
    }
    if (!reader.sawRoot) return { ok: false, why: "it holds no element" };
    return { ok: true, report: reader.tally.report("junit", null) };
  } catch (error) {
    if (error instanceof XmlProblem) return { ok: false, why: error.message };
    throw error;
  }
}

class JUnitReader {
  readonly tally = new TestTally();
  sawRoot = false;
  private readonly frames: Frame[] = [];

  open(name: string, tag: string): void {
    const isSuite = name === "testsuite" || name === "testsuites";
    if (this.frames.length === 0) {
      if (!isSuite || this.sawRoot) throw new XmlProblem(`<${name.slice(0, 100)}> is not a JUnit report`);
      this.sawRoot = true;
    }
    const parent = this.frames.at(-1);
    if (isSuite) this.frames.push(suiteOf(tag));
    else if (parent?.kind === "suite" && name === "testcase") this.frames.push(caseOf(tag, parent.name));
    else this.frames.push(parent && parent.kind !== "verdict" ? verdictOf(name, tag, parent) : null);
  }

  close(): void {
    const frame = this.frames.pop();
    if (!frame || frame.kind === "verdict") return;
    if (frame.kind === "suite" && frame.status !== "failed") return;
    const { name, status, ms, message } = frame;
    this.tally.add({ name, status, ms, message: status === "failed" ? message : null });
  }

  text(text: string, raw: boolean): void {
    const frame = this.frames.at(-1);
    if (frame === undefined && text.trim() !== "") throw new XmlProblem("it holds text outside its elements");
    if (frame?.kind !== "verdict" || !frame.wantsText) return;
    const { about } = frame;
    if (about.message.length >= MESSAGE_CHARS_MAX) return;
    const part = text.slice(0, MESSAGE_CHARS_MAX);
    about.message += raw ? part : decodeXml(part);
  }
}

function suiteOf(tag: string): Subject {
  const name = xmlAttributes(tag).get("name") ?? "";
  return { kind: "suite", name, ms: null, status: "passed", message: "" };
}

/** `class > name`; node:test writes the class "test" everywhere, which says less than the suite's name. */
function caseOf(tag: string, suite: string): Subject {
  const attributes = xmlAttributes(tag);
  const name = attributes.get("name") ?? "";
  const className = attributes.get("classname") ?? "";
  const group = className === "" || className === "test" ? suite : className;
  const seconds = Number(attributes.get("time") || Number.NaN);
  return {
    kind: "case",
    name: group === "" || group === name ? name : `${group} > ${name}`,
    ms: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null,
    status: "passed",
    message: "",
  };
}

/** The first failure decides; `skipped` only counts while nothing failed. */
function verdictOf(name: string, tag: string, about: Subject): Frame {
  const bad = name === "failure" || name === "error";
  if (!bad && !(name === "skipped" && about.kind === "case")) return null;
  if (about.status === "failed") return null;
  about.status = bad ? "failed" : "skipped";
  about.message = xmlAttributes(tag).get("message")?.slice(0, MESSAGE_CHARS_MAX) ?? "";
  return { kind: "verdict", about, wantsText: about.message === "" };
}
