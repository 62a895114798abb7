// A small real git repository for the demo and the tests: a shell library and its TAP tests, one of which fails.

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "./command.ts";

const LIBRARY = `# slug.sh: makes file names out of titles
slug() {
  printf '%s' "$1" | tr '[:upper:]' '[:lower:]' | tr -cs '[:alnum:]' '-' | sed 's/^-//; s/-$//'
}
`;

const TESTS = `#!/bin/sh
# Prints TAP version 13. The third test is wrong on purpose: slug does not shorten.
. ./slug.sh
number=0
failed=0
check() { # name, expected, found
  number=$((number + 1))
  if [ "$2" = "$3" ]; then
    echo "ok $number - $1"
  else
    failed=1
    echo "not ok $number - $1"
    printf '  ---\\n  message: "expected %s, found %s"\\n  ...\\n' "$2" "$3"
  fi
}
echo "TAP version 13"
echo "1..4"
check "lower-cases a title" "hello" "$(slug Hello)"
check "joins words with a dash" "hello-world" "$(slug 'Hello, World!')"
check "shortens a long title" "a-very-long-title" "$(slug 'A very long title that goes on')"
check "keeps digits" "release-2-0" "$(slug 'Release 2.0')"
exit $failed
`;

export interface ExampleRepository {
  readonly path: string;
  readonly url: string;
  readonly commit: string;
}

/** Makes the repository in `dir` and commits it. Throws with git's words when that fails. */
export function makeExampleRepository(dir: string, files: Record<string, string> = {}): ExampleRepository {
  mkdirSync(dir, { recursive: true });
  const all = { "slug.sh": LIBRARY, "test.sh": TESTS, ...files };
  for (const [name, text] of Object.entries(all)) writeFileSync(join(dir, name), text);
  chmodSync(join(dir, "test.sh"), 0o755);
  git(dir, "init", "--quiet", "--initial-branch=main");
  git(dir, "add", "--all");
  git(dir, "commit", "--quiet", "--message", "Slugs and their tests");
  return { path: dir, url: `file://${dir}`, commit: git(dir, "rev-parse", "HEAD").trim() };
}

function git(dir: string, ...words: string[]): string {
  const identity = { GIT_AUTHOR_NAME: "Example", GIT_AUTHOR_EMAIL: "example@invalid" };
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: dir,
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_NOSYSTEM: "1",
    ...identity,
    GIT_COMMITTER_NAME: identity.GIT_AUTHOR_NAME,
    GIT_COMMITTER_EMAIL: identity.GIT_AUTHOR_EMAIL,
  };
  const { status, stdout, stderr } = capture(["/usr/bin/git", "-C", dir, ...words], { env });
  if (status !== 0) throw new Error(`git ${words.join(" ")} failed: ${stderr}`);
  return stdout;
}

/** The job file for the example: run its tests, read TAP, no network. */
export const exampleJob = (repository: ExampleRepository): object => ({
  kind: "test.run",
  payload: {
    source: { type: "git", url: repository.url, commit: repository.commit },
    run: ["sh", "./test.sh"],
    report: { format: "tap" },
  },
  scope: { files: { read: [repository.path], write: ["./"] }, commands: "system", hosts: [], env: [] },
  limits: { timeout_s: 60 },
});
