// npm run check: types, lint and formatting, then the tests that hold the house rules.

import { passThrough } from "./command.ts";

/** Types and lint over the whole repository; true when both are content. */
export async function checkSources(): Promise<boolean> {
  const checks = [
    ["node_modules/.bin/tsc", "--noEmit", "-p", "."],
    ["node_modules/.bin/biome", "check", "--error-on-warnings", "."],
  ];
  const passed: boolean[] = [];
  for (const argv of checks) passed.push((await passThrough(argv)) === 0);
  return passed.every(Boolean);
}

if (import.meta.main) {
  const sources = await checkSources();
  const rules = (await passThrough([process.execPath, "test", "test/unit/house"])) === 0;
  process.exit(sources && rules ? 0 : 1);
}
