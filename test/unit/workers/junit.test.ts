// Goal: JUnit XML of the common producers is read right, and no XML, however hostile, is believed, expanded or costly.
// Method: documents as the producers write them, then broken, lying and bomb-like ones, with time and memory watched.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readJUnit } from "../../../workers/reports/junit.ts";

const report = (text: string) => {
  const reading = readJUnit(text);
  return reading.ok ? reading.report : null;
};
const why = (text: string) => {
  const reading = readJUnit(text);
  return reading.ok ? "read" : reading.why;
};

describe("producers", () => {
  test("pytest", () => {
    const text = `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.1">
      <testcase classname="tests.test_a.TestX" name="test_one" time="0.001"/>
      <testcase classname="tests.test_a" name="test_two" time="0.25"><failure message="assert 1 == 2&#10; +  where">def test_two(): ...</failure></testcase>
      <testcase classname="tests.test_a" name="test_three"><skipped type="pytest.skip" message="no">a</skipped></testcase>
      <testcase classname="" name="tests.test_b"><error message="collection failure">ImportError</error></testcase>
      </testsuite></testsuites>`;
    expect(report(text)).toMatchObject({
      totals: { tests: 4, passed: 1, failed: 2, skipped: 1 },
      failing: [
        {
          name: "tests.test_a > test_two",
          status: "failed",
          ms: 250,
          message: "assert 1 == 2 + where",
        },
        { name: "pytest > tests.test_b", message: "collection failure" },
      ],
      listsCut: false,
    });
  });

  test("node:test: nested suites, the class that says nothing, text with markup in it", () => {
    const text = `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
	<testcase name="top" time="0.0008" classname="test"/>
	<testsuite name="parent" time="0.002" tests="2" failures="1">
		<testcase name="child &lt;b>" classname="test" failure="boom">
			<failure type="testCodeFailure">
<![CDATA[Error: <boom> & more]]>
			</failure>
		</testcase>
	</testsuite>
</testsuites>
<!-- tests 2 -->
`;
    expect(report(text)?.tests.map(({ name }) => name)).toEqual(["top", "parent > child <b>"]);
    expect(report(text)?.failing[0]?.message).toBe("Error: <boom> & more");
  });

  test("surefire: one suite, output beside the verdict, rerun verdicts do not fail a test", () => {
    const text = `<testsuite name="com.x.ATest" tests="2">
      <properties><property name="a" value="<"/></properties>
      <testcase name="a" classname="com.x.ATest" time="1.5"><rerunFailure message="flaky"/><system-out><![CDATA[<failure/>]]></system-out></testcase>
      <testcase name='b' classname='com.x.ATest'><failure message='no'>trace</failure><error message="later"/></testcase>
    </testsuite>`;
    expect(report(text)).toMatchObject({
      totals: { tests: 2, passed: 1, failed: 1, skipped: 0 },
      failing: [{ name: "com.x.ATest > b", message: "no" }],
    });
  });

  test("a suite whose set-up broke is a failed test of its name", () => {
    const text = '<testsuites><testsuite name="db"><error message="refused"/></testsuite></testsuites>';
    expect(report(text)).toMatchObject({
      totals: { tests: 1, failed: 1 },
      failing: [{ name: "db", message: "refused" }],
    });
  });

  test("what a suite claims about itself is not believed", () => {
    expect(
      report('<testsuite tests="900" failures="0" name="x"><testcase name="a"/></testsuite>')?.totals.tests,
    ).toBe(1);
  });
});

describe("documents that are refused", () => {
  test.each([
    ["", "it holds no element"],
    ["hello", "it holds text outside its elements"],
    ["<html></html>", "<html> is not a JUnit report"],
    ["<testsuite><testcase name='a'>", "it ends inside <testcase>"],
    ["<testsuite></testsuites>", "</testsuites> closes <testsuite>"],
    ["<testsuite/><testsuite/>", "<testsuite> is not a JUnit report"],
    ["</testsuite>", "</testsuite> closes <>"],
    ["<testsuite", "a tag does not end"],
    ["<testsuite><!-- ", "a comment does not end"],
    ["<testsuite><![CDATA[ ", "a CDATA section does not end"],
    ["<testsuite>< a/></testsuite>", "it holds a malformed tag"],
    ['<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>', "it holds a document type; none is accepted"],
    [
      '<!DOCTYPE a [<!ENTITY x "y">]><testsuite>&x;</testsuite>',
      "it holds a document type; none is accepted",
    ],
    [`<testsuites>${"<testsuite>".repeat(100)}`, "it is nested deeper than 64 levels"],
  ])("%j: %s", (text, expected) => {
    expect(why(text)).toBe(expected);
  });
});

describe("hostile documents", () => {
  test("entities that are not XML's own stay text; control characters become escapes", () => {
    const text =
      '<testsuite><testcase name="&x;&#27;[31m&#x202e;&#0;"><failure message="&amp;lt;"/></testcase></testsuite>';
    expect(report(text)?.failing).toEqual([
      { name: "&x;\\u001b[31m\\u202e&#0;", status: "failed", message: "&lt;" },
    ]);
  });

  test.each([
    ["a million empty elements", `<testsuite>${"<a/>".repeat(1_000_000)}</testsuite>`],
    ["half a million tests", `<testsuite>${'<testcase name="a"/>'.repeat(500_000)}</testsuite>`],
    ["attributes without end", `<testsuite ${'a="1" '.repeat(150_000)}/>`],
    ["white space without end", `<testsuite${" ".repeat(1_000_000)}/>`],
    ["a name without end", `<testsuite><${"a".repeat(1_000_000)}/></testsuite>`],
    ["quotes", `<testsuite a="${"'".repeat(1_000_000)}"/>`],
    ["openings", "<".repeat(4_000_000)],
    ["an entity storm", `<testsuite><testcase name="${"&amp;".repeat(200_000)}"/></testsuite>`],
    [
      "text",
      `<testsuite><testcase name="a"><failure>${"x ".repeat(4_000_000)}</failure></testcase></testsuite>`,
    ],
  ])("%s costs little memory and ends", (_, text) => {
    Bun.gc(true);
    const heap = process.memoryUsage().heapUsed;
    readJUnit(text);
    expect(process.memoryUsage().heapUsed - heap).toBeLessThan(400_000_000);
  });

  test("no text makes it throw", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "<testsuite>",
        "</testsuite>",
        "<testcase name='a'>",
        "</testcase>",
        "<failure/>",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "&#xffffff;",
      ),
      fc.string({ maxLength: 20 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 20 }), (parts) => {
        readJUnit(`<testsuite>${parts.join("")}`);
      }),
      { numRuns: 500 },
    );
  });
});
