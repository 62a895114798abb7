/**
 * Variables a job may not set: they change what a loader, a shell, an interpreter or git does before the named program
 * has run one line of its own, or whom TLS trusts. Search paths of interpreters (PYTHONPATH, RUBYLIB, CLASSPATH) are
 * not among them: they name files the job can read anyway.
 */
const DENIED = new Set([
  // the sandbox sets these
  "PATH",
  "HOME",
  "PWD",
  "OLDPWD",
  "SHELL",
  "USER",
  "LOGNAME",
  // shells
  "ENV",
  "IFS",
  "PS4",
  "CDPATH",
  "GLOBIGNORE",
  "SHELLOPTS",
  "BASHOPTS",
  "PROMPT_COMMAND",
  "ZDOTDIR",
  // glibc, ld.so(8)
  "GCONV_PATH",
  "GETCONF_DIR",
  "GLIBC_TUNABLES",
  "HOSTALIASES",
  "LOCALDOMAIN",
  "LOCPATH",
  "MALLOC_TRACE",
  "NLSPATH",
  "RESOLV_HOST_CONF",
  "RES_OPTIONS",
  "TZDIR",
  // interpreters
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "NODE_USE_ENV_PROXY",
  "NODE_REPL_EXTERNAL_MODULE",
  "PYTHONSTARTUP",
  "PYTHONHOME",
  "PYTHONINSPECT",
  "PYTHONBREAKPOINT",
  "PERL5OPT",
  "PERL5DB",
  "RUBYOPT",
  "JAVA_TOOL_OPTIONS",
  "JDK_JAVA_OPTIONS",
  "_JAVA_OPTIONS",
  "PHPRC",
  "PHP_INI_SCAN_DIR",
  // programs that programs start
  "EDITOR",
  "VISUAL",
  "PAGER",
  "BROWSER",
  "SSH_ASKPASS",
  "SSH_AUTH_SOCK",
  "DBUS_SESSION_BUS_ADDRESS",
  "DOCKER_HOST",
  // trust
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "CURL_CA_BUNDLE",
  "REQUESTS_CA_BUNDLE",
  "SSLKEYLOGFILE",
]);

const DENIED_PREFIXES = ["LD_", "DYLD_", "BASH_", "GIT_", "BUN_", "AGENTINA_"] as const;

/** `HTTP_PROXY`, `https_proxy`, `NO_PROXY` and their kin. */
const PROXY = /^[a-z0-9]+_proxy$/i;

/** True when no job may set the variable `name`. */
export const isDeniedEnvName = (name: string): boolean =>
  DENIED.has(name) || PROXY.test(name) || DENIED_PREFIXES.some((prefix) => name.startsWith(prefix));
