// Goal: every failure a person can meet reads alike and says what to do, and the page about them is never stale.
// Method: hold every row of the registry against the grammar of a fault, and generate docs/errors.md again.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ERRORS_PAGE, errorsPage, ROOMS } from "../../../dist-scripts/error-docs.ts";
import { EXIT } from "../../../src/fault/exit.ts";
import { FAULTS } from "../../../src/fault/registry.ts";
import type { FaultRow } from "../../../src/fault/table.ts";
import { ROOT } from "../../support/source-files.ts";

const ROWS: readonly (readonly [string, FaultRow])[] = Object.entries(FAULTS);

describe("the registry", () => {
  test.each(ROWS)("%s keeps to the grammar", (code, { sentence, remedy, exit }) => {
    expect(code).toMatch(/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/);
    expect(sentence).toMatch(/^Cannot [a-z]/);
    expect(sentence).not.toMatch(/\.$|!|\n/);
    expect(remedy).toMatch(/^([A-Z]|\{remedy\}$)/);
    expect(remedy).not.toMatch(/\.$|!|\n/);
    expect(Object.values(EXIT)).toContain(exit);
    expect(exit).not.toBe(EXIT.OK);
    for (const text of [sentence, remedy]) {
      expect(text.replace(/\{[a-z_]+\}/g, "").match(/[{}]/)).toBeNull();
    }
  });

  test("no code stands in two rooms, and no room is left out of the page", () => {
    const codes = ROOMS.flatMap(([, table]) => Object.keys(table));
    expect(new Set(codes).size).toBe(codes.length);
    expect(codes.sort()).toEqual(Object.keys(FAULTS).sort());
  });
});

test("docs/errors.md is what the registry says (bun dist-scripts/error-docs.ts writes it)", async () => {
  expect(await Bun.file(join(ROOT, ERRORS_PAGE)).text()).toBe(errorsPage());
});
