// bun dist-scripts/host-tools.ts start|test
// The programs of the host that a run needs: checks them, and where it may, installs what is missing.

import { existsSync, readFileSync } from "node:fs";
import { type CommandResult, capture } from "./command.ts";

interface HostTool {
  /** Any one of these on PATH will do. */
  readonly executables: readonly [string, ...string[]];
  readonly packages: { readonly debian: string; readonly ubuntu: string };
  readonly purpose: string;
}

const GIT: HostTool = {
  executables: ["git"],
  packages: { debian: "git", ubuntu: "git" },
  purpose: "checks out the repositories jobs work on",
};
const BUBBLEWRAP: HostTool = {
  executables: ["bwrap"],
  packages: { debian: "bubblewrap", ubuntu: "bubblewrap" },
  purpose: "encloses every job",
};
const OPENSSL: HostTool = {
  executables: ["openssl"],
  packages: { debian: "openssl", ubuntu: "openssl" },
  purpose: "cross-checks keys and signatures",
};
const CHROMIUM: HostTool = {
  executables: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
  packages: { debian: "chromium", ubuntu: "chromium-browser" },
  purpose: "is the browser of the tests",
};

const TOOLS_FOR = {
  start: [GIT, BUBBLEWRAP, OPENSSL],
  test: [GIT, BUBBLEWRAP, OPENSSL, CHROMIUM],
} as const;

export type Occasion = keyof typeof TOOLS_FOR;

/** What this host is: what os-release(5) calls itself, and who runs this. */
export interface Host {
  readonly distribution: "debian" | "ubuntu" | "other";
  readonly uid: number;
}

/** Makes sure every tool for `occasion` is there. Throws a sentence with the remedy. */
export function ensureHostTools(occasion: Occasion, host: Host): void {
  const missing = missingTools(occasion, Bun.which);
  if (missing.length === 0) return;
  const remedy = installCommand(missing, host);
  if (remedy === undefined || host.uid !== 0) throw new Error(explain(missing, remedy));

  installWithApt(aptPackages(missing, host), remedy);
  const still = missingTools(occasion, Bun.which);
  if (still.length > 0) throw new Error(explain(still, remedy));
}

/** Which tools for `occasion` are not to be found. */
export function missingTools(occasion: Occasion, find: (executable: string) => string | null): HostTool[] {
  return TOOLS_FOR[occasion].filter((tool) => !tool.executables.some((name) => find(name) !== null));
}

/** The one line that installs `tools` on this host; nothing where apt is not its package manager. */
export function installCommand(tools: readonly HostTool[], host: Host): string | undefined {
  if (host.distribution === "other") return undefined;
  const sudo = host.uid === 0 ? "" : "sudo ";
  const packages = aptPackages(tools, host).join(" ");
  return `${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${packages}`;
}

/** Reads os-release(5): the distribution itself, else the one it says it is like. */
export function distributionIn(osRelease: string): Host["distribution"] {
  const names = [...osRelease.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)"?$/gm)].flatMap((line) =>
    line[1]?.split(" "),
  );
  if (names.includes("ubuntu")) return "ubuntu";
  return names.includes("debian") ? "debian" : "other";
}

/** The host this runs on. */
export function thisHost(): Host {
  const file = "/etc/os-release";
  return {
    distribution: distributionIn(existsSync(file) ? readFileSync(file, "utf8") : ""),
    uid: process.getuid?.() ?? -1,
  };
}

function aptPackages(tools: readonly HostTool[], { distribution }: Host): string[] {
  return tools.map(({ packages }) => (distribution === "ubuntu" ? packages.ubuntu : packages.debian));
}

function installWithApt(packages: readonly string[], remedy: string): void {
  console.error(`Installing missing programs of the host: ${packages.join(", ")} ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const steps = [["update"], ["install", "-y", "--no-install-recommends", ...packages]];
  for (const step of steps) {
    const result = capture(["apt-get", "-q", ...step], { env });
    if (result.status !== 0) throw new Error(explainApt(`apt-get ${step[0]}`, result, remedy));
  }
}

function explain(missing: readonly HostTool[], remedy: string | undefined): string {
  const lines = missing.map(({ executables, purpose }) => `  ${executables[0]}: ${purpose}`);
  const how =
    remedy === undefined
      ? "Install them with this system's package manager, then run the command again."
      : `Install them with this line, then run the command again:\n\n  ${remedy}`;
  return `Cannot go on: programs of the host are missing\n${lines.join("\n")}\n\n${how}`;
}

function explainApt(step: string, { status, stdout, stderr }: CommandResult, remedy: string): string {
  const said = `${stdout}${stderr}`.trim().split("\n").slice(-12).join("\n  ");
  return (
    `Cannot install missing programs of the host: "${step}" ended with status ${status}\n  ${said}\n\n` +
    `When the package source answers again, run this and then the command:\n\n  ${remedy}`
  );
}

if (import.meta.main) {
  try {
    ensureHostTools(process.argv[2] === "test" ? "test" : "start", thisHost());
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
