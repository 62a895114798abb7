import { type Fault, fault } from "../fault/fault.ts";
import { absolutePathProblem } from "./paths.ts";

/** Where a git source lies on this host, or why it cannot be used. */
export type LocalSource =
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly fault: Fault };

/**
 * The path of a `file:///…` URL. Everything else a git URL can be is refused: what needs a network with
 * SOURCE_NEEDS_EGRESS, the rest (ssh, scp-like, plain paths, git's remote helpers) with SOURCE_UNSUPPORTED.
 */
export function localSource(url: string): LocalSource {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(url)?.[1]?.toLowerCase();
  if (scheme === "http" || scheme === "https" || scheme === "git") {
    return { ok: false, fault: fault("SOURCE_NEEDS_EGRESS", { url: withoutCredentials(url) }) };
  }
  if (scheme !== "file") return unsupported(url, otherSchemeWhy(url, scheme));
  if (!url.startsWith("file:///")) return unsupported(url, 'a local source is written "file:///path"');
  if (/[?#]/.test(url)) return unsupported(url, "a local source has no query and no fragment");
  let path: string;
  try {
    path = decodeURIComponent(url.slice("file://".length));
  } catch {
    return unsupported(url, "its percent-encoding is broken"); // URIError is the only thing thrown here
  }
  if (path.includes("\0")) return unsupported(url, "its path holds NUL");
  const problem = path === "/" ? "names no directory" : absolutePathProblem(path);
  return problem === null ? { ok: true, path } : unsupported(url, `its path ${problem}`);
}

function otherSchemeWhy(url: string, scheme: string | undefined): string {
  if (scheme === "ssh" || scheme === "git+ssh" || /^[^/:]+@[^/:]+:/.test(url)) return "ssh is not supported";
  if (url.includes("::")) return "git's remote helpers are not supported";
  return 'a local source is written "file:///path"';
}

const unsupported = (url: string, why: string): LocalSource => ({
  ok: false,
  fault: fault("SOURCE_UNSUPPORTED", { url: withoutCredentials(url), why }),
});

/** A URL goes into logs and receipts; a token in it does not. */
function withoutCredentials(url: string): string {
  return url.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^/@]*@/, "$1…@").replace(/[?#].*$/s, "");
}
