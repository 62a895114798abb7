import type { AgentDetail, AgentView, OrderView } from "../../protocol/api.ts";
import { duration, safeLine, table } from "./text.ts";

const ORDERS_SHOWN = 10;

/** One agent as a person wants to read it: how it stands, what it was told. */
export function renderAgent({ agent, orders }: AgentDetail, nowMs: number): string {
  const rows: (readonly [string, string])[] = [
    ["Standing", standingText(agent)],
    ["Told", agent.state ?? "nothing yet"],
    ["Host", agent.hostname],
    ["Version", agent.version],
    ["Slot", agent.slot_held ? "held" : "none"],
    ["Jobs", `${agent.in_flight} of ${agent.capacity}`],
    ["Heard", agoOf(agent.last_beat_at, nowMs)],
    ["Epoch", String(agent.epoch)],
    ["Anomalies", agent.open_anomalies === 0 ? "none open" : `${agent.open_anomalies} open`],
  ];
  const facts = rows.map(([name, text]) => `  ${name.padEnd(11)}${safeLine(text)}\n`).join("");
  return `${agent.id}\n${facts}${ordersText(orders, nowMs)}`;
}

/** How an agent stands, in one line; the reason only where it is not as usual. */
export function standingText({ standing, standing_reason }: AgentView): string {
  return standing_reason === null ? standing : `${standing} (${standing_reason})`;
}

/** What an agent was told and has not taken yet, in few words. */
export const openOrdersText = ({ open_orders }: AgentView): string =>
  open_orders.map(({ type }) => type).join(", ");

export const agoOf = (ms: number | null, nowMs: number): string =>
  ms === null ? "never" : `${duration(Math.max(0, nowMs - ms))} ago`;

function ordersText(orders: readonly OrderView[], nowMs: number): string {
  if (orders.length === 0) return "";
  const rows = orders
    .slice(0, ORDERS_SHOWN)
    .map((order) => [
      `${order.epoch}.${order.seq}`,
      order.about === null ? order.type : `${order.type} ${order.about}`,
      order.state,
      agoOf(order.given_at, nowMs),
      safeLine(order.reason),
    ]);
  return `\n${table([["ORDER", "WHAT", "STATE", "GIVEN", "WHY"], ...rows])}`;
}
