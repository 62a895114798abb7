/** One thing met in an XML document. Attribute values and text are still undecoded. */
export type XmlEvent =
  | { readonly type: "open"; readonly name: string; readonly tag: string }
  | { readonly type: "close"; readonly name: string }
  | { readonly type: "text"; readonly text: string; readonly raw: boolean };

/** Why a document cannot be used. */
export class XmlProblem extends Error {
  override readonly name = "XmlProblem";
}

const DEPTH_MAX = 64;
const TAG_CHARS_MAX = 1_048_576;

/**
 * Walks an XML 1.0 document once, in time linear in its length and without building anything: a report is written by
 * the job, and a tree of sixteen hostile megabytes would take gigabytes. No DTD is accepted, so there are no entities
 * but the five of XML itself. Throws XmlProblem for a document that is not well-formed as far as it is looked at.
 */
export function* scanXml(text: string): Generator<XmlEvent, void, void> {
  const open: string[] = [];
  let at = text.startsWith("\uFEFF") ? 1 : 0;
  while (at < text.length) {
    const mark = text.indexOf("<", at);
    const end = mark === -1 ? text.length : mark;
    if (end > at) yield { type: "text", text: text.slice(at, end), raw: false };
    if (mark === -1) break;
    const passed = passedOver(text, mark);
    if (passed !== null) {
      if (passed.cdata !== null) yield { type: "text", text: passed.cdata, raw: true };
      at = passed.end;
      continue;
    }
    const close = tagEnd(text, mark);
    const tag = text.slice(mark + 1, close);
    at = close + 1;
    yield* tagEvents(tag, open);
  }
  if (open.length > 0) throw new XmlProblem(`it ends inside <${open.at(-1)}>`);
}

function* tagEvents(tag: string, open: string[]): Generator<XmlEvent, void, void> {
  if (tag.startsWith("/")) {
    const name = tag.slice(1).trim();
    const expected = open.pop();
    if (name !== expected) throw new XmlProblem(`</${name}> closes <${expected ?? ""}>`);
    yield { type: "close", name };
    return;
  }
  const name = /^[A-Za-z_:][\w.:-]*/.exec(tag)?.[0];
  if (name === undefined) throw new XmlProblem("it holds a malformed tag");
  yield { type: "open", name, tag };
  if (tag.endsWith("/")) {
    yield { type: "close", name };
    return;
  }
  open.push(name);
  if (open.length > DEPTH_MAX) throw new XmlProblem(`it is nested deeper than ${DEPTH_MAX} levels`);
}

/** Comments, processing instructions and CDATA sections; null for an ordinary tag. */
function passedOver(
  text: string,
  at: number,
): { readonly end: number; readonly cdata: string | null } | null {
  if (text.startsWith("<!--", at)) return { end: endOf(text, "-->", at + 4, "a comment"), cdata: null };
  if (text.startsWith("<?", at)) return { end: endOf(text, "?>", at + 2, "an instruction"), cdata: null };
  if (text.startsWith("<![CDATA[", at)) {
    const end = endOf(text, "]]>", at + 9, "a CDATA section");
    return { end, cdata: text.slice(at + 9, end - 3) };
  }
  if (text.startsWith("<!", at)) throw new XmlProblem("it holds a document type; none is accepted");
  return null;
}

function endOf(text: string, mark: string, from: number, what: string): number {
  const end = text.indexOf(mark, from);
  if (end === -1) throw new XmlProblem(`${what} does not end`);
  return end + mark.length;
}

/** The `>` of the tag at `start`: one inside a quoted value does not count. */
function tagEnd(text: string, start: number): number {
  const limit = Math.min(text.length, start + TAG_CHARS_MAX);
  let quote = "";
  for (let at = start + 1; at < limit; at++) {
    const c = text[at] ?? "";
    if (quote !== "") {
      if (c === quote) quote = "";
    } else if (c === '"' || c === "'") {
      quote = c;
    } else if (c === ">") {
      return at;
    } else if (c === "<") {
      break;
    }
  }
  throw new XmlProblem("a tag does not end");
}

/** The attributes of a tag, decoded. */
export function xmlAttributes(tag: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const match of tag.matchAll(/\s([A-Za-z_:][\w.:-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)) {
    found.set(match[1] ?? "", decodeXml(match[2] ?? match[3] ?? ""));
  }
  return found;
}

const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** Resolves the five entities of XML and character references; any other stays as it is written. */
export function decodeXml(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-z]{2,4});/g, (whole, name: string) => {
    if (!name.startsWith("#")) return NAMED[name] ?? whole;
    const code = name.startsWith("#x") ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
