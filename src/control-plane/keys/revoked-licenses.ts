import { sql } from "kysely";
import { encodeBase64url } from "../../protocol/base64url.ts";
import { type TrustClaims, TYP } from "../../protocol/trust.ts";
import { LICENSE_STALE } from "../activation/license.ts";
import type { Writer } from "../store/schema.ts";

export const revokedLicenseKeys = ({ keys }: TrustClaims): string[] =>
  keys.filter(({ use, revoked_at }) => use === "license" && revoked_at !== undefined).map(({ kid }) => kid);

/**
 * Marks every license that one of these keys signed as due: each agent gets another one with its next heartbeat, in the
 * very reply that tells it of the revocation.
 */
export async function expireLicenses(db: Writer, kids: readonly string[]): Promise<void> {
  for (const kid of kids) {
    // Every license of one key begins with the same header (RFC 7515 section 3.1).
    const prefix = `${encodeBase64url(JSON.stringify({ alg: "EdDSA", kid, typ: TYP.license }))}.`;
    await db
      .updateTable("agents")
      .set({ license_terms: LICENSE_STALE })
      .where(sql<boolean>`substr(license, 1, ${prefix.length}) = ${prefix}`)
      .execute();
  }
}
