import { chmod, lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * Removes a tree a job has written, directories it left unwritable included (0555 as Go's module cache, 0000 as a prank).
 * Follows no link. Nothing of the job may be alive. Throws what is left as an error of node:fs.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    await makeRemovable(path); // EACCES, most likely; what it was the second removal tells
    await rm(path, { recursive: true, force: true });
  }
}

async function makeRemovable(root: string): Promise<void> {
  const open = [root];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const stat = await lstat(path);
    if (!stat.isDirectory()) continue;
    await chmod(path, 0o700);
    for (const item of await readdir(path, { withFileTypes: true })) {
      if (item.isDirectory()) open.push(join(path, item.name));
    }
  }
}
