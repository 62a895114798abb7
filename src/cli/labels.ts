import * as v from "valibot";
import { fault } from "../fault/fault.ts";
import { LabelsSchema } from "../protocol/scalars.ts";

/** `--label KEY=VALUE` words as a record. Throws CLI_BAD_VALUE naming the word. */
export function parseLabels(words: readonly string[], command: string): Readonly<Record<string, string>> {
  const refuse = (value: string, why: string) =>
    fault("CLI_BAD_VALUE", { flag: "--label", value, why, command });
  const labels = new Map<string, string>();
  for (const word of words) {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(word) ?? [];
    if (key === undefined || value === undefined) throw refuse(word, "it is not KEY=VALUE");
    if (labels.has(key)) throw refuse(word, `the key "${key}" is given twice`);
    const alone = v.safeParse(LabelsSchema, { [key]: value });
    // The library leaves names of Object.prototype out of a record in silence.
    if (!alone.success || !Object.hasOwn(alone.output, key)) {
      throw refuse(word, "keys are lower-case words, values one line of at most 128 characters");
    }
    labels.set(key, value);
  }
  const record = Object.fromEntries(labels);
  const all = v.safeParse(LabelsSchema, record);
  if (!all.success) throw refuse(`${words.length} labels`, all.issues[0].message);
  return all.output;
}
