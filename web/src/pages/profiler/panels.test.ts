import { expect, it } from "vitest";
import type { Metric } from "@/api/profiler-query";
import { panelsOf } from "./panels";

function metric(name: string, group = "gpu", unit = "ratio"): Metric {
  return { name, group, unit, kind: "gauge", help: `help of ${name}` };
}

it("has every metric in a panel, also one that is new", () => {
  const names = ["new_thing", "gpu_pcie_tx", "gpu_pcie_rx", "gpu_memory_total", "gpu_memory_used"];
  const panels = panelsOf([
    ...names.map((name) => metric(name)),
    metric("load_1m", "machine", "count"),
    metric("x", "odd"),
  ]);
  const shown = panels.flatMap((panel) => [...panel.metrics, ...(panel.limit === null ? [] : [panel.limit])]);
  expect([...shown].sort()).toEqual([...names, "load_1m", "x"].sort());
  expect(panels.find((panel) => panel.id === "new_thing")?.title).toBe("New thing");
});

it("draws what belongs together in one panel", () => {
  const [memory, pcie] = panelsOf(
    ["gpu_pcie_rx", "gpu_pcie_tx", "gpu_memory_used", "gpu_memory_total"].map((name) => metric(name)),
  );
  expect(memory).toMatchObject({ title: "GPU memory", metrics: ["gpu_memory_used"], limit: "gpu_memory_total" });
  expect(pcie).toMatchObject({ title: "PCIe traffic", metrics: ["gpu_pcie_rx", "gpu_pcie_tx"], words: ["rx", "tx"] });
});

it("orders the groups, unknown ones last", () => {
  const panels = panelsOf([
    metric("a", "odd"),
    metric("b", "training"),
    metric("c", "machine"),
    metric("d", "process"),
    metric("e"),
  ]);
  expect(panels.map((panel) => panel.group)).toEqual(["gpu", "process", "machine", "training", "odd"]);
});

it("shows a limit that has no panel of its value by itself", () => {
  expect(panelsOf([metric("gpu_power_limit")]).map((panel) => panel.id)).toEqual(["gpu_power_limit"]);
});
