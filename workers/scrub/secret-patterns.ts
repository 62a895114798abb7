/** Shorter lines of a value say too little by themselves, and would be found everywhere. */
const LINE_BYTES_MIN = 8;

/** Something to be found, and the secret it belongs to. */
export interface SecretPattern {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * What is looked for: each value without the white space around it, and each line of a value of several, so that a part
 * of a key or of a document is found as well. The same text twice belongs to the first that has it.
 */
export function secretPatterns(secrets: Readonly<Record<string, string>>): SecretPattern[] {
  const found = new Map<string, SecretPattern>();
  for (const [name, value] of Object.entries(secrets)) {
    const whole = value.trim();
    const lines = whole.split(/[\r\n]+/).map((line) => line.trim());
    const parts = lines.length === 1 ? [] : lines.filter((line) => Buffer.byteLength(line) >= LINE_BYTES_MIN);
    for (const text of [whole, ...parts]) {
      if (text !== "" && !found.has(text)) found.set(text, { name, bytes: Buffer.from(text) });
    }
  }
  return [...found.values()];
}
