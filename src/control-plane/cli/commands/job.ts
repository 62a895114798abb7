import * as v from "valibot";
import { EXIT, type ExitStatus } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import {
  API,
  JOB_STATES,
  JobListSchema,
  type JobSummary,
  type JobView,
  JobViewSchema,
} from "../../../protocol/api.ts";
import { JobIdSchema } from "../../../protocol/ids.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine, type Terminal } from "../../../terminal/output.ts";
import { SETTINGS } from "../../settings.ts";
import { type ConnectionArgs, connect, connectionArgs } from "../connection.ts";
import { numberArg } from "../number-arg.ts";
import { renderJob } from "../render-job.ts";
import { duration, table } from "../text.ts";
import { watchForPeople, watchJob } from "../watch-job.ts";

const SHOW = "agentina-control job show";
const WATCH = "agentina-control job watch";
const LIST = "agentina-control job list";
const CANCEL = "agentina-control job cancel";

const idArg = { id: { type: "positional", description: "The job's id, job_…" } } as const;

export const showCommand = command({
  meta: {
    description:
      "Shows what ran, within which scope, the verdict with each failing test, and the receipt, whose signature and place in the agent's chain are checked at every asking.",
    examples: [`${SHOW} job_0123456789abcdefghij`, `${SHOW} job_0123456789abcdefghij --json`],
    trustVariables: "by-url",
  },
  args: { ...idArg, ...connectionArgs },
  run: async (args, terminal) => {
    const id = jobIdOf(args.id, SHOW);
    const client = await connect(args, process.env, SHOW);
    const job = await client.json({ method: "GET", path: API.job(id) }, JobViewSchema);
    terminal.out(args.json ? jsonLine(job) : renderJob(job, terminal.colour.out));
    return EXIT.OK;
  },
});

export const watchCommand = command({
  meta: {
    description:
      "Prints a job's log as it grows and its steps as they come, and ends with the outcome. A Control Plane that is restarted meanwhile is waited for.",
    examples: [`${WATCH} job_0123456789abcdefghij`, `${WATCH} job_0123456789abcdefghij --json`],
    exits: [[EXIT.NEGATIVE, "the job did not succeed"]],
    trustVariables: "by-url",
  },
  args: { ...idArg, ...connectionArgs },
  run: (args, terminal) => followJob(jobIdOf(args.id, WATCH), args, terminal, WATCH),
});

export const listCommand = command({
  meta: {
    description: "Lists jobs, newest first.",
    examples: [LIST, `${LIST} --state running`, `${LIST} --limit 5 --json`],
    trustVariables: "by-url",
  },
  args: {
    state: { type: "enum", options: JOB_STATES, description: "Only jobs in this state" },
    limit: {
      type: "string",
      valueHint: "N",
      default: "20",
      description: "At most so many",
    },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const limit = numberArg(args.limit, "--limit", LIST, { min: 1, max: SETTINGS.JOBS_LISTED });
    const client = await connect(args, process.env, LIST);
    const query = `limit=${limit}${args.state === undefined ? "" : `&state=${args.state}`}`;
    const list = await client.json({ method: "GET", path: `${API.jobs}?${query}` }, JobListSchema);
    if (args.json) terminal.out(jsonLine(list));
    else terminal.out(jobTable(list.jobs));
    return EXIT.OK;
  },
});

export const cancelCommand = command({
  meta: {
    description:
      "Cancels a job. One that is queued is over at once; of any other its agent is told, and it ends with the agent's receipt, or with its lease when the agent stays silent. It is never run again; a receipt that says it had finished first wins.",
    examples: [`${CANCEL} job_0123456789abcdefghij --reason "wrong branch"`],
    trustVariables: "by-url",
  },
  args: {
    ...idArg,
    reason: { type: "string", valueHint: "TEXT", description: "Why; shown with the job" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const id = jobIdOf(args.id, CANCEL);
    const client = await connect(args, process.env, CANCEL);
    const request = args.reason === undefined ? {} : { reason: args.reason };
    const path = API.jobCancel(id);
    const job = await client.json({ method: "POST", path, json: request }, JobViewSchema);
    terminal.out(args.json ? jsonLine(job) : renderJob(job, terminal.colour.out));
    return EXIT.OK;
  },
});

/** Follows a job on the terminal; the exit status says whether it succeeded. */
export async function followJob(
  id: string,
  args: ConnectionArgs & { readonly json: boolean },
  terminal: Terminal,
  title: string,
): Promise<ExitStatus> {
  const people = watchForPeople(terminal);
  const job: JobView = await watchJob(
    id,
    () => connect(args, process.env, title),
    (event) => (args.json ? terminal.out(jsonLine(event)) : people(event)),
  );
  if (args.json) terminal.out(jsonLine({ event: "outcome", job }));
  else terminal.out(`\n${renderJob(job, terminal.colour.out)}`);
  return job.outcome === "succeeded" ? EXIT.OK : EXIT.NEGATIVE;
}

function jobIdOf(value: string, command: string): string {
  if (v.safeParse(JobIdSchema, value).success) return value;
  const why = 'a job\'s id is "job_" and 20 letters and digits';
  throw fault("CLI_BAD_VALUE", { flag: "ID", value, why, command });
}

function jobTable(jobs: readonly JobSummary[]): string {
  if (jobs.length === 0) return "There are no such jobs.\n";
  const now = Date.now();
  const rows = jobs.map((job) => [
    job.id,
    job.kind,
    job.state,
    job.outcome ?? job.step ?? "",
    job.agent_id ?? "",
    `${duration(Math.max(0, now - job.created_at))} ago`,
  ]);
  return table([["JOB", "KIND", "STATE", "OUTCOME", "AGENT", "SUBMITTED"], ...rows]);
}
