import { closeSync, openSync, readSync } from "node:fs";
import { fault, reasonOf } from "../fault/fault.ts";
import { promptHidden } from "../terminal/prompt-hidden.ts";

const COMMAND = "agentina activate";
const TOKEN_FILE_BYTES = 4096;
const STDIN_FD = 0;

export interface TokenFlags {
  readonly token: string | undefined;
  readonly tokenFile: string | undefined;
}

/**
 * The activation token from its one source: a file, standard input (`-`), the command line (which others can see), or, when
 * none is named, a prompt on the terminal that does not echo. The text is as it came, at most 4 KiB.
 */
export function readToken({ token, tokenFile }: TokenFlags): string {
  if (token !== undefined && tokenFile !== undefined) {
    throw fault("CLI_BAD_VALUE", {
      flag: "--token-file",
      value: tokenFile,
      why: "--token already gives the token",
      command: COMMAND,
    });
  }
  if (token !== undefined) return token;
  if (tokenFile === "-") return readUpTo(STDIN_FD, "standard input");
  if (tokenFile !== undefined) return readFrom(tokenFile);
  const answer = promptHidden("Activation token (not shown): ");
  if (answer !== null) return answer;
  throw fault("CLI_MISSING_ARGUMENT", {
    command: COMMAND,
    argument: "--token-file FILE, with - for standard input (there is no terminal to ask on)",
  });
}

function readFrom(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  try {
    return readUpTo(fd, path);
  } finally {
    closeSync(fd);
  }
}

function readUpTo(fd: number, path: string): string {
  const bytes = Buffer.alloc(TOKEN_FILE_BYTES + 1);
  let length = 0;
  try {
    for (let count = -1; count !== 0 && length < bytes.length; length += count) {
      count = readSync(fd, bytes, length, bytes.length - length, null);
    }
  } catch (error) {
    throw fault("CLI_INPUT_UNREADABLE", { path, why: reasonOf(error) }, error);
  }
  if (length <= TOKEN_FILE_BYTES) return bytes.toString("utf8", 0, length);
  throw fault("CLI_INPUT_UNREADABLE", {
    path,
    why: `it is longer than ${TOKEN_FILE_BYTES} bytes, no token is`,
  });
}
