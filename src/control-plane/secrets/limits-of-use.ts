import type { SecretRow } from "../store/schema.ts";

type Limits = Pick<SecretRow, "kinds" | "labels">;
type Labels = Readonly<Record<string, string>>;

/** Whether jobs of this kind may have the secret; a secret without kinds is for all. */
export function allowsKind({ kinds }: Pick<Limits, "kinds">, kind: string): boolean {
  const allowed = JSON.parse(kinds) as readonly string[];
  return allowed.length === 0 || allowed.includes(kind);
}

/** Whether an agent with these labels may be sent the secret: it must carry every one of the secret's own. */
export function allowsAgent({ labels }: Pick<Limits, "labels">, carried: Labels): boolean {
  return Object.entries(JSON.parse(labels) as Labels).every(
    ([name, value]) => Object.hasOwn(carried, name) && carried[name] === value,
  );
}
