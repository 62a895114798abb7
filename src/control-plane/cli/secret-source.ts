import { fault, reasonOf } from "../../fault/fault.ts";
import { LIMITS } from "../../protocol/limits.ts";
import { promptHidden } from "../../terminal/prompt-hidden.ts";

/** A value of the longest and the line break that is not part of it. */
const READ_BYTES_MAX = LIMITS.SECRET_BYTES + 2;

/**
 * A secret's value: from a file, from standard input (`-`, or when it is no terminal), or typed unseen. Never from the command
 * line, which every user of the host can read. Of a value of one line, the line break at its end is not part of it: an editor
 * or `echo` put it there. Throws CLI_INPUT_UNREADABLE, CLI_MISSING_ARGUMENT.
 */
export async function readSecretValue(fromFile: string | undefined, command: string): Promise<string> {
  if (fromFile !== undefined && fromFile !== "-")
    return secretText(await bytesOf(Bun.file(fromFile), fromFile), fromFile);
  const { isatty } = process.getBuiltinModule("node:tty");
  if (fromFile === "-" || !isatty(0)) {
    return secretText(await bytesOf(Bun.stdin, "standard input"), "standard input");
  }
  const typed = promptHidden("Value (not shown): ");
  if (typed !== null) return typed;
  throw fault("CLI_MISSING_ARGUMENT", {
    command,
    argument: "--from-file FILE, with - for standard input (there is no terminal to ask on)",
  });
}

async function bytesOf(file: Bun.BunFile, name: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of file.stream()) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > READ_BYTES_MAX) break;
    }
  } catch (error) {
    throw fault("CLI_INPUT_UNREADABLE", { path: name, why: reasonOf(error) }, error);
  }
  if (size > READ_BYTES_MAX) {
    const why = `it is longer than ${LIMITS.SECRET_BYTES} bytes, more than a secret may be`;
    throw fault("CLI_INPUT_UNREADABLE", { path: name, why });
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The text of what was read, as it is kept. Throws CLI_INPUT_UNREADABLE. */
export function secretText(bytes: Uint8Array, name: string): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const why = "it is not UTF-8; give a binary value in an encoding, such as base64";
    throw fault("CLI_INPUT_UNREADABLE", { path: name, why }, error);
  }
  const line = text.replace(/\r?\n$/, "");
  return /[\r\n]/.test(line) ? text : line;
}
