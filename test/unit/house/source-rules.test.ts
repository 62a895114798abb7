// Goal: the rules that no compiler or linter holds are held anyway.
// Method: read every file of the repository line by line against patterns, and try each pattern on a bad line.

import { describe, expect, test } from "bun:test";
import { SHIPPED, type SourceFile, sourceFiles, TESTS } from "../../support/source-files.ts";

const LONGEST_FILE_LINES = 400;

interface Rule {
  readonly name: string;
  readonly where: readonly string[];
  readonly pattern: RegExp;
  /** Files the rule does not speak of, with no further reason needed than their place. */
  readonly except: RegExp;
  /** A line that breaks it. */
  readonly example: string;
}

const NOWHERE = /^$/;
const CODE = ["{src,workers}/**/*.{ts,tsx}"];
const WRITTEN = [...SHIPPED, ...TESTS, "*.md", "docs/**/*.md"];
const THESE_TESTS = /^test\/unit\/house\//;

const RULES: readonly Rule[] = [
  {
    name: "no words of unfinished work",
    where: SHIPPED,
    // As an attribute or a CSS pseudo-element the last one is a word of HTML.
    pattern:
      /\b(?:TODO|FIXME|XXX|HACK|[Nn]ot implemented|[Uu]nimplemented|[Ss]tub|[Pp]laceholder(?!\s*[={]))\b/,
    except: NOWHERE,
    example: "// TODO: later",
  },
  {
    name: "no word of how this came to be written",
    where: WRITTEN,
    pattern: /\bD-\d+\b|\bissue #?\d+\b|\/work\/(?:main|shared)\b|\bthe lab\b|registry\.npmjs/i,
    except: THESE_TESTS,
    example: "// see D-7",
  },
  {
    name: "no silenced compiler",
    where: [...SHIPPED, ...TESTS],
    pattern: /@ts-(?:ignore|expect-error|nocheck)|biome-ignore-all/,
    except: THESE_TESTS,
    example: "// @ts-expect-error",
  },
  {
    name: "no shell from strings",
    where: CODE,
    pattern: /\bBun\.\$|\bexecSync\(|\bshell: true/,
    except: NOWHERE,
    example: "await Bun.$`ls`",
  },
  {
    name: "only a program's first file ends it",
    where: CODE,
    pattern: /\bprocess\.(?:exit|abort|reallyExit)\(/,
    except: /^src\/(?:main|control)\.ts$/,
    example: "process.exit(1)",
  },
  {
    name: "no mutable state at module level",
    where: CODE,
    pattern: /^(?:export )?(?:let|var) /,
    except: NOWHERE,
    example: "export let count = 0;",
  },
  {
    name: "no swallowed error",
    where: [...SHIPPED, ...TESTS],
    pattern: /\bcatch\s*(?:\([^)]*\))?\s*\{\s*\}|\.catch\(\(\w*\)\s*=>\s*\{\s*\}\)/,
    except: THESE_TESTS,
    example: "} catch {}",
  },
  {
    name: "no test that does not run",
    where: TESTS,
    pattern: /\b(?:test|it|describe)\.(?:only|skip|todo)\b/,
    except: THESE_TESTS,
    example: "test.skip('later', () => {});",
  },
];

describe("every file", () => {
  for (const rule of RULES) {
    test(`keeps to: ${rule.name}`, async () => {
      const files = (await sourceFiles(rule.where)).filter(({ path }) => !rule.except.test(path));
      expect(files.flatMap((file) => breaches(file, rule.pattern))).toEqual([]);
    });

    test(`could break: ${rule.name}`, () => {
      expect(breaches({ path: "example.ts", text: rule.example }, rule.pattern)).toHaveLength(1);
    });
  }

  test(`has at most ${LONGEST_FILE_LINES} lines`, async () => {
    const files = await sourceFiles([...SHIPPED, ...TESTS]);
    const long = files.filter(({ text }) => text.split("\n").length - 1 > LONGEST_FILE_LINES);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  test("is named for one thing: kebab-case, no drawer", async () => {
    const files = await sourceFiles([...SHIPPED, ...TESTS]);
    const misnamed = files.map(({ path }) => path).filter((path) => !isWellNamed(path));
    expect(misnamed).toEqual([]);
    expect(["src/utils.ts", "src/agent/helpers/x.ts", "src/agent/myLoop.ts"].filter(isWellNamed)).toEqual([]);
  });
});

function breaches({ path, text }: SourceFile, pattern: RegExp): string[] {
  return text
    .split("\n")
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}

function isWellNamed(path: string): boolean {
  const parts = path.replace(/^\./, "").split("/");
  const drawers = ["util", "utils", "helper", "helpers", "misc", "common"];
  return parts.every(
    (part) => /^[a-z0-9-]+(?:\.[a-z]+)*$/.test(part) && !drawers.includes(part.split(".")[0] ?? ""),
  );
}
