// Goal: what a brand promises is kept by one function: only its verifier makes a verified job or order, and nothing else
// can say that it has one.
// Method: read every source for the cast that makes the brand.

import { expect, test } from "bun:test";
import { type SourceFile, sourceFiles } from "../../support/source-files.ts";

/** Brands that stand for a check, and the one file that makes each. */
const MAKERS: Readonly<Record<string, string>> = {
  VerifiedJob: "src/trust/job.ts",
  VerifiedOrder: "src/trust/order.ts",
};

/** Casts to the brand, and assertions of another spelling. */
const casts = ({ text }: SourceFile, brand: string): number =>
  [...text.matchAll(new RegExp(`\\bas (?:unknown as )?${brand}\\b|<${brand}>\\s*[({\\[]`, "g"))].length;

test.each(Object.entries(MAKERS))("%s is made in one place", async (brand, maker) => {
  const sources = await sourceFiles(["{src,workers}/**/*.{ts,tsx}"]);
  const made = sources.flatMap((file) => (casts(file, brand) > 0 ? [[file.path, casts(file, brand)]] : []));
  expect(made).toEqual([[maker, 1]]);
});

test.each(Object.entries(MAKERS))("the brand of %s stays inside its file", async (_, maker) => {
  const text = await Bun.file(maker).text();
  expect(text).toMatch(/^declare const verified: unique symbol;$/m);
  expect(text).not.toMatch(/export [^\n]*\bverified\b/);
});

test("a cast elsewhere would be noticed", () => {
  const forged = { path: "src/agent/x.ts", text: "run({ claims } as unknown as VerifiedJob);" };
  expect(casts(forged, "VerifiedJob")).toBe(1);
  expect(casts({ ...forged, text: "const job: VerifiedJob = result.job;" }, "VerifiedJob")).toBe(0);
});
