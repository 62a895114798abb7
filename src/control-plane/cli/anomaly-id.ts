import { fault } from "../../fault/fault.ts";

/** An anomaly's id as typed. Throws CLI_BAD_VALUE. */
export function anomalyIdOf(value: string, command: string): string {
  if (/^ano_[0-9A-Za-z]{20}$/.test(value)) return value;
  const why = 'an anomaly\'s id is "ano_" and 20 letters and digits';
  throw fault("CLI_BAD_VALUE", { flag: "ID", value, why, command });
}
