// The simulation's process: the runtime is taken over first, then the programs are loaded into it.

import "./install.ts";

await import("./command.ts");
