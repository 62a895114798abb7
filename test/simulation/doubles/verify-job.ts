// The agent's verifyJob, noting what it let through.

import * as real from "../../../src/trust/job.ts";
import { noteVerified } from "../made-here.ts";

export const verifyJob: typeof real.verifyJob = async (envelope, ctx) => {
  const result = await real.verifyJob(envelope, ctx);
  if (result.verdict === "verified") noteVerified(result.job.claims);
  return result;
};
