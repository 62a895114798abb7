import { type Fault, fault } from "../fault/fault.ts";
import type { JobClaims } from "../protocol/job.ts";
import { LIMITS } from "../protocol/limits.ts";

/**
 * Why there is no room for a job on the file system of `path`; null when there is. What is kept clear is a reserve, so
 * that journal, receipts and logs can always be written, and the job's inputs, whose sizes are known. The workspace's
 * limit is a ceiling and not a need: most jobs use a hundredth of it.
 */
export function diskProblem(
  path: string,
  free: { readonly total: number; readonly available: number },
  { blobs = [] }: Pick<JobClaims, "blobs">,
): Fault | null {
  const needed = LIMITS.DISK_RESERVE_BYTES + blobs.reduce((sum, { size }) => sum + size, 0);
  // A file system that cannot be asked says nothing; whoever writes there hears the reason.
  if (free.total === 0 || free.available >= needed) return null;
  return fault("HOST_DISK_LOW", { path, free: free.available, needed });
}
