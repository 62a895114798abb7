import type { Log } from "./agent-log.ts";
import type { Judgement } from "./intake.ts";

/** Writes what became of an offer into the log. Returns whether the Control Plane should hear of it soon. */
export function tellJudgement(log: Log, judgement: Judgement): boolean {
  switch (judgement.verdict) {
    case "reject": {
      const { code, message: why } = judgement.why;
      log("warn", "job.rejected", { envelope: judgement.sha256, code, why });
      return true;
    }
    case "refuse": {
      const { code, message: why } = judgement.why;
      log("warn", "job.refused", { job: judgement.claims.jti, code, why });
      return true;
    }
    case "return":
      log("info", "job.returned", { job: judgement.claims.jti });
      return true;
    case "accept":
      log("info", "job.accepted", { job: judgement.claims.jti, attempt: judgement.claims.attempt });
      return true;
    case "known":
      return false;
  }
}
