// A process of its own for the test of the log on a full disk: fills /mnt, frees it, prints the log.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { AgentLog } from "../../../src/agent/agent-log.ts";

writeFileSync("/mnt/ballast", "x".repeat(4096));
const log = new AgentLog("/mnt/log", Date.now, () => undefined);
for (let n = 0; n < 200; n++) log.write("info", "work.done", { n });
rmSync("/mnt/ballast");
log.write("info", "disk.freed");
log.close();
process.stdout.write(readFileSync("/mnt/log/agent.log"));
