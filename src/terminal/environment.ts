import { fault } from "../fault/fault.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Make the runtime load, expose or print what it must not; Bun reads them before a line of ours runs. */
const RUNTIME_VARIABLES = /^(BUN_OPTIONS|BUN_INSPECT.*|BUN_CONFIG_VERBOSE_FETCH|BUN_JSC_.*)$/;

/** Change whose certificates a TLS connection accepts. */
const TRUST_VARIABLES =
  /^(NODE_TLS_REJECT_UNAUTHORIZED|NODE_EXTRA_CA_CERTS|NODE_USE_SYSTEM_CA|SSL_CERT_FILE|SSL_CERT_DIR)$/;

/** Bun's fetch obeys these as long as they are set, whatever it is told. */
const PROXY_VARIABLES = /^(https?|all|no|ws|wss|ftp)_proxy$/i;

const HARDENING = "--disallow-code-generation-from-strings=strict";

/** Throws CLI_HOSTILE_ENVIRONMENT naming every variable that changes how this program runs, empty ones included. */
export function refuseHostileRuntime(env: Environment): void {
  refuse(Object.keys(env).filter((name) => RUNTIME_VARIABLES.test(name)));
}

/**
 * Throws CLI_HOSTILE_ENVIRONMENT naming every variable that changes whom a TLS connection to `url` would trust.
 * Plain http has no certificates to trust; an unreadable URL counts as https.
 */
export function refuseForeignTrust(url: string | null, env: Environment): void {
  if (url !== null && URL.canParse(url) && new URL(url).protocol === "http:") return;
  refuse(Object.keys(env).filter((name) => TRUST_VARIABLES.test(name)));
}

/** Throws CLI_NOT_HARDENED when a compiled binary runs without the flag that forbids code from strings. */
export function requireHardening(compiled: boolean, execArgv: readonly string[]): void {
  if (compiled && !execArgv.includes(HARDENING)) throw fault("CLI_NOT_HARDENED", { option: HARDENING });
}

/** Takes the proxy variables out of the environment in place, before the first connection. */
export function dropProxies(env: Record<string, string | undefined>): void {
  for (const name of Object.keys(env)) if (PROXY_VARIABLES.test(name)) delete env[name];
}

function refuse(found: readonly string[]): void {
  if (found.length === 0) return;
  const names = [...found].sort();
  throw fault("CLI_HOSTILE_ENVIRONMENT", {
    variables: names.join(", "),
    unset: names.map((name) => `-u ${name}`).join(" "),
  });
}
