import * as v from "valibot";
import { EXIT } from "../../../fault/exit.ts";
import { fault } from "../../../fault/fault.ts";
import { API, TokenMintedSchema } from "../../../protocol/api.ts";
import { command } from "../../../terminal/command.ts";
import { notices } from "../../../terminal/notices.ts";
import { jsonLine } from "../../../terminal/output.ts";
import { connect, connectionArgs } from "../connection.ts";
import { parseSeconds } from "../text.ts";

const MINT = "agentina-control token mint";
const REVOKE = "agentina-control token revoke";

export const mintCommand = command({
  meta: {
    description:
      "Mints a token with which one host becomes an agent. Standard output is the token alone, so that it can go into a file or a pipe; the server keeps only a hash of it.",
    examples: [
      `${MINT} --label builder-1`,
      `${MINT} --ttl 1h > token.txt`,
      `${MINT} | agentina activate --url http://127.0.0.1:7070 --token-file -`,
    ],
    trustVariables: "by-url",
  },
  args: {
    label: { type: "string", valueHint: "TEXT", description: "What it is for; kept with the token" },
    ttl: {
      type: "string",
      valueHint: "TIME",
      default: "15m",
      description: "How long it may be redeemed: 30s to 30d",
    },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    const request = { ttl_s: ttlOf(args.ttl), ...(args.label === undefined ? {} : { label: args.label }) };
    const client = await connect(args, process.env, MINT);
    const minted = await client.json({ method: "POST", path: API.tokens, json: request }, TokenMintedSchema);
    if (args.json) {
      terminal.out(jsonLine(minted));
      return EXIT.OK;
    }
    terminal.out(`${minted.token}\n`);
    const until = new Date(minted.expires_at).toISOString();
    (await notices(terminal)).info(
      `Token ${minted.id}, for one host, until ${until}. It is not shown again.`,
    );
    return EXIT.OK;
  },
});

export const revokeCommand = command({
  meta: {
    description: 'Makes a token that nobody has redeemed good for nothing. Its id is the part after "act_".',
    examples: [`${REVOKE} 4fZk29QbW0aT`],
    trustVariables: "by-url",
  },
  args: {
    id: { type: "positional", description: "The token's id" },
    ...connectionArgs,
  },
  run: async (args, terminal) => {
    if (!/^[0-9A-Za-z]{12}$/.test(args.id)) {
      const why = "a token's id is 12 letters and digits";
      throw fault("CLI_BAD_VALUE", { flag: "ID", value: args.id, why, command: REVOKE });
    }
    const client = await connect(args, process.env, REVOKE);
    const schema = v.strictObject({ id: v.string(), revoked_at: v.number() });
    const revoked = await client.json({ method: "DELETE", path: API.token(args.id) }, schema);
    terminal.out(args.json ? jsonLine(revoked) : `Token ${revoked.id} is revoked.\n`);
    return EXIT.OK;
  },
});

function ttlOf(value: string): number {
  const seconds = parseSeconds(value);
  if (seconds !== null && seconds >= 30 && seconds <= 30 * 86_400) return seconds;
  const why = "it must be a time from 30s to 30d, such as 15m or 2h";
  throw fault("CLI_BAD_VALUE", { flag: "--ttl", value, why, command: MINT });
}
