// A process of its own for the tests of activation on small and read-only disks: prints what came of it.

import { activate } from "../../../src/agent/activate.ts";
import { systemRandom } from "../../../src/agent/clock.ts";
import { resolveDirectories } from "../../../src/agent/directories.ts";
import { httpTransport } from "../../../src/agent/transport.ts";
import { isFault } from "../../../src/fault/fault.ts";
import { FINGERPRINT } from "../../support/authority.ts";

const [, , stateDir = "", url = "", token = ""] = process.argv;
const input = {
  url,
  token,
  force: false,
  labels: {},
  dirs: resolveDirectories({ stateDir }, {}),
  version: "1.2.3",
  hostname: "host",
};
try {
  const clock = { wallMs: Date.now, bootMs: () => performance.now() };
  const fingerprint = () => FINGERPRINT;
  const { agent_id } = await activate(input, {
    transport: httpTransport,
    clock,
    random: systemRandom,
    fingerprint,
  });
  console.log(JSON.stringify({ agent_id }));
} catch (error) {
  if (!isFault(error)) throw error;
  console.log(JSON.stringify(error));
}
