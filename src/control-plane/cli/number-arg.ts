import { fault } from "../../fault/fault.ts";

/** A whole number of an option within bounds. Throws CLI_BAD_VALUE. */
export function numberArg(
  value: string,
  flag: string,
  command: string,
  bounds: { readonly min: number; readonly max: number },
): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= bounds.min && number <= bounds.max) return number;
  const why = `it must be a whole number from ${bounds.min} to ${bounds.max}`;
  throw fault("CLI_BAD_VALUE", { flag, value, why, command });
}
