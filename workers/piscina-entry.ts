// piscina's own worker start-up under a name of ours: the compiled binary embeds it as
// /$bunfs/root/workers/piscina-entry.js, the one place the build points piscina to.
import "../node_modules/piscina/dist/worker.js";
