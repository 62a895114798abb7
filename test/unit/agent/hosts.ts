// Hosts to activate: fresh state directories, what is in them, and who they say they are.

import { afterAll } from "bun:test";
import { lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Identity, loadForBoot } from "../../../src/agent/identity.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import type { ActivationDesk } from "./activation-desk.ts";

/** Names of state directories that do not exist yet, each in a place of its own. Gone when the file's tests are over. */
export function hostNames(): () => string {
  const root = scratchDirectory("activate");
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  let hosts = 0;
  return () => join(root, String(++hosts), "state");
}

/** Every file below, with its mode and content. */
export function tree(dir: string): Record<string, string> {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    names.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const mode = (lstatSync(path).mode & 0o7777).toString(8);
      return [path.slice(dir.length + 1), entry.isFile() ? `${mode} ${readFileSync(path, "hex")}` : mode];
    }),
  );
}

/** The same without what every attempt leaves: the lock, and keys that wait for the next try. */
export const lasting = (dir: string): Record<string, string> =>
  Object.fromEntries(Object.entries(tree(dir)).filter(([path]) => !/agent\.lock|\.next\.pem$/.test(path)));

/** Who a start of the agent would be: a host whose seal finds anything is an error here. */
export async function identityOf(desk: ActivationDesk, dir: string): Promise<Identity> {
  const boot = await loadForBoot(dir, null, desk.time.nowS());
  if (boot.standing === "sound") return boot.identity;
  throw new Error(`tampered: ${JSON.stringify(boot.verdict.findings)}`);
}
