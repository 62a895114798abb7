// Goal: a fault carries its code, its words and its exit status, and outside text cannot act on a terminal through it.
// Method: make faults with hostile parameters and read every part of them.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { asFault, fault, invariant, isFault, printable, reasonOf } from "../../../src/fault/fault.ts";

describe("a fault", () => {
  test("fills its texts and keeps its cause", () => {
    const cause = new Error("EACCES");
    const made = fault("CLI_INPUT_UNREADABLE", { path: "/x", why: "no" }, cause);
    expect(made.message).toBe('Cannot read "/x": no');
    expect(made.cause).toBe(cause);
    expect(made.toJSON()).toEqual({
      code: "CLI_INPUT_UNREADABLE",
      message: 'Cannot read "/x": no',
      remedy: "Check the path and its permissions",
      exit: 66,
    });
  });

  test("does not fill braces that came in with a value", () => {
    const made = fault("CLI_INPUT_UNREADABLE", { path: "{why}", why: "secret" });
    expect(made.message).toBe('Cannot read "{why}": secret');
  });

  test("is told apart by code, never by text", () => {
    const made = fault("LEASE_NOT_HELD");
    expect(isFault(made)).toBe(true);
    expect(isFault(made, "LEASE_NOT_HELD")).toBe(true);
    expect(isFault(made, "API_NOT_FOUND")).toBe(false);
    expect(isFault(new Error("LEASE_NOT_HELD"))).toBe(false);
  });

  test("of anything else thrown is INTERNAL_ERROR with what was thrown", () => {
    const error = new TypeError("x is not a function");
    expect(asFault(error).code).toBe("INTERNAL_ERROR");
    expect(asFault(error).message).toContain("x is not a function");
    expect(asFault(error).cause).toBe(error);
    expect(asFault("text").message).toContain("text");
    expect(asFault(undefined).message).toContain("undefined");
    const known = fault("LEASE_NOT_HELD");
    expect(asFault(known)).toBe(known);
  });
});

test("printable leaves nothing a terminal acts on, and no text too long to read", () => {
  expect(printable("\u001b[31mred\u0007\u202eevil\u2028")).toBe("\\u001b[31mred\\u0007\\u202eevil\\u2028");
  expect(printable("x".repeat(1000))).toHaveLength(401);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 600 }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    }),
    { numRuns: 500 },
  );
});

test("reasonOf is short and honest", () => {
  expect(reasonOf(new Error("boom"))).toBe("boom");
  expect(reasonOf(new RangeError(""))).toBe("RangeError");
  expect(reasonOf(null)).toBe("null");
});

test("an invariant that does not hold is our own bug, not a fault", () => {
  expect(() => invariant(false, "two is one")).toThrow("Invariant broken: two is one");
  expect(() => invariant(true, "")).not.toThrow();
});
