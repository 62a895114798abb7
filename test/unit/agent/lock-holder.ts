// A process of its own for the tests of the lock: `hold` takes it and stays, `ask` looks at it for a while as `status`
// does, `take` takes it and lets go.

import { lockHeld, takeLock } from "../../../src/agent/lock.ts";
import { isFault } from "../../../src/fault/fault.ts";

const [, , what, path = "", ms = "0"] = process.argv;

switch (what) {
  case "hold": {
    const lock = takeLock(path, "state");
    // A child outlives its parent; it must not keep the lock.
    const child = Bun.spawn(["/bin/sleep", ms], { env: {}, stdio: ["ignore", "ignore", "ignore"] });
    console.log(`held ${process.pid} ${child.pid}`);
    await Bun.sleep(60_000);
    lock[Symbol.dispose]();
    break;
  }
  case "ask": {
    const end = performance.now() + Number(ms);
    let asked = 0;
    let held = 0;
    console.log("asking");
    while (performance.now() < end) {
      asked += 1;
      if (lockHeld(path)) held += 1;
    }
    console.log(JSON.stringify({ asked, held }));
    break;
  }
  case "take": {
    try {
      using _ = takeLock(path, "state");
      console.log("taken");
    } catch (error) {
      if (!isFault(error)) throw error;
      console.log(JSON.stringify({ code: error.code, params: error.params }));
    }
    break;
  }
}
