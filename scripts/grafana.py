"""Writes ``deploy/grafana/dashboards`` with the Grafana Foundation SDK; ``--check`` only says whether they are fresh."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

TARGET = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, THIRD, HALF, FULL = 8, 8, 12, 24
SOMEWHERE = '{client=~"$client"}'
DEVICE = '{client=~"$client", device=~"$device", owner=""}'
GPUS = '{owner="", device!~".*/.*"}'
"""GPUs as wholes, without the MIG devices that they are cut into."""
RUN = '{experiment=~"$experiment", name=~"$name"}'


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time.

    Attributes:
        lines: (expression, legend) of each.
        unit: as Grafana calls it; ``percentunit`` is 0..1.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    width: int = THIRD
    about: str = ""
    top: float | None = None
    stacked: bool = False

    def build(self) -> timeseries.Panel:
        panel = timeseries.Panel().title(self.title).description(self.about).datasource(SOURCE).unit(self.unit).min(0)
        panel = panel.height(HEIGHT).span(self.width).line_width(1).fill_opacity(12).span_nulls(False)
        panel = panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        legend = common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.TABLE).show_legend(True)
        panel = panel.legend(legend.placement(common_models.LegendPlacement.BOTTOM).calcs(["lastNotNull", "mean", "max"]))
        if self.top is not None:
            panel = panel.max(self.top)
        if self.stacked:
            panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL)).fill_opacity(60)
        for number, (expression, legend_text) in enumerate(self.lines):
            panel = panel.with_target(query(expression, legend_text, number))
        return panel


@dataclass(frozen=True, slots=True)
class Number:
    """One value now. From ``bad`` on it is red."""

    title: str
    unit: str
    expression: str
    about: str = ""
    bad: float | None = None
    width: int = 4

    def build(self) -> stat.Panel:
        steps = [models.Threshold(value=None, color="green")]
        if self.bad is not None:
            steps.append(models.Threshold(value=self.bad, color="red"))
        thresholds = dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
        newest = common.ReduceDataOptions().calcs(["lastNotNull"])
        panel = (
            stat.Panel()
            .reduce_options(newest)
            .graph_mode(common_models.BigValueGraphMode.NONE)
            .title(self.title)
            .description(self.about)
            .datasource(SOURCE)
            .unit(self.unit)
        )
        return panel.height(4).span(self.width).thresholds(thresholds).with_target(query(self.expression, "", 0, instant=True))


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of the series that an expression has now."""

    title: str
    unit: str
    expression: str
    about: str = ""

    def build(self) -> table.Panel:
        panel = table.Panel().title(self.title).description(self.about).datasource(SOURCE).unit(self.unit).height(HEIGHT).span(FULL)
        panel = panel.show_header(True).with_target(query(self.expression, "", 0, instant=True).format("table"))
        hidden = {"Time": True, "__name__": True, "instance": True, "job": True}
        return panel.with_transformation(models.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}))


Panel = Chart | Number | Rows


def query(expression: str, legend: str, number: int, *, instant: bool = False) -> queries.Dataquery:
    made = queries.Dataquery().expr(expression).ref_id(chr(ord("A") + number)).legend_format(legend or "__auto").datasource(SOURCE)
    return made.instant() if instant else made.range()


def by_device(metric: str) -> tuple[tuple[str, str], ...]:
    return ((f"{metric}{DEVICE}", "{{client}} {{device}}"),)


def with_memory(metric: str, of_memory: str) -> tuple[tuple[str, str], ...]:
    """A device's own and that of its memory."""
    return (*by_device(metric), (f"{of_memory}{DEVICE}", "memory of {{client}} {{device}}"))


def both_ways(metric: str, labels: str, legend: str) -> tuple[tuple[str, str], ...]:
    """What comes in and goes out."""
    return ((metric.format("rx") + labels, f"rx {legend}"), (metric.format("tx") + labels, f"tx {legend}"))


def by_owner(metric: str) -> tuple[tuple[str, str], ...]:
    return ((metric + '{client=~"$client", device=~"$device"}', "{{client}} {{device}} {{owner}}"),)


def by_slot(metric: str) -> tuple[tuple[str, str], ...]:
    """What the runs on slots measure."""
    return ((metric + '{client=~"$client", owner=~"run:.*"}', "{{client}} {{device}} {{owner}}"),)


def by_client(expression: str) -> tuple[tuple[str, str], ...]:
    return ((expression, "{{client}}"),)


def by_run(metric: str) -> tuple[tuple[str, str], ...]:
    return ((f"{metric}{RUN}", "{{name}} ({{run}})"),)


TOKENS = 'sum(avg by (client, device) (gswarm_training_tokens_per_second) * on (client, device) gswarm_training_train_ratio{owner=""})'
"""The rate of a run that had its turn stays for minutes, as steps may be long: of one slot they are no sum."""

OVERVIEW: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Number("GPUs", "none", f"count(gswarm_gpu_memory_total_bytes{GPUS})"),
        Number("Mean utilisation", "percentunit", 'avg(gswarm_gpu_utilization_ratio{owner=""})'),
        Number("Power", "watt", 'sum(gswarm_gpu_power_watts{owner=""})'),
        Number("Running runs", "none", 'sum(gswarm_runs{state="running"})'),
        Number("Runs that wait", "none", "sum(gswarm_queue_runs)"),
        Number("Alerts", "none", "sum(gswarm_alerts_firing) or vector(0)", bad=1),
    ),
    "GPUs": (
        Chart("Utilisation by client", "percentunit", by_client('avg by (client) (gswarm_gpu_utilization_ratio{owner=""})'), top=1),
        Chart(
            "Memory used by client",
            "percentunit",
            by_client(f"sum by (client) (gswarm_gpu_memory_used_bytes{GPUS}) / sum by (client) (gswarm_gpu_memory_total_bytes{GPUS})"),
            top=1,
        ),
        Chart("Power by client", "watt", by_client('sum by (client) (gswarm_gpu_power_watts{owner=""})'), stacked=True),
        Chart(
            "Energy",
            "watth",
            by_client('sum by (client) (increase(gswarm_gpu_energy_joules_total{owner=""}[1h])) / 3600'),
            about="Of the last hour.",
        ),
        Chart("Hottest GPU", "celsius", by_client('max by (client) (gswarm_gpu_temperature_celsius{owner=""})')),
        Chart("Memory of owners", "bytes", (("sum by (owner) (gswarm_process_memory_used_bytes)", "{{owner}}"),), stacked=True),
    ),
    "Plan": (
        Chart("Runs by state", "none", (("gswarm_runs > 0", "{{state}}"),), stacked=True),
        Chart(
            "Slots",
            "none",
            (("gswarm_slots", "{{state}}"),),
            stacked=True,
            about="Unavailable: the client is lost, draining, or outsiders use the GPU.",
        ),
        Chart("Clients by state", "none", (("gswarm_clients", "{{state}}"),), stacked=True),
        Chart(
            "Slots: training, swapping, idle",
            "percentunit",
            (
                ("avg(gswarm_training_train_ratio)", "training"),
                ("avg(gswarm_training_swap_ratio)", "swapping"),
                ("avg(gswarm_training_idle_ratio)", "idle"),
            ),
            top=1,
            stacked=True,
        ),
        Chart(
            "Tokens",
            "none",
            ((TOKENS, "tokens/s"),),
            about="What the runs of a slot make of a second in the mean, times the share of time in which it trains.",
        ),
        Chart("Alerts", "none", (("gswarm_alerts_firing", "{{rule}} {{severity}}"),), stacked=True),
    ),
    "Host": (
        Chart("Events", "none", (("rate(gswarm_events_total[5m])", "events/s"), ("gswarm_journal_waiting_events", "waiting"))),
        Chart("Journal", "s", (("gswarm_journal_flush_seconds", "newest flush"),)),
        Chart(
            "Refused",
            "none",
            (
                ("rate(gswarm_refused_reports_total[5m])", "reports/s"),
                ("rate(gswarm_refused_transfers_total[5m])", "transfers/s"),
            ),
        ),
        Chart(
            "Free on disks",
            "percentunit",
            (
                ("gswarm_host_disk_free_bytes / gswarm_host_disk_size_bytes", "host {{disk}}"),
                ("gswarm_machine_disk_free_bytes / gswarm_machine_disk_total_bytes", "{{client}}"),
            ),
            top=1,
        ),
        Chart("CPU of the host", "none", (('rate(process_cpu_seconds_total{job="gswarm"}[5m])', "cores"),)),
        Chart("Memory of the host", "bytes", (('process_resident_memory_bytes{job="gswarm"}', "resident"),)),
    ),
}
CLIENT: dict[str, tuple[Panel, ...]] = {
    "GPU": (
        Chart("Utilisation", "percentunit", by_device("gswarm_gpu_utilization_ratio"), top=1),
        Chart(
            "Memory traffic",
            "percentunit",
            by_device("gswarm_gpu_memory_utilization_ratio"),
            top=1,
            about="Share of time in which device memory was read or written.",
        ),
        Chart("Memory used", "bytes", by_device("gswarm_gpu_memory_used_bytes")),
        Chart(
            "Power and its limit",
            "watt",
            (*by_device("gswarm_gpu_power_watts"), (f"gswarm_gpu_power_limit_watts{DEVICE}", "limit of {{client}} {{device}}")),
        ),
        Chart("Temperature", "celsius", with_memory("gswarm_gpu_temperature_celsius", "gswarm_gpu_memory_temperature_celsius")),
        Chart("Clocks", "hertz", with_memory("gswarm_gpu_sm_clock_hertz", "gswarm_gpu_memory_clock_hertz")),
        Chart("PCIe", "Bps", both_ways("gswarm_gpu_pcie_{}_bytes_per_second", DEVICE, "{{client}} {{device}}")),
        Chart("NVLink", "Bps", both_ways("gswarm_gpu_nvlink_{}_bytes_per_second", DEVICE, "{{client}} {{device}}")),
        Chart("Fan", "percentunit", by_device("gswarm_gpu_fan_ratio"), top=1),
        Chart(
            "Throttle reasons",
            "none",
            by_device("gswarm_gpu_throttle_reasons"),
            about="NVML's bit mask: 32 and 64 are heat, 4 is the power limit.",
        ),
        Chart(
            "Memory errors",
            "none",
            (
                (f"increase(gswarm_gpu_ecc_corrected_total{DEVICE}[1h])", "corrected {{device}}"),
                (f"increase(gswarm_gpu_ecc_uncorrected_total{DEVICE}[1h])", "uncorrected {{device}}"),
            ),
            about="Of the last hour.",
        ),
        Chart("Last XID error", "none", by_device("gswarm_gpu_xid")),
    ),
    "Whose": (
        Chart("Memory by owner", "bytes", by_owner("gswarm_process_memory_used_bytes"), HALF, stacked=True),
        Chart("SMs by owner", "percentunit", by_owner("gswarm_process_sm_utilization_ratio"), HALF, top=1),
    ),
    "Machine": (
        Chart("CPU", "percentunit", by_client(f"gswarm_machine_cpu_utilization_ratio{SOMEWHERE}"), top=1),
        Chart("Load", "none", tuple((f"gswarm_machine_load_{m}m{SOMEWHERE}", f"{m} min {{{{client}}}}") for m in (1, 5, 15))),
        Chart(
            "Memory",
            "bytes",
            (
                (f"gswarm_machine_memory_used_bytes{SOMEWHERE}", "used {{client}}"),
                (f"gswarm_machine_memory_total_bytes{SOMEWHERE}", "all of {{client}}"),
                (f"gswarm_machine_swap_used_bytes{SOMEWHERE}", "swap {{client}}"),
            ),
        ),
        Chart(
            "Disk",
            "Bps",
            (
                (f"gswarm_machine_disk_read_bytes_per_second{SOMEWHERE}", "read {{client}}"),
                (f"gswarm_machine_disk_write_bytes_per_second{SOMEWHERE}", "write {{client}}"),
            ),
        ),
        Chart("Disk free", "bytes", by_client(f"gswarm_machine_disk_free_bytes{SOMEWHERE}")),
        Chart("Network", "Bps", both_ways("gswarm_machine_network_{}_bytes_per_second", SOMEWHERE, "{{client}}")),
        Chart("Samples lost", "none", by_client(f"increase(gswarm_machine_samples_lost_total{SOMEWHERE}[1h])"), about="Of the last hour."),
        Chart("Clock offset", "s", by_client(f"gswarm_machine_clock_offset_seconds{SOMEWHERE}")),
    ),
}
TRAINING: dict[str, tuple[Panel, ...]] = {
    "Runs": (
        Chart("Loss", "none", by_run("gswarm_run_loss"), HALF),
        Chart("Evaluation loss", "none", by_run("gswarm_run_eval_loss"), HALF),
        Chart("Progress", "percentunit", ((f"gswarm_run_step{RUN} / gswarm_run_steps_planned{RUN}", "{{name}} ({{run}})"),), HALF, top=1),
        Chart("Committed steps a second", "none", ((f"deriv(gswarm_run_step{RUN}[10m])", "{{name}} ({{run}})"),), HALF),
        Rows("Runs that hold a slot", "none", f"gswarm_run_step{RUN}", "At most 200, the oldest first."),
    ),
    "Slots": (
        Chart("Step time", "s", by_slot("gswarm_training_step_time_seconds")),
        Chart("Tokens", "none", by_slot("gswarm_training_tokens_per_second")),
        Chart("Samples", "none", by_slot("gswarm_training_samples_per_second")),
        Chart("MFU", "percentunit", by_slot("gswarm_training_mfu_ratio"), top=1),
        Chart("Waiting for data", "percentunit", by_slot("gswarm_training_data_wait_ratio"), top=1),
        Chart("Training share of slots", "percentunit", ((f"gswarm_training_train_ratio{SOMEWHERE}", "{{client}} {{device}}"),), top=1),
    ),
}


def variable(name: str, label: str, values: str) -> dashboards.QueryVariable:
    """Any of the values that a label has now."""
    made = (
        dashboards.QueryVariable(name).label(label).datasource(SOURCE).query(values).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    return made.multi(True).include_all(True).all_value(".*").current(everything).sort(models.VariableSort.ALPHABETICAL_ASC)


CLIENTS = variable("client", "Client", "label_values(gswarm_machine_memory_total_bytes, client)")
DEVICES = variable("device", "Device", 'label_values(gswarm_gpu_memory_total_bytes{client=~"$client"}, device)')
EXPERIMENTS = variable("experiment", "Experiment", "label_values(gswarm_run_step, experiment)")
NAMES = variable("name", "Run", 'label_values(gswarm_run_step{experiment=~"$experiment"}, name)')


def build(uid: str, title: str, rows: dict[str, tuple[Panel, ...]], *variables: dashboards.QueryVariable) -> str:
    """The dashboard as Grafana's JSON."""
    made = dashboards.Dashboard(title).uid(uid).tags(["gswarm"]).refresh("15s").time("now-1h", "now").readonly().timezone("browser")
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.link(dashboards.DashboardLink("gswarm").type(models.DashboardLinkType.DASHBOARDS).tags(["gswarm"]).keep_time(True))
    made = made.with_variable(dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for one in variables:
        made = made.with_variable(one)
    number = count(1)
    for row, panels in rows.items():
        made = made.with_row(dashboards.Row(row).id(next(number)))
        for panel in panels:
            made = made.with_panel(panel.build().id(next(number)))
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(made.build())), indent=1, sort_keys=True) + "\n"


DASHBOARDS: dict[str, Callable[[], str]] = {
    "gswarm-overview.json": lambda: build("gswarm-overview", "gswarm: cluster", OVERVIEW),
    "gswarm-client.json": lambda: build("gswarm-client", "gswarm: client and GPU", CLIENT, CLIENTS, DEVICES),
    "gswarm-training.json": lambda: build("gswarm-training", "gswarm: training runs", TRAINING, CLIENTS, EXPERIMENTS, NAMES),
}


def render() -> dict[str, str]:
    return {name: make() for name, make in DASHBOARDS.items()}


if __name__ == "__main__":
    from generated import write_or_check

    sys.exit(write_or_check(__doc__, {TARGET / name: text for name, text in render().items()}, "make docs"))
