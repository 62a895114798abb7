import { openSync, readSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { fault } from "../fault/fault.ts";

const ANSWER_CHARS_MAX = 4096;
const ENTER = ["\r", "\n", "\u0004"];
const INTERRUPT = "\u0003";

/**
 * Asks on the controlling terminal, whatever standard input is, and shows nothing of the answer. Backspace and ^U work,
 * ^C throws CLI_INPUT_UNREADABLE. Null when there is no terminal. Blocks the process while it waits.
 */
export function promptHidden(question: string): string | null {
  let fd: number;
  try {
    fd = openSync("/dev/tty", "r+");
  } catch {
    return null; // no controlling terminal (tty(4)): the caller names another way
  }
  const stream = new ReadStream(fd);
  try {
    stream.setRawMode(true);
    writeSync(fd, question);
    return readLine(fd);
  } finally {
    stream.setRawMode(false);
    writeSync(fd, "\r\n");
    stream.destroy();
  }
}

function readLine(fd: number): string {
  const chunk = Buffer.alloc(256);
  let typed = "";
  while (typed.length <= ANSWER_CHARS_MAX) {
    const count = readSync(fd, chunk, 0, chunk.length, null);
    typed += chunk.toString("utf8", 0, count);
    if (typed.includes(INTERRUPT))
      throw fault("CLI_INPUT_UNREADABLE", { path: "/dev/tty", why: "interrupted" });
    if (count === 0 || ENTER.some((key) => typed.includes(key))) break;
  }
  const end = Math.min(...ENTER.map((key) => typed.indexOf(key)).filter((index) => index >= 0), typed.length);
  return edited(typed.slice(0, end));
}

/** Applies backspace (^H, DEL) and kill (^U) as a line discipline would (termios(3)). */
export function edited(typed: string): string {
  const kept: string[] = [];
  for (const key of typed) {
    if (key === "\u007f" || key === "\b") kept.pop();
    else if (key === "\u0015") kept.length = 0;
    else kept.push(key);
  }
  return kept.join("");
}
