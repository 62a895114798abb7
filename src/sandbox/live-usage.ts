import { readdirSync, readFileSync } from "node:fs";
import type { ProcessUsage } from "./libc.ts";

/** USER_HZ: /proc counts CPU time in hundredths of a second on every Linux this runs on (proc(5)). */
const TICK_MS = 10;
const PROCESSES_MAX = 4_096;

/**
 * What a process and all below it have used so far, read from /proc just before they are killed: the kernel reaps what
 * dies with its pid namespace without adding it to anybody's account.
 */
export function liveUsage(root: number): ProcessUsage {
  let ticks = 0;
  let rss = 0;
  const open = [String(root)];
  for (let seen = 0; open.length > 0 && seen < PROCESSES_MAX; seen++) {
    const pid = open.pop() ?? "";
    try {
      ticks += cpuTicks(readFileSync(`/proc/${pid}/stat`, "latin1"));
      rss = Math.max(rss, peakBytes(readFileSync(`/proc/${pid}/status`, "latin1")));
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        open.push(...readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").split(" ").filter(Boolean));
      }
    } catch {
      // ended while we looked; what it used is in its parent's account or lost
    }
  }
  return { cpu_ms: ticks * TICK_MS, max_rss_bytes: rss };
}

/** utime, stime, cutime, cstime: fields 14 to 17, counted behind the name, which may hold anything. */
function cpuTicks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

const peakBytes = (status: string): number => Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
