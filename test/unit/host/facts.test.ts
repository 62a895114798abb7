// Goal: what a heartbeat says about the host is what the kernel says.
// Method: each fact beside another way to ask for it.

import { expect, test } from "bun:test";
import { hostname, loadavg, totalmem } from "node:os";
import * as si from "systeminformation";
import * as v from "valibot";
import * as facts from "../../../src/host/facts.ts";
import { BeatRequestSchema } from "../../../src/protocol/wire.ts";

test("name, load, memory and disk fit the wire and agree with other sources", async () => {
  const host = {
    hostname: facts.hostName(),
    load1: facts.loadAverage(),
    memory_bytes: facts.memory(),
    disk_bytes: facts.disk("/"),
    sandbox: { ok: true, codes: [] },
    kinds: [],
  };
  expect(v.is(BeatRequestSchema.entries.host, host)).toBe(true);
  expect(host.hostname).toBe(hostname());
  expect(Math.abs(host.load1 - (loadavg()[0] ?? 0))).toBeLessThan(2);
  expect(host.memory_bytes.total).toBe(totalmem());
  expect(host.memory_bytes.total).toBe((await si.mem()).total);
  expect(host.memory_bytes.available).toBeLessThanOrEqual(host.memory_bytes.total);
  expect(host.disk_bytes.available).toBeLessThanOrEqual(host.disk_bytes.total);
  expect(host.disk_bytes.total).toBeGreaterThan(0);
});

test("a disk that cannot be asked has nothing, memory that is not told is zero", () => {
  expect(facts.disk("/no/such/place")).toEqual({ total: 0, available: 0 });
  expect(facts.parseMemory("")).toEqual({ total: 0, available: 0 });
  expect(facts.parseMemory("MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n")).toEqual({
    total: 1_048_576,
    available: 524_288,
  });
});

test("the boot has an id and its clock moves with real time", async () => {
  expect(facts.bootId()).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect(facts.bootId()).toBe(facts.bootId());
  const began = facts.bootMs();
  const steady = performance.now();
  await Bun.sleep(60);
  expect(Math.abs(facts.bootMs() - began - (performance.now() - steady))).toBeLessThan(250);
});
