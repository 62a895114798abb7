// The wire between one host and the Control Plane, with everything that can stand on it.

import { openResponse, type Transport, type WireReply, type WireRequest } from "../../src/agent/transport.ts";
import { type Fault, fault } from "../../src/fault/fault.ts";
import { LIMITS } from "../../src/protocol/limits.ts";
import type { Answer, Asked, Control } from "./control.ts";
import type { Dice } from "./dice.ts";
import { WIRE_FAULTS, type WireFault } from "./network-faults.ts";
import type { Tally } from "./tally.ts";
import type { Timeline } from "./timeline.ts";

export interface WireDeps {
  readonly timeline: Timeline;
  readonly dice: Dice;
  readonly control: Control;
  readonly tally: Tally;
  /** Hands something to the host when it can hear; a host that sleeps hears it when it wakes. */
  readonly deliver: (fn: () => void) => void;
  readonly after: (ms: number, fn: () => void) => () => void;
  readonly say: (what: string) => void;
  /** Address of the host. */
  readonly peer: string;
  /** Sees each request as it leaves. */
  readonly onRequest: (asked: Asked) => void;
  /** What a host in the middle makes of an answer. */
  readonly meddle: (asked: Asked, answer: Answer) => Promise<Answer>;
}

export class Wire {
  /** How likely an exchange meets a fault. */
  badness = 0;
  /** What the next exchange meets, whatever the badness. */
  next: WireFault | null = null;
  /** What the next exchange with one route meets. */
  nextTo: readonly [string, WireFault] | null = null;
  /** Until when nothing passes, on the timeline. */
  cutUntilMs = 0;
  private readonly deps: WireDeps;

  constructor(deps: WireDeps) {
    this.deps = deps;
  }

  /** The transport of one process. A process that is dead hears nothing. */
  transport(isDead: () => boolean): Transport {
    return (request) => {
      if (isDead()) return new Promise<never>(() => undefined);
      const { promise, resolve, reject } = Promise.withResolvers<WireReply>();
      const over = () => {
        forget();
        request.signal?.removeEventListener("abort", cut);
      };
      const fail = (why: Fault) => {
        if (isDead()) return;
        over();
        reject(why);
      };
      const cut = () => fail(unreachable(request.url, "aborted"));
      const seconds = LIMITS.REQUEST_TIMEOUT_MS / 1000;
      const late = () => fail(fault("WIRE_TIMEOUT", { url: request.url, seconds }));
      const forget = this.deps.after(LIMITS.REQUEST_TIMEOUT_MS, late);
      request.signal?.addEventListener("abort", cut, { once: true });
      if (request.signal?.aborted) cut();
      else {
        this.carry(request, (answer) =>
          this.deps.deliver(() => {
            if (isDead()) return;
            if (answer === null) return fail(unreachable(request.url, "ECONNRESET"));
            const { status, headers, body } = answer;
            openResponse(request, new Response(body, { status, headers })).then(
              (reply) => {
                if (isDead()) return;
                over();
                resolve(reply);
              },
              (why: Fault) => fail(why),
            );
          }),
        );
      }
      return promise;
    };
  }

  private carry(request: WireRequest, answered: (answer: Answer | null) => void): void {
    const { timeline, dice, say, tally, onRequest, peer } = this.deps;
    const { method, url, headers, body } = request;
    const asked: Asked = { method, url, headers: { ...headers }, body, peer };
    onRequest(asked);
    const path = new URL(request.url).pathname.replace(/job_[0-9A-Za-z]+/, "…");
    const there = dice.between(1, 20);
    const back = dice.between(1, 20);
    if (timeline.nowMs < this.cutUntilMs) {
      tally.note("wire: cut");
      if (dice.chance(0.5)) timeline.after(there, () => answered(null));
      return;
    }
    const meant = this.nextTo?.[0] === path ? this.nextTo[1] : null;
    if (meant !== null) this.nextTo = null;
    const fate = meant ?? this.next ?? (dice.chance(this.badness) ? dice.pick(WIRE_FAULTS) : null);
    this.next = null;
    if (fate !== null) {
      tally.note(`wire: ${fate}`);
      say(`${path}: ${fate}`);
    }
    this.meet(fate, { asked, there, back }, answered);
  }

  private meet(
    fate: WireFault | null,
    { asked, there, back }: { asked: Asked; there: number; back: number },
    answered: (answer: Answer | null) => void,
  ): void {
    const { timeline, dice } = this.deps;
    const exchange = (
      thereMs: number,
      backMs: number,
      change: (answer: Answer) => Answer | null = (a) => a,
    ) =>
      this.exchange(asked, thereMs, (answer) => {
        const changed = answer === null ? null : change(answer);
        timeline.after(backMs, () => answered(changed));
      });
    const instead = (answer: Answer | null) => void timeline.after(there + back, () => answered(answer));
    switch (fate) {
      case null:
        exchange(there, back);
        return;
      case "request lost":
        instead(null);
        return;
      case "request lost in silence":
        return;
      case "reply lost":
        exchange(there, back, () => null);
        return;
      case "reply lost in silence":
        this.exchange(asked, there, () => undefined);
        return;
      case "request delayed":
        exchange(dice.between(1_000, 55_000), back);
        return;
      case "reply delayed":
        exchange(there, dice.between(1_000, 60_000));
        return;
      case "request sent twice":
        this.exchange(
          asked,
          there + dice.between(0, 5_000),
          (answer) => void timeline.after(back, () => answered(answer)),
        );
        exchange(there, back + dice.between(0, 200));
        return;
      case "html page":
        instead(page(200, "text/html", "<html>Please log in</html>"));
        return;
      case "bad gateway":
        instead(page(502, "text/html", "<html>502 Bad Gateway</html>"));
        return;
      case "service unavailable":
        instead(page(503, "text/plain", "later", { "retry-after": String(dice.between(1, 60)) }));
        return;
      case "unauthorized by a proxy":
        instead(page(dice.pick([401, 403, 404, 407]), "text/html", "<html>No</html>"));
        return;
      case "redirect":
        instead(page(302, "text/html", "", { location: "http://127.0.0.1:1/" }));
        return;
      case "reply altered":
        exchange(there, back, (answer) => altered(answer, dice));
        return;
      case "reply cut short":
        exchange(there, back, (answer) => ({
          ...answer,
          body: answer.body.slice(0, dice.below(Math.max(1, answer.body.length))),
        }));
        return;
    }
  }

  /** The request reaches the server after `thereMs`; what it answers is handed on at that moment. */
  private exchange(asked: Asked, thereMs: number, answered: (answer: Answer | null) => void): void {
    const { timeline, control, meddle } = this.deps;
    timeline.after(thereMs, () => {
      const answer = control.ask(asked).then((given) => (given === null ? null : meddle(asked, given)));
      answer.then(answered, (error: unknown) => {
        throw error;
      });
    });
  }
}

const unreachable = (url: string, why: string) => fault("WIRE_UNREACHABLE", { url, why });

const page = (status: number, type: string, text: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: new Headers({ "content-type": type, ...headers }),
  body: new TextEncoder().encode(text),
});

/** One digit or letter of the body is another one: a lease longer, an acknowledgement of something else, a wrong nonce. */
function altered(answer: Answer, dice: Dice): Answer {
  const body = Uint8Array.from(answer.body);
  const places = [...body.keys()].filter((i) => /[0-9a-z]/.test(String.fromCharCode(body[i] ?? 0)));
  const place = places[dice.below(Math.max(1, places.length))];
  if (place !== undefined) body[place] = body[place] === 0x37 ? 0x38 : 0x37;
  return { ...answer, body };
}
