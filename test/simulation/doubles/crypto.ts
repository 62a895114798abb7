// node:crypto for programs in a simulated world: no chance of its own.

import { ambientDice } from "./globals.ts";

export const randomBytes = (count: number): Buffer => Buffer.from(ambientDice().bytes(count));
