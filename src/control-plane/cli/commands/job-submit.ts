import { EXIT } from "../../../fault/exit.ts";
import { API, JobViewSchema } from "../../../protocol/api.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";
import { parseBlobArg, prepareJob, upload, withFile } from "../job-file.ts";
import { followJob } from "./job.ts";

const TITLE = "agentina-control job submit";

export const submitCommand = command({
  meta: {
    description:
      "Queues the job that a JSON file describes. Files the job names as blobs are given with --blob; they are uploaded first, and their digests and sizes are put into the job. The file is checked whole before anything is sent.",
    examples: [
      `${TITLE} job.json`,
      `${TITLE} job.json --blob repo=repo.bundle --watch`,
      `${TITLE} - --json < job.json`,
    ],
    exits: [[EXIT.NEGATIVE, "with --watch: the job did not succeed"]],
    trustVariables: "by-url",
  },
  args: {
    file: { type: "positional", description: "The job, - for standard input" },
    blob: {
      type: "string",
      valueHint: "NAME=PATH",
      many: true,
      description: "A file the job needs",
    },
    watch: { type: "boolean", description: "Follow the job to its outcome" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const blobs = args.blob.map((value) => parseBlobArg(value, TITLE));
    const prepared = await prepareJob(args.file, blobs);
    const client = await connect(args, process.env, TITLE);
    await upload(client, prepared);
    const request = { method: "POST", path: API.jobs, json: prepared.submission } as const;
    const job = await client.json(request, JobViewSchema).catch((error: unknown) => {
      throw withFile(error, args.file);
    });
    if (args.watch) {
      if (!args.json) terminal.out(`Job ${job.id}\n`);
      return await followJob(job.id, args, terminal, TITLE);
    }
    terminal.out(
      args.json
        ? jsonLine(job)
        : `Job ${job.id} is ${job.state}.\nFollow it: agentina-control job watch ${job.id}\n`,
    );
    return EXIT.OK;
  },
});
