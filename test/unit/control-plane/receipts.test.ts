// Goal: what an export of receipts proves, anybody can check with the file alone; whatever is changed in it is found, and
// the line is named.
// Method: a real server's exports of an agent that had two keys, verified whole, then with lines changed, left out, moved,
// doubled and forged, at random and by hand.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { linesOf } from "../../../src/control-plane/receipts/lines.ts";
import { type ExportVerdict, verifyExport } from "../../../src/control-plane/receipts/verify.ts";
import type { JobClaims } from "../../../src/protocol/job.ts";
import type { ReceiptExportHeader, ReceiptExportLine } from "../../../src/protocol/receipt-export.ts";
import { tokenThumbprint } from "../../../src/trust/keys.ts";
import { sha256Of } from "../../../src/trust/strict-jws.ts";
import { faultOf } from "../../support/fault-of.ts";
import { scratchDirectory } from "../../support/scratch.ts";
import { mint, startTestControlPlane, submit, type TestControlPlane } from "./support/control-plane.ts";
import { giveNewKey } from "./support/recover.ts";
import { runControl } from "./support/run-control.ts";
import { claimsOf, ScriptedAgent } from "./support/scripted-agent.ts";

const RECEIPTS = 8;
const dir = scratchDirectory("receipts");
let control: TestControlPlane;
let agent: ScriptedAgent;
let lines: string[];

beforeAll(async () => {
  control = await startTestControlPlane();
  agent = await ScriptedAgent.enrol(control.url, await mint(control));
  for (let i = 0; i < RECEIPTS; i++) {
    if (i === RECEIPTS / 2) await giveNewKey(control, agent);
    await submit(control);
    const [envelope = ""] = (await agent.beat()).jobs;
    await agent.beat({ receipts: [await agent.receipt(claimsOf<JobClaims>(envelope), envelope)] });
  }
  lines = await exported("whole.jsonl");
});
afterAll(async () => {
  await control.close();
  await rm(dir, { recursive: true, force: true });
});

async function exported(name: string, ...more: string[]): Promise<string[]> {
  const out = join(dir, name);
  const where = ["--data-dir", control.running().paths.root];
  const ran = await runControl([
    "receipts",
    "export",
    "--agent",
    agent.agentId,
    "--out",
    out,
    ...more,
    ...where,
  ]);
  if (ran.exit !== 0) throw new Error(ran.err);
  expect((await stat(out)).mode & 0o777).toBe(0o600);
  return (await readFile(out, "utf8")).trimEnd().split("\n");
}

const NOTHING = { root: null, head: null };
async function* given(texts: readonly string[]) {
  yield* texts;
}
const verify = (texts: readonly string[], options: Parameters<typeof verifyExport>[2] = NOTHING) =>
  verifyExport(given(texts), "file", options);
const wrongLine = async (texts: readonly string[], options = NOTHING): Promise<number | string> => {
  const verdict = await verify(texts, options);
  return verdict.ok ? "proven" : verdict.line;
};
const changed = (index: number, change: (line: string) => string) =>
  lines.map((line, at) => (at === index ? change(line) : line));
const header = (change: (value: ReceiptExportHeader) => object): string[] =>
  changed(0, (line) => JSON.stringify(change(JSON.parse(line) as ReceiptExportHeader)));
const proven = async (texts = lines, options = NOTHING): Promise<Extract<ExportVerdict, { ok: true }>> => {
  const verdict = await verify(texts, options);
  if (!verdict.ok) throw new Error(`line ${verdict.line}: ${verdict.why}`);
  return verdict;
};

describe("an export", () => {
  test("is proven with nothing but itself: every receipt, by the key of its time", async () => {
    const verdict = await proven();
    expect(lines).toHaveLength(RECEIPTS + 1);
    expect(verdict).toMatchObject({
      agent: agent.agentId as never,
      receipts: RECEIPTS,
      first: 1,
      last: RECEIPTS,
    });
    expect(verdict.keys.map(({ epoch, receipts }) => [epoch, receipts])).toEqual([
      [1, RECEIPTS / 2],
      [2, RECEIPTS / 2],
    ]);
    expect(verdict.head as string).toBe(agent.prevReceipt);
    expect([verdict.root.pinned, verdict.head_pinned, verdict.from_the_beginning]).toEqual([
      false,
      false,
      true,
    ]);
  });

  test("names its trust root, and is held to the one that is named, in either form", async () => {
    const { root, head } = await proven();
    for (const form of [root.thumbprint, root.token_form]) {
      expect((await proven(lines, { root: form, head } as never)).root.pinned).toBeTrue();
    }
    expect(root.token_form).toBe(await tokenThumbprint(agent.trust.document.root));
    expect(await wrongLine(lines, { root: "x".repeat(43), head: null } as never)).toBe(1);
  });

  test("from a number on says that it is not from the beginning, and is linked within itself", async () => {
    const later = await exported("later.jsonl", "--since", "3");
    const verdict = await proven(later);
    expect([verdict.first, verdict.receipts, verdict.from_the_beginning]).toEqual([3, RECEIPTS - 2, false]);
    const [none] = await exported("none.jsonl", "--since", "99");
    expect(await proven([none ?? ""])).toMatchObject({ receipts: 0, first: null, head: null });
  });

  test("cut at its end is found by what its first line says, and, that rewritten too, by a known head", async () => {
    const { head } = await proven();
    expect(await wrongLine(lines.slice(0, -1))).toBe(RECEIPTS + 1);
    const before = JSON.parse(lines.at(-2) ?? "") as ReceiptExportLine;
    const cut = header((value) => ({
      ...value,
      range: { first: 1, last: RECEIPTS - 1, head: before.sha256 },
    })).slice(0, -1);
    expect((await proven(cut)).last).toBe(RECEIPTS - 1);
    expect(await wrongLine(cut, { root: null, head } as never)).toBe(RECEIPTS + 1);
  });
});

describe("a forged export", () => {
  test("signed by a key no license of the agent names is found at its line", async () => {
    const stranger = await ScriptedAgent.enrol(control.url, await mint(control));
    Object.assign(stranger, { agentId: agent.agentId, receiptSeq: RECEIPTS, prevReceipt: agent.prevReceipt });
    const job = claimsOf<JobClaims>((JSON.parse(lines[1] ?? "") as ReceiptExportLine).receipt);
    const receipt = await stranger.receipt(job, "x");
    const sha256 = sha256Of(receipt);
    const more = (value: ReceiptExportHeader) => ({
      ...value,
      range: { first: 1, last: RECEIPTS + 1, head: sha256 },
    });
    const forged = [...header(more), JSON.stringify({ seq: RECEIPTS + 1, sha256, receipt })];
    expect(await wrongLine(forged)).toBe(RECEIPTS + 2);
    const withKey = (value: ReceiptExportHeader, license: string) => ({
      ...more(value),
      keys: [...value.keys, { jwk: stranger.identity.jwk, license }],
    });
    for (const license of [stranger.license, agent.license]) {
      expect(await wrongLine([...header((value) => withKey(value, license)), ...forged.slice(1)])).toBe(1);
    }
  });

  test("with keys in another order, a key missing, another root's key set, or another agent's name is found", async () => {
    const other = await startTestControlPlane();
    try {
      const foreign = await ScriptedAgent.enrol(other.url, await mint(other));
      const cases: ((value: ReceiptExportHeader) => object)[] = [
        (value) => ({ ...value, keys: value.keys.toReversed() }),
        (value) => ({ ...value, trust: [foreign.trust.document] }),
        (value) => ({ ...value, trust: [...value.trust, foreign.trust.document] }),
        (value) => ({ ...value, agent: foreign.agentId }),
        (value) => ({ ...value, keys: value.keys.map(({ jwk }) => ({ jwk, license: foreign.license })) }),
      ];
      for (const change of cases) expect(await wrongLine(header(change))).toBe(1);
      expect(await wrongLine(header((value) => ({ ...value, keys: value.keys.slice(1) })))).toBe(2);
      expect(await wrongLine(header((value) => ({ ...value, keys: value.keys.slice(0, 1) })))).toBe(
        RECEIPTS / 2 + 2,
      );
    } finally {
      await other.close();
    }
  });

  test("by the old key after the new one is found", async () => {
    const [a, b] = [lines[RECEIPTS / 2], lines[RECEIPTS / 2 + 1]].map(
      (line) => JSON.parse(line ?? "") as ReceiptExportLine,
    );
    if (!a || !b) throw new Error("no lines");
    const swapped = changed(RECEIPTS / 2 + 1, () =>
      JSON.stringify({ ...b, receipt: a.receipt, sha256: a.sha256 }),
    );
    expect(await wrongLine(swapped)).toBe(RECEIPTS / 2 + 2);
  });
});

describe("any change", () => {
  const index = fc.nat({ max: RECEIPTS });
  const RUNS = 150;

  test("of a byte is found", async () => {
    await fc.assert(
      fc.asyncProperty(index, fc.nat(), fc.integer({ min: 1, max: 255 }), async (at, place, flip) => {
        const bytes = Buffer.from(lines[at] ?? "");
        const position = place % bytes.length;
        bytes[position] = (bytes[position] ?? 0) ^ flip;
        const path = join(dir, "flipped.jsonl");
        const texts = changed(at, () => "");
        const whole = Buffer.concat(
          texts.map((text, i) => Buffer.concat([i === at ? bytes : Buffer.from(text), Buffer.from("\n")])),
        );
        await writeFile(path, whole);
        const verdict = await verifyExport(linesOf(path), path, NOTHING).catch(
          (error: { code: string }) => error.code,
        );
        if (typeof verdict === "string") expect([verdict, at]).toEqual(["RECEIPTS_MALFORMED", 0]);
        else expect(verdict.ok).toBeFalse();
      }),
      { numRuns: RUNS },
    );
  });

  test("of the lines' order or number is found", async () => {
    const one = fc.integer({ min: 1, max: RECEIPTS });
    await fc.assert(
      fc.asyncProperty(one, one, fc.constantFrom("drop", "double", "swap", "move"), async (a, b, act) => {
        const texts = [...lines];
        if (act === "drop") texts.splice(a, 1);
        if (act === "double") texts.splice(b, 0, lines[a] ?? "");
        if (act === "swap") [texts[a], texts[b]] = [texts[b] ?? "", texts[a] ?? ""];
        if (act === "move") texts.splice(b, 0, ...texts.splice(a, 1));
        fc.pre(texts.join("\n") !== lines.join("\n"));
        expect(await wrongLine(texts)).not.toBe("proven");
      }),
      { numRuns: RUNS },
    );
  });

  test("of white space, of members' order, of escapes, of the end is found", async () => {
    for (const at of [0, 1, RECEIPTS]) {
      const spaced = changed(at, (line) => line.replace(",", ", "));
      const turned = changed(at, (line) =>
        JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(line) as object).toReversed())),
      );
      const escaped = changed(at, (line) => line.replace("s", "\\u0073"));
      for (const texts of [spaced, turned, escaped]) expect(await wrongLine(texts)).toBe(at + 1);
    }
    const cut = join(dir, "cut.jsonl");
    await writeFile(cut, lines.join("\n"));
    expect(await verifyExport(linesOf(cut), cut, NOTHING)).toMatchObject({ ok: false, line: RECEIPTS + 1 });
    await writeFile(cut, `${lines.join("\n")}\n\n`);
    expect(await verifyExport(linesOf(cut), cut, NOTHING)).toMatchObject({ ok: false, line: RECEIPTS + 2 });
  });
});

describe("the command", () => {
  const whole = join(dir, "whole.jsonl");

  test("proves a file with nothing else on the machine, names the wrong line, and says when it is no export", async () => {
    const ran = await runControl(["receipts", "verify", whole]);
    expect([ran.exit, ran.out.includes(`PROVEN  ${RECEIPTS} receipts`)]).toEqual([0, true]);
    expect(ran.out).toContain(agent.prevReceipt);
    const pinned = await runControl(["receipts", "verify", whole, "--head", agent.prevReceipt, "--json"]);
    expect(JSON.parse(pinned.out)).toMatchObject({ ok: true, head_pinned: true });
    const bad = join(dir, "bad.jsonl");
    await writeFile(bad, `${changed(3, (line) => line.replace('"seq":3', '"seq":4')).join("\n")}\n`);
    const wrong = await runControl(["receipts", "verify", bad]);
    expect([wrong.exit, wrong.out.includes("line 4: it is number 4, and 3 is to come")]).toEqual([1, true]);
    for (const text of ["", "hello\n", `${lines.slice(1).join("\n")}\n`]) {
      await writeFile(bad, text);
      expect((await runControl(["receipts", "verify", bad])).exit).toBe(65);
    }
    expect((await runControl(["receipts", "verify", join(dir, "nothing")])).exit).toBe(66);
    expect((await runControl(["receipts", "verify", whole, "--root", "short"])).exit).toBe(64);
  });

  test("writes over nothing and exports no stranger", async () => {
    const where = ["--data-dir", control.running().paths.root];
    const again = await runControl([
      "receipts",
      "export",
      "--agent",
      agent.agentId,
      "--out",
      whole,
      ...where,
    ]);
    expect([again.exit, again.err.includes("OUTPUT_EXISTS")]).toEqual([73, true]);
    const stranger = `agt_${"z".repeat(20)}`;
    const out = join(dir, "stranger.jsonl");
    expect((await runControl(["receipts", "export", "--agent", stranger, "--out", out, ...where])).exit).toBe(
      66,
    );
    expect((await faultOf(verifyExport(linesOf(out), out, NOTHING))).code).toBe("CLI_INPUT_UNREADABLE");
  });
});
