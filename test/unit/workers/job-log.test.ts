// Goal: the log holds what was written, byte for byte and no more than allowed; its digest is the file's.
// Method: write to real files, a full device included, and read them back.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Scrubber } from "../../../workers/scrub/scrubber.ts";
import { JobLog } from "../../../workers/steps/job-log.ts";
import { tempDir } from "../sandbox/sandbox-bench.ts";

const NO_SECRETS = new Scrubber({});
const bytes = (text: string) => new TextEncoder().encode(text);
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("JobLog", () => {
  test("headings stand on lines of their own, output is verbatim, the digest is the file's", () => {
    using dir = tempDir();
    const path = join(dir.path, "log");
    const log = new JobLog(path, 1000, NO_SECRETS);
    log.heading("test: sh");
    expect(log.output(bytes("no end\u001b[0m"))).toBe(true);
    log.heading("test ended");
    expect(readFileSync(path, "utf8")).toBe("==> test: sh\nno end\u001b[0m\n==> test ended\n");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(log.close()).toEqual({ sha256: sha256(path) as never, size: statSync(path).size });
  });

  test("output is cut at the limit, to the byte; headings still fit", () => {
    using dir = tempDir();
    const path = join(dir.path, "log");
    const log = new JobLog(path, 10, NO_SECRETS);
    expect(log.output(bytes("123456"))).toBe(true);
    expect(log.output(bytes("7890"))).toBe(true);
    expect(log.output(bytes("x"))).toBe(false);
    log.heading("cut");
    log.close();
    expect(readFileSync(path, "utf8")).toBe("1234567890\n==> cut\n");
  });

  test("an existing file is never written, nor a link followed", () => {
    using dir = tempDir();
    const path = join(dir.path, "log");
    writeFileSync(path, "mine");
    expect(() => new JobLog(path, 10, NO_SECRETS)).toThrow("EEXIST");
    const link = join(dir.path, "link");
    symlinkSync(join(dir.path, "elsewhere"), link);
    expect(() => new JobLog(link, 10, NO_SECRETS)).toThrow("EEXIST");
    expect(readFileSync(path, "utf8")).toBe("mine");
  });

  test("a secret reaches neither file nor digest nor tail, whatever the cut, and the limit counts what is written", () => {
    using dir = tempDir();
    const path = join(dir.path, "log");
    const log = new JobLog(path, 40, new Scrubber({ TOKEN: "tok-123456" }));
    log.heading("setup 1: echo tok-123456");
    expect(log.output(bytes("a tok-"))).toBe(true);
    expect(readFileSync(path, "utf8")).toEndWith("\na ");
    expect(log.output(bytes("123456 b\ntok-12"))).toBe(true);
    log.heading("setup 1 ended");
    expect(log.output(bytes("345 and tok-123456!"))).toBe(false);
    expect(log.tail()).not.toContain("tok-123456");
    const { sha256: digest, size } = log.close();
    const text = readFileSync(path, "utf8");
    expect(text).toBe(
      "==> setup 1: echo [secret TOKEN]\na [secret TOKEN] b\ntok-12\n==> setup 1 ended\n345 and [secret",
    );
    expect({ digest, size }).toEqual({ digest: sha256(path) as never, size: text.length });
  });

  test("the tail is the end, for reading", () => {
    using dir = tempDir();
    const log = new JobLog(join(dir.path, "log"), 1_000_000, NO_SECRETS);
    log.output(bytes(`${"x".repeat(9_000)}\nlast\tline \u001b[31m✓\n`));
    expect(log.tail()).toEndWith("x\nlast\tline \\u001b[31m✓\n");
    expect(log.tail().length).toBeLessThanOrEqual(8_192);
    log.output(bytes("\u0001".repeat(5_000)));
    expect(log.tail().length).toBe(8_192);
    log.close();
  });
});
