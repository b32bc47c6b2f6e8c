"""The newest samples in Prometheus' words: names with base units, labels, and what is stale or n/a left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import exposition as plain
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import MACHINE, DeviceInfo, SeriesKey
from gswarm.profiler.catalog import BY_NAME, METRICS, Group, Kind, MetricInfo
from gswarm.profiler.freshness import Freshness, Intervals, Latest

SERIES_MAX = 200_000
"""Of clients' samples in one answer; what is more is left out, and counted."""
OWNERS_MAX = 16
"""Shares of one device; the same."""
LABEL_CHARS_MAX = 100

_SUFFIXES = {"ratio": "ratio", "bytes": "bytes", "bytes_per_second": "bytes_per_second", "watts": "watts", "joules": "joules"}
_SUFFIXES |= {"celsius": "celsius", "hertz": "hertz", "seconds": "seconds", "per_second": "per_second", "count": "", "bitmask": ""}
_PREFIXES = {Group.GPU: "", Group.PROCESS: "", Group.MACHINE: "machine_", Group.TRAINING: "training_"}


@dataclass(frozen=True, slots=True)
class Family:
    """One of the host's own metrics with its values.

    Attributes:
        name: with its unit, without ``_total``.
        values: (labels, value); those that are not finite are left out.
    """

    name: str
    help: str
    values: tuple[tuple[Mapping[str, str], float], ...]
    kind: Kind = Kind.GAUGE


@dataclass(frozen=True, slots=True)
class Samples:
    """What the store has, as of ``now_s``."""

    latest: Latest
    devices: Iterable[tuple[ClientName, DeviceInfo, float]]
    now_s: float
    intervals: Intervals = field(default=lambda client: {})


def exposed_name(metric: MetricInfo) -> str:
    """``gpu_power`` -> ``gswarm_gpu_power_watts``; a counter's sample has ``_total`` behind that."""
    name = metric.name
    if metric.unit == "per_second":
        name = name.removesuffix("_rate")
    if metric.unit == "ratio":
        name = name.removesuffix("_share")
    suffix = _SUFFIXES[metric.unit]
    return f"gswarm_{_PREFIXES[metric.group]}{name}{'_' + suffix if suffix else ''}"


def sample_names() -> frozenset[str]:
    """The names of all series that samples may lead to."""
    return frozenset(exposed_name(metric) + ("_total" if metric.kind is Kind.COUNTER else "") for metric in METRICS)


def render(families: Iterable[Family], samples: Samples, *, is_openmetrics: bool) -> bytes:
    """The text of one answer. Takes some 10 us a series: not for the event loop's thread."""
    collector = _Collector(families, samples)
    if is_openmetrics:
        return bytes(openmetrics.generate_latest(collector))  # type: ignore[no-untyped-call]  # the library types only the other
    return plain.generate_latest(collector)


def content_type(*, is_openmetrics: bool) -> str:
    return openmetrics.CONTENT_TYPE_LATEST if is_openmetrics else plain.CONTENT_TYPE_PLAIN_0_0_4


class _Collector(Collector):
    """A registry of one answer."""

    def __init__(self, families: Iterable[Family], samples: Samples) -> None:
        self._families = families
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        yield from (_host_metric(family) for family in self._families)
        yield from sample_metrics(self._samples)
        yield from ProcessCollector(registry=CollectorRegistry()).collect()


def _host_metric(family: Family) -> Metric:
    metric = Metric(family.name, family.help, family.kind.value)
    name = family.name + ("_total" if family.kind is Kind.COUNTER else "")
    for labels, value in family.values:
        if math.isfinite(value):
            metric.add_sample(name, {label: _clipped(text) for label, text in labels.items()}, value)
    return metric


def sample_metrics(samples: Samples) -> Iterator[Metric]:
    """The families of clients' samples, and how many series were left out. Families without a series are left out, too."""
    labels_of = _Labels(samples.devices)
    fresh = Freshness(samples.latest, samples.now_s, samples.intervals)
    metrics: dict[str, Metric] = {}
    count = left_out = 0
    for key, (at_s, value) in samples.latest.items():
        info = BY_NAME.get(key.metric)
        if info is None or not math.isfinite(value) or not fresh.is_fresh(key, at_s):
            continue
        labels = labels_of(key) if count < SERIES_MAX else None
        if labels is None:
            left_out += 1
            continue
        metric = metrics.get(key.metric)
        if metric is None:
            metric = metrics[key.metric] = Metric(exposed_name(info), info.help, info.kind.value)
        name = metric.name + "_total" if info.kind is Kind.COUNTER else metric.name
        metric.add_sample(name, labels, value)
        count += 1
    yield from (metrics[info.name] for info in METRICS if info.name in metrics)
    yield _host_metric(Family("gswarm_series_left_out", "Series of clients that this answer has no room for", (({}, left_out),)))


class _Labels:
    """Labels of series, each made once."""

    def __init__(self, devices: Iterable[tuple[ClientName, DeviceInfo, float]]) -> None:
        self._devices = {(client, info.device): info for client, info, _seen_s in devices}
        self._made: dict[tuple[str, str, str], dict[str, str] | None] = {}
        self._owners: dict[tuple[str, str], int] = {}

    def __call__(self, key: SeriesKey) -> dict[str, str] | None:
        """``None`` where the device has too many owners."""
        whose = (key.client, key.device, key.owner)
        if whose not in self._made:
            self._made[whose] = self._make(key)
        return self._made[whose]

    def _make(self, key: SeriesKey) -> dict[str, str] | None:
        if key.device == MACHINE:
            return {"client": _clipped(key.client)}
        if key.owner:
            self._owners[key.client, key.device] = count = self._owners.get((key.client, key.device), 0) + 1
            if count > OWNERS_MAX:
                return None
        info = self._devices.get((key.client, key.device))
        return {
            "client": _clipped(key.client),
            "device": _clipped(key.device),
            "uuid": _clipped(info.uuid if info is not None else ""),
            "model": _clipped(info.name if info is not None else ""),
            "owner": _clipped(key.owner),
        }


def _clipped(text: str) -> str:
    return text if len(text) <= LABEL_CHARS_MAX else text[: LABEL_CHARS_MAX - 3] + "..."
