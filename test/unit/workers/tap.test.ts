// Goal: TAP of every producer we know counts as its author would count it, and no TAP, however hostile, does harm.
// Method: texts as the runners write them (node:test's recorded from node 20), then lies, floods and broken pieces.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { TapReader } from "../../../workers/reports/tap.ts";
import type { TestReport } from "../../../workers/reports/test-tally.ts";

function read(text: string, demanded = false): TestReport | null {
  const reader = new TapReader();
  reader.push(new TextEncoder().encode(text));
  return reader.finish(demanded);
}

const totals = (text: string) => read(text)?.totals;
const names = (text: string) => read(text)?.tests.map(({ name, status }) => `${status} ${name}`);

const NODE = `TAP version 13
# noise
# Subtest: top ok
ok 1 - top ok
  ---
  duration_ms: 0.981371
  ...
# Subtest: top fail
not ok 2 - top fail
  ---
  duration_ms: 1.230721
  location: '/tmp/a.test.mjs:3:1'
  failureType: 'testCodeFailure'
  error: |-
    Expected values to be strictly equal:
    
    1 !== 2
    
  code: 'ERR_ASSERTION'
  name: 'AssertionError'
  expected: 2
  actual: 1
  stack: |-
    TestContext.<anonymous> (file:///tmp/a.test.mjs:3:31)
    ok 99 - inside a stack
  ...
# Subtest: parent
    # Subtest: child ok
    ok 1 - child ok
      ---
      duration_ms: 0.122788
      ...
    # Subtest: child fail \\# hash
    not ok 2 - child fail \\# hash
      ---
      duration_ms: 1.42792
      error: 'boom ''quoted'''
      ...
    1..2
not ok 3 - parent
  ---
  duration_ms: 2.110474
  failureType: 'subtestsFailed'
  error: '1 subtest failed'
  ...
# Subtest: suite
    # Subtest: in suite
    ok 1 - in suite
      ---
      duration_ms: 0.237927
      ...
    # Subtest: skipped one
    ok 2 - skipped one # SKIP
      ---
      duration_ms: 0.096447
      ...
    # Subtest: todo fail
    not ok 3 - todo fail # TODO
      ---
      duration_ms: 0.126789
      error: 'x'
      ...
    # Subtest: nested
        # Subtest: deep
        ok 1 - deep
          ---
          duration_ms: 0.253997
          ...
        1..1
    ok 4 - nested
      ---
      duration_ms: 0.408136
      type: 'suite'
      ...
    # Subtest: empty
    ok 5 - empty
      ---
      duration_ms: 0.1
      type: 'suite'
      ...
    1..5
ok 4 - suite
  ---
  duration_ms: 1.594722
  type: 'suite'
  ...
1..4
# tests 9
# suites 3
# pass 3
# fail 3
# duration_ms 118.060953
`;

describe("node:test", () => {
  test("leaves are counted, parents are not, directives are set aside", () => {
    expect(totals(NODE)).toEqual({ tests: 8, passed: 4, failed: 2, skipped: 2 });
    expect(names(NODE)).toEqual([
      "passed top ok",
      "failed top fail",
      "passed parent > child ok",
      "failed parent > child fail # hash",
      "passed suite > in suite",
      "skipped suite > skipped one",
      "skipped suite > todo fail",
      "passed suite > nested > deep",
    ]);
  });

  test("messages and times come from the diagnostics", () => {
    expect(read(NODE)?.failing).toEqual([
      {
        name: "top fail",
        status: "failed",
        ms: 1.230721,
        message: "Expected values to be strictly equal: 1 !== 2",
      },
      { name: "parent > child fail # hash", status: "failed", ms: 1.42792, message: "boom 'quoted'" },
    ]);
    expect(read(NODE)?.problem).toBeNull();
  });

  test("a parent that fails although its children passed is a failed test", () => {
    const text = `# Subtest: parent
    ok 1 - child
    1..1
not ok 1 - parent
  ---
  error: 'after hook'
  ...
1..1
`;
    expect(totals(text)).toEqual({ tests: 2, passed: 1, failed: 1, skipped: 0 });
    expect(read(text)?.failing[0]).toMatchObject({ name: "parent", message: "after hook" });
  });
});

describe("other producers", () => {
  test("plain TAP 13, plan first, words around it", () => {
    const text = "> app@1.0.0 test\n> ./run\n\n1..3\nok 1\nok 2 - two\nnot ok 3 three\n# looks bad\nbye\n";
    expect(names(text)).toEqual(["passed (no name)", "passed two", "failed three"]);
    expect(read(text)?.failing[0]?.message).toBe("looks bad");
  });

  test("bats: comments after a failure are its message", () => {
    const text = "1..1\nnot ok 1 adds\n# (in test file a.bats, line 3)\n#   `[ 1 -eq 2 ]' failed\n";
    expect(read(text)?.failing[0]?.message).toBe("(in test file a.bats, line 3) `[ 1 -eq 2 ]' failed");
  });

  test("tape: expected and actual, CRLF", () => {
    const text =
      "TAP version 13\r\nnot ok 1 should be equal\r\n  ---\r\n    operator: equal\r\n    expected: 2\r\n    actual:   1\r\n  ...\r\n\r\n1..1\r\n";
    expect(read(text)?.failing[0]).toMatchObject({ name: "should be equal", message: "expected 2, got 1" });
  });

  test("Perl: subtests before their parent, directives in any case", () => {
    const text = `    ok 1 - a
    ok 2 # skip no database
    1..2
ok 1 - group
not ok 2 - later # todo not written
ok 3 - bonus # TODO works already
1..3
`;
    expect(totals(text)).toEqual({ tests: 4, passed: 1, failed: 0, skipped: 3 });
  });

  test("node-tap: buffered subtests and times", () => {
    const text = `TAP version 14
ok 1 - group # time=12.5ms {
    ok 1 - a # time=3ms
    not ok 2 - b
    1..2
}
ok 2 - next
1..2
`;
    expect(names(text)).toEqual(["passed group > a", "failed group > b", "passed next"]);
    expect(read(text)?.tests[0]?.ms).toBe(3);
  });

  test("streams one after the other add up", () => {
    expect(read("TAP version 13\n1..1\nok 1 - a\nTAP version 13\nok 1 - b\nok 2 - c\n1..2\n")).toMatchObject({
      totals: { tests: 3, passed: 3 },
      problem: null,
    });
  });
});

describe("what is wrong with a report", () => {
  test.each([
    ["1..3\nok 1\nok 2\n", "the plan announces 3 tests, 2 were reported"],
    ["1..1\nok 1\nok 2\n", "the plan announces 1 tests, 2 were reported"],
    ["1..2\nok 1\nBail out! no database\n", "Bail out! no database"],
  ])("%j", (text, problem) => {
    expect(read(text)?.problem).toBe(problem);
  });

  test("without a plan it is TAP only when TAP was asked for, and then incomplete", () => {
    expect(read("ok 1 - a\nok 2 - b\n")).toBeNull();
    expect(read("ok 1 - a\nok 2 - b\n", true)?.problem).toBe("the output ends before its plan");
  });

  test.each(["", "hello\n", "okay then\nnot okay\n", "  ok 1 indented\n", "1..2 is a range\n", "1..2\n"])(
    "%j is no TAP",
    (text) => expect(read(text)).toBeNull(),
  );

  test("a plan of nothing, with and without a reason", () => {
    const reader = (text: string) => {
      const tap = new TapReader();
      tap.push(new TextEncoder().encode(text));
      return { report: tap.finish(false), skipped: tap.skippedWhole };
    };
    expect(reader("1..0 # SKIP no display\n")).toMatchObject({
      report: { totals: { tests: 0 } },
      skipped: true,
    });
    expect(reader("TAP version 13\n1..0\n")).toMatchObject({
      report: { totals: { tests: 0 } },
      skipped: false,
    });
  });
});

describe("hostile output", () => {
  test("a carriage return or a line separator inside a name does not hide the test", () => {
    expect(totals("1..3\nok 1 - a\nnot ok 2 - b\rc\nnot ok 3 - d\u2028e\n")).toMatchObject({
      failed: 2,
      passed: 1,
    });
  });

  test("control characters and directions become escapes", () => {
    const report = read("1..1\nnot ok 1 - \u001b[31mred\u202e\u0000\n  ---\n  error: 'a\u0007b'\n  ...\n");
    expect(report?.failing[0]?.name).toBe("\\u001b[31mred\\u202e\\u0000");
    expect(report?.failing[0]?.message).toBe("a\\u0007b");
  });

  test("a million tests are counted and a few kept", () => {
    const reader = new TapReader();
    const chunk = new TextEncoder().encode("ok 1 - yes\nnot ok 2 - no\n".repeat(5_000));
    for (let i = 0; i < 100; i++) reader.push(chunk);
    reader.push(new TextEncoder().encode("1..1000000\n"));
    const report = reader.finish(false);
    expect(report).toMatchObject({
      totals: { tests: 1_000_000, passed: 500_000, failed: 500_000, skipped: 0 },
      listsCut: true,
      problem: null,
    });
    expect(report?.tests).toHaveLength(200);
    expect(report?.failing).toHaveLength(50);
  });

  test("a line without an end, names and messages without measure", () => {
    const long = "x".repeat(3_000_000);
    expect(totals(`ok 1 - ${long}\nok 2 - b\n1..1\n`)).toEqual({
      tests: 1,
      passed: 1,
      failed: 0,
      skipped: 0,
    });
    const report = read(
      `not ok 1 - ${"n".repeat(5_000)}\n  ---\n  error: |-\n${`    ${"m".repeat(900)}\n`.repeat(90)}  ...\n1..1\n`,
    );
    expect(report?.failing[0]?.name.length).toBeLessThanOrEqual(500);
    expect(report?.failing[0]?.message?.length).toBeLessThanOrEqual(500);
  });

  test("nesting without end and a block nobody closes", () => {
    let text = "";
    for (let depth = 0; depth < 500; depth++) text += `${" ".repeat(4 * depth)}ok 1 - d${depth}\n`;
    expect(read(`${text}1..1\n`)?.totals.failed).toBe(0);
    const open = "not ok 1 - a\n  ---\n  error: 'x'\nok 2 - b\n1..2\n";
    expect(totals(open)).toEqual({ tests: 2, passed: 1, failed: 1, skipped: 0 });
  });

  test("the same bytes in other pieces read the same", () => {
    const bytes = new TextEncoder().encode(`${NODE}ok 5 - ünïcödé ✓\n`);
    const whole = read(new TextDecoder().decode(bytes));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 40 }), (sizes) => {
        const reader = new TapReader();
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          reader.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(reader.finish(false)).toEqual(whole);
      }),
      { numRuns: 50 },
    );
  });

  test("no text makes it throw or count what is not there", () => {
    const line = fc.oneof(
      fc.constantFrom(
        "ok",
        "not ok 1 - a",
        "1..3",
        "  ---",
        "  ...",
        "    ok 1",
        "# Subtest: x",
        "}",
        "ok 1 - {",
      ),
      fc.string({ maxLength: 40 }),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
        const report = read(lines.join("\n"), true);
        if (report === null) return;
        const { tests, passed, failed, skipped } = report.totals;
        expect(tests).toBe(passed + failed + skipped);
        expect(tests).toBeLessThanOrEqual(lines.length);
      }),
      { numRuns: 500 },
    );
  });
});
