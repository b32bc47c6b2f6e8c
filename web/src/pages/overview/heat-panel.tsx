import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { useNavigate } from "react-router";
import { clientsQuery } from "@/api/cluster";
import { devicesQuery, latestQuery } from "@/api/profiler";
import { plural } from "@/lib/format";
import { textCodec, useUrlState } from "@/lib/url-state";
import { Segmented } from "@/ui/field";
import { HeatMap, HeatScale } from "@/ui/heat/heat-map";
import { Empty, Panel } from "@/ui/panel";
import { type HeatMetric, type HeatModel, heatModel, LATEST_METRICS, LOOKS } from "./heat-model";

const METRICS = Object.keys(LOOKS) as HeatMetric[];
const METRIC = textCodec<HeatMetric>("utilization", METRICS);
const CHOICES = METRICS.map((value) => ({ value, label: LOOKS[value].label }));
const ENDS: Readonly<Record<HeatMetric, readonly [string, string]>> = {
  utilization: ["0 %", "100 %"],
  memory: ["0 %", "100 %"],
  temperature: ["30 °C", "90 °C"],
  power: ["0 W", "limit"],
};

/** Clients x GPUs, coloured by one metric. */
export function HeatPanel() {
  const navigate = useNavigate();
  const [metric, setMetric] = useUrlState("heat", METRIC);
  const { data: clients } = useQuery(clientsQuery);
  const { data: devices } = useQuery(devicesQuery);
  const { data: latest } = useQuery(latestQuery(LATEST_METRICS));
  const model = useMemo(
    () => heatModel(clients ?? [], devices ?? [], latest, metric),
    [clients, devices, latest, metric],
  );
  const hasGpus = model.gpus + model.migs > 0;
  return (
    <Panel
      title={hasGpus ? "GPUs" : "Slots"}
      note={hasGpus ? gpusText(model) : plural(model.slots, "slot")}
      actions={
        <>
          <HeatScale from={hasGpus ? ENDS[metric][0] : "idle"} to={hasGpus ? ENDS[metric][1] : "trains"} />
          {hasGpus && <Segmented label="Colour by" value={metric} choices={CHOICES} onChange={setMetric} />}
        </>
      }
    >
      {model.groups.length > 0 ? (
        <HeatMap
          label={hasGpus ? `${LOOKS[metric].label} of ${gpusText(model)}` : `Use of ${plural(model.slots, "slot")}`}
          groups={model.groups}
          onOpen={(group) => navigate(`/clients/${group.key}`)}
        />
      ) : (
        clients && (
          <Empty title="No client is here yet">
            Make a token with <code>gswarm token create --role client</code>, then <code>gswarm client connect</code> on
            a machine
          </Empty>
        )
      )}
    </Panel>
  );
}

function gpusText({ gpus, migs }: HeatModel): string {
  return migs > 0 ? `${plural(gpus, "GPU")}, ${plural(migs, "MIG device")}` : plural(gpus, "GPU");
}
