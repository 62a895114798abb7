import * as v from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { API } from "../../../protocol/api.ts";
import { AgentIdSchema } from "../../../protocol/ids.ts";
import { ReceiptPageSchema } from "../../../protocol/receipt-export.ts";
import { command } from "../../../terminal/command.ts";
import { jsonLine, style } from "../../../terminal/output.ts";
import { makeNewFile } from "../../data/new-file.ts";
import { linesOf } from "../../receipts/lines.ts";
import { type ExportVerdict, verifyExport } from "../../receipts/verify.ts";
import type { ApiClient } from "../api-client.ts";
import { connect, connectionArgs } from "../connection.ts";
import { numberArg } from "../number-arg.ts";
import { safeLine } from "../text.ts";

const EXPORT = "agentina-control receipts export";
const VERIFY = "agentina-control receipts verify";
const PAGE_TIMEOUT_S = 60;

export const exportReceiptsCommand = command({
  meta: {
    description:
      "Writes an agent's receipts to a file with everything that is needed to verify them anywhere: the key sets, and the licenses that prove whose the keys were.",
    examples: [`${EXPORT} --agent agt_0123456789abcdefghij --out receipts.jsonl`],
    trustVariables: "by-url",
  },
  args: {
    agent: { type: "string", valueHint: "ID", required: true, description: "Whose receipts" },
    since: { type: "string", valueHint: "N", default: "1", description: "The first one's number" },
    out: { type: "string", valueHint: "FILE", required: true, description: "Where to write them" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    if (!v.safeParse(AgentIdSchema, args.agent).success) {
      const why = 'an agent\'s id is "agt_" and 20 letters and digits';
      throw fault("CLI_BAD_VALUE", { flag: "--agent", value: args.agent, why, command: EXPORT });
    }
    const since = numberArg(args.since, "--since", EXPORT, { min: 1, max: 9_999_999_999 });
    const client = await connect(args, process.env, EXPORT);
    const { receipts, range } = await makeNewFile(args.out, async (file) => {
      const pages = pagesOf(client, args.agent, since);
      let receipts = 0;
      let range: Page["header"]["range"] = null;
      for await (const { header, lines, isFirst } of pages) {
        if (isFirst) {
          range = header.range;
          await file.write(`${JSON.stringify(header)}\n`);
        }
        for (const line of lines) await file.write(`${JSON.stringify(line)}\n`);
        receipts += lines.length;
      }
      return { receipts, range };
    });
    const head = range?.head ?? null;
    if (args.json) terminal.out(jsonLine({ out: args.out, agent: args.agent, receipts, head }));
    else {
      const numbers = range === null ? "" : `, number ${range.first} to ${range.last}\nHead ${range.head}`;
      terminal.out(`${receipts} receipts of ${args.agent} in ${args.out}${numbers}\n`);
    }
    return EXIT.OK;
  },
});

type Page = v.InferOutput<typeof ReceiptPageSchema>;

/** The pages of one export; all end where the first one says. */
async function* pagesOf(client: ApiClient, agent: string, since: number) {
  let from = since;
  let until: number | null = null;
  for (;;) {
    const query = `since=${from}${until === null ? "" : `&until=${until}`}`;
    const path = `${API.agentReceipts(agent)}?${query}`;
    const request = { method: "GET", path, timeoutS: PAGE_TIMEOUT_S } as const;
    const page: Page = await client.json(request, ReceiptPageSchema);
    yield { ...page, isFirst: until === null };
    until ??= page.header.range?.last ?? 0;
    const last = page.lines.at(-1)?.seq;
    if (last === undefined || last >= until) return;
    from = last + 1;
  }
}

export const verifyReceiptsCommand = command({
  meta: {
    description:
      "Verifies exported receipts without a network and without a data directory: every signature by the key that was the agent's, the license that proves it, the links, the numbers. Name the trust root to prove whose they are, and the last receipt's digest to see that none is missing at the end.",
    examples: [
      `${VERIFY} receipts.jsonl`,
      `${VERIFY} receipts.jsonl --root 43-characters --head 64-hex-digits`,
    ],
    exits: [[EXIT.NEGATIVE, "a line is wrong; it is named"]],
    trustVariables: "harmless",
  },
  args: {
    file: { type: "positional", description: "The file that receipts export wrote" },
    root: {
      type: "string",
      valueHint: "THUMBPRINT",
      description: "The trust root they must be under, as keys list or an activation token names it",
    },
    head: {
      type: "string",
      valueHint: "SHA256",
      description: "The last receipt's digest, known from elsewhere",
    },
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run: async (args, terminal) => {
    const root = patternArg(args.root, "--root", /^[A-Za-z0-9_-]{43}$/, "a thumbprint has 43 characters");
    const head = patternArg(args.head, "--head", /^[0-9a-f]{64}$/, "a SHA-256 has 64 hex digits");
    const verdict = await verifyExport(linesOf(args.file), args.file, { root, head });
    terminal.out(args.json ? jsonLine(verdict) : renderVerdict(verdict, terminal.colour.out));
    return verdict.ok ? EXIT.OK : EXIT.NEGATIVE;
  },
});

function patternArg(value: string | undefined, flag: string, pattern: RegExp, why: string): string | null {
  if (value === undefined) return null;
  if (pattern.test(value)) return value;
  throw fault("CLI_BAD_VALUE", { flag, value, why, command: VERIFY });
}

const counted = (receipts: number): string => (receipts === 1 ? "1 receipt" : `${receipts} receipts`);

function renderVerdict(verdict: ExportVerdict, colour: boolean): string {
  if (!verdict.ok) return `${style.red("WRONG", colour)}  line ${verdict.line}: ${safeLine(verdict.why)}\n`;
  const { root, keys, receipts, first, last, head } = verdict;
  const pinned = root.pinned ? "as you named it" : "not named by you: compare it with the one you know";
  const lines = [
    `${style.green("PROVEN", colour)}  ${counted(receipts)} of ${verdict.agent}${first === null ? "" : `, number ${first} to ${last}`}`,
    `Control Plane  ${verdict.control_plane}`,
    `Trust root     ${root.thumbprint} (${pinned})`,
    `               ${root.token_form} in activation tokens`,
    ...keys.map(
      ({ kid, epoch, receipts: signed }) => `Agent key      ${kid}, epoch ${epoch}, ${counted(signed)}`,
    ),
    `Head           ${head ?? "none"}${verdict.head_pinned ? " (as you named it)" : ""}`,
  ];
  if (!verdict.from_the_beginning && first !== null)
    lines.push(`What came before number ${first} is not in it.`);
  if (!verdict.head_pinned) lines.push("Whether receipts came after the last one, only --head can tell.");
  return `${lines.join("\n")}\n`;
}
