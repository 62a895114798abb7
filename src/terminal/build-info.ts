import { readFileSync } from "node:fs";

declare const __AGENTINA_VERSION__: string | undefined;
declare const __AGENTINA_COMMIT__: string | undefined;
declare const __AGENTINA_DATE__: string | undefined;
declare const __AGENTINA_TARGET__: string | undefined;
declare const __AGENTINA_DEV_KEY_PEM__: string | undefined;

/** What this program is. A build bakes it in; a run from sources answers for itself. */
export interface BuildInfo {
  readonly version: string;
  /** Full commit hash, `-dirty` appended when it was built from something else; `source` for a run from sources. */
  readonly commit: string;
  /** ISO 8601 in UTC, or `unknown`; `source` for a run from sources. */
  readonly date: string;
  /** `linux-x64`, …; `source` for a run from sources. */
  readonly target: string;
  /** Version of the Bun runtime inside. */
  readonly bun: string;
  /** SPKI PEM of the development key this build trusts; null in releases and runs from sources. */
  readonly devKeyPem: string | null;
  /** False for a run from sources. */
  readonly compiled: boolean;
}

export const BUILD: BuildInfo = {
  version: typeof __AGENTINA_VERSION__ === "string" ? __AGENTINA_VERSION__ : sourceVersion(),
  commit: typeof __AGENTINA_COMMIT__ === "string" ? __AGENTINA_COMMIT__ : "source",
  date: typeof __AGENTINA_DATE__ === "string" ? __AGENTINA_DATE__ : "source",
  target: typeof __AGENTINA_TARGET__ === "string" ? __AGENTINA_TARGET__ : "source",
  bun: Bun.version,
  devKeyPem: (typeof __AGENTINA_DEV_KEY_PEM__ === "string" && __AGENTINA_DEV_KEY_PEM__) || null,
  compiled: typeof __AGENTINA_TARGET__ === "string",
};

/** Only a run from sources has the file; a build has the constant instead and drops this. */
function sourceVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return String(manifest.version);
}
