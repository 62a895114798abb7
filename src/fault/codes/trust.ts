import { EXIT } from "../exit.ts";
import type { FaultTable } from "../table.ts";

/** What is wrong with something signed: tokens, trust, licenses, replies, release bundles. */
export const trustFaults = {
  JWS_OVERSIZED: {
    sentence: "Cannot accept the {what}: it has {bytes} bytes, more than {limit}",
    remedy: "Look at who sent it; nothing was used of it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_MALFORMED: {
    sentence: "Cannot accept the {what}: {why}",
    remedy: "Look at who sent it; nothing was used of it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_WRONG_CLAIMS: {
    sentence: "Cannot accept the {what}: {path}: {why}",
    remedy: "Check that agent and Control Plane are of versions that go together; nothing was used of it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_WRONG_TYPE: {
    sentence: 'Cannot accept the {what}: its type is "{found}" and must be "{expected}"',
    remedy: "Look at who sent it; nothing was used of it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_WRONG_ALGORITHM: {
    sentence: 'Cannot accept the {what}: its algorithm is "{found}" and must be "{expected}"',
    remedy: "Look at who sent it; nothing was used of it",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_UNKNOWN_KEY: {
    sentence: 'Cannot accept the {what}: no trusted key "{kid}" may sign it now',
    remedy:
      "If the Control Plane changed its keys, the next heartbeat brings them; if not, somebody else signed this",
    exit: EXIT.DATA,
    retry: "never",
  },
  JWS_BAD_SIGNATURE: {
    sentence: "Cannot accept the {what}: its signature does not verify",
    remedy: "It was changed on the way or signed by somebody else; look at the network path",
    exit: EXIT.DATA,
    retry: "never",
  },
  TOKEN_MALFORMED: {
    sentence: "Cannot use the activation token: {why}",
    remedy: "Copy the whole token again, or mint a new one on the Control Plane",
    exit: EXIT.DATA,
    retry: "never",
  },
  TRUST_ROOT_MISMATCH: {
    sentence: 'Cannot trust "{url}": its trust root is not the one this activation token names',
    remedy: "Check --url; the token was minted by another Control Plane, or something answers in its place",
    exit: EXIT.DATA,
    retry: "never",
  },
  TRUST_EXPIRED: {
    sentence: "Cannot trust the Control Plane's key set: it expired at {until}",
    remedy: "Renew it on the Control Plane and check this host's clock",
    exit: EXIT.CONFIG,
    retry: "backoff",
  },
  TRUST_ROLLED_BACK: {
    sentence: "Cannot accept the Control Plane's key set: its number {found} is older than {known}",
    remedy: "Look at the Control Plane: an older backup, or something in between",
    exit: EXIT.DATA,
    retry: "never",
  },
  LICENSE_INVALID: {
    sentence: "Cannot use the license: {why}",
    remedy: "Activate again with a fresh token and --force",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  KEYPAIR_INVALID: {
    sentence: 'Cannot use the key "{path}": {why}',
    remedy: "Activate again with a fresh token and --force; keys are never made twice in silence",
    exit: EXIT.CONFIG,
    retry: "never",
  },
  RELEASE_UNVERIFIED: {
    sentence: "Cannot run: this binary is not verified ({why})",
    remedy: 'Put its signature bundle beside it as "agentina.sigstore.json", or install a release',
    exit: EXIT.CONFIG,
    retry: "never",
  },
  RELEASE_TAMPERED: {
    sentence: "Cannot run: this binary is not what its signature bundle names ({why})",
    remedy: "Install the release again and find out who changed the file",
    exit: EXIT.CONFIG,
    retry: "never",
  },
} as const satisfies FaultTable;
