import { type Fault, isFault } from "../../src/fault/fault.ts";

/** The fault a promise is rejected with; an error when it is rejected with anything else, or not at all. */
export async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  try {
    await promise;
  } catch (error) {
    if (isFault(error)) return error;
    throw new Error(`not a fault: ${String(error)}`, { cause: error });
  }
  throw new Error("it did not fail");
}
