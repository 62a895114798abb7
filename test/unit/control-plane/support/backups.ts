// Backups of real Control Planes, and places to bring them back to.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BackupMade, backUp } from "../../../../src/control-plane/backup/back-up.ts";
import { type Restored, type RestoreOptions, restore } from "../../../../src/control-plane/backup/restore.ts";
import { dataPaths } from "../../../../src/control-plane/data/data-dir.ts";
import { startTestControlPlane, type TestControlPlane } from "./control-plane.ts";

/** What a test made, to be taken away after it. */
export class Places {
  private readonly cleanups: (() => Promise<unknown>)[] = [];

  async clean(): Promise<void> {
    for (const cleanup of this.cleanups.splice(0).reverse()) await cleanup();
  }

  /** A fresh directory. */
  async scratch(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), "agentina-backup-"));
    this.cleanups.push(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  /** A Control Plane that serves. */
  async start(): Promise<TestControlPlane> {
    const control = await startTestControlPlane();
    this.cleanups.push(() => control.close());
    return control;
  }

  async backup(control: TestControlPlane, name = "copy"): Promise<BackupMade> {
    return await backUp(dataPaths(dirOf(control)), join(await this.scratch(), name), ABOUT);
  }
}

export const ABOUT = { version: "1.2.3", nowMs: Date.now() };

export const dirOf = (control: TestControlPlane): string => control.running().paths.root;

export const into = (dataDir: string, from: string, over: Partial<RestoreOptions> = {}): Promise<Restored> =>
  restore({ from, dataDir, inPlace: false, ledger: null, nowMs: Date.now(), ...over });

/** Stops the server, puts the backup in its place, starts it again. */
export const bringBack = (control: TestControlPlane, { path }: BackupMade): Promise<void> =>
  control.restart(() => into(dirOf(control), path, { inPlace: true }));
