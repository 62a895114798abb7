// An agent that is quarantined and recovered: afterwards it has another key and a later epoch.

import { type AnomalySummary, API } from "../../../../src/protocol/api.ts";
import type { HeldReply } from "../../../../src/protocol/wire.ts";
import type { TestControlPlane } from "./control-plane.ts";
import { claimsOf, type ScriptedAgent } from "./scripted-agent.ts";

export async function giveNewKey(control: TestControlPlane, agent: ScriptedAgent): Promise<void> {
  await control.api("POST", API.agentOrders(agent.agentId), { order: "quarantine", reason: "a test" });
  await agent.held();
  const list = (await (await control.api("GET", API.anomalies)).json()) as { anomalies: AnomalySummary[] };
  const found = list.anomalies.find(({ agent_id }) => agent_id === (agent.agentId as never));
  await control.api("POST", API.anomalyAct(found?.id ?? "", "recover"), { reason: "a test" });
  const reply = (await agent.sendBeat(agent.beatRequest())).json as unknown as HeldReply;
  const order = reply.orders.find(
    (text) => claimsOf<{ order: { type: string } }>(text).order.type === "recover",
  );
  const { status, text } = await agent.rekey(order ?? "");
  if (status !== 200) throw new Error(text);
}
