import type { Log } from "../serve/log.ts";
import { SETTINGS } from "../settings.ts";
import type { KeySource } from "./keyring.ts";

const REPEATED_MS = 86_400_000;

/** Logs what a person should do about the keys: at once, when something new is found, and once a day as long as it lasts. */
export function warnOfKeys(keys: KeySource, log: Log, nowMs: () => number): Disposable {
  const told = new Map<string, number>();
  const look = () => {
    const now = nowMs();
    const findings = keys.findings(Math.floor(now / 1000));
    for (const { code, text } of findings) {
      if (now - (told.get(text) ?? Number.NEGATIVE_INFINITY) < REPEATED_MS) continue;
      told.set(text, now);
      log("warn", "keys need a person", { code, what: text });
    }
    for (const text of told.keys()) {
      if (!findings.some((finding) => finding.text === text)) told.delete(text);
    }
  };
  look();
  const timer = setInterval(look, SETTINGS.KEY_CHECK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
