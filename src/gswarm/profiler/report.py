"""A session as one HTML page for people: facts, tables and charts as inline SVG. It needs nothing from anywhere and runs no script."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from gswarm.profiler.catalog import METRICS, Kind, MetricInfo
from gswarm.profiler.export import Selection
from gswarm.profiler.store.parquet_store import ParquetSampleStore
from gswarm.profiler.store.sample_store import Aggregate, AnswerSeries, By, SampleQuery, Times, Values

LINES_MAX = 12
"""A chart with more series shows their mean and their range."""
POINTS = 400
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 220, 70, 24, 8
COLOURS = (
    "#0b6bcb",
    "#c05717",
    "#1f7a1f",
    "#9a3bbd",
    "#b02a37",
    "#0f766e",
    "#7a5c00",
    "#475569",
    "#be185d",
    "#4338ca",
    "#65a30d",
    "#0e7490",
)
_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0 1.6rem;font-variant-numeric:tabular-nums}th,td{padding:.2rem .9rem .2rem 0;text-align:left}
th{border-bottom:1px solid #8888}svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:currentColor}
h2{margin-top:2rem}h3{margin:1.2rem 0 .2rem}.legend span{margin-right:1rem;white-space:nowrap}dt{float:left;width:8rem;clear:left}
"""


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ReportTable:
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def report_pieces(
    store: ParquetSampleStore, selection: Selection, name: str, facts: Sequence[Fact], tables: Sequence[ReportTable]
) -> Iterator[bytes]:
    """The page, piece by piece; each chart is one. Every text from elsewhere is escaped."""
    title = escape(f"gswarm profiler: {name}")
    span = (Fact("from", _moment(selection.from_s)), Fact("to", _moment(selection.to_s)))
    listed = "".join(f"<dt>{escape(fact.name)}</dt><dd>{escape(fact.text)}</dd>" for fact in (*span, *facts))
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><dl>{listed}</dl>"
    ).encode()
    for table in tables:
        yield _table(table).encode()
    yield b"<h2>Charts</h2>"
    wanted = (metric for metric in METRICS if not selection.metrics or metric.name in selection.metrics)
    charts = 0
    for chart in (_chart(store, selection, metric) for metric in wanted):
        if chart:
            charts += 1
            yield chart.encode()
    yield b"</body></html>" if charts else b"<p>Nothing was measured in this time.</p></body></html>"


def _table(table: ReportTable) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    body = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if table.rows else "<p>none</p>"
    return f"<h2>{escape(table.title)}</h2>{body}"


def _chart(store: ParquetSampleStore, selection: Selection, info: MetricInfo) -> str:
    """Empty where nothing was measured."""
    metric = info.name
    clients = selection.clients
    band = store.query(
        SampleQuery((metric,), selection.from_s, selection.to_s, POINTS, clients, aggregate=Aggregate.MEAN, by=By.ALL)
    ).series
    if not band or np.isnan(band[0].mean).all():
        return ""
    lines = store.query(SampleQuery((metric,), selection.from_s, selection.to_s, POINTS, clients)).series
    few = len(lines) <= LINES_MAX
    shown = lines if few else band
    axis = _Axis(selection.from_s, selection.to_s, *bounds(info, _least(shown), _greatest(shown)))
    parts = [axis.frame(info.unit)]
    if not few:
        parts.append(f'<path d="{axis.band(band[0])}" fill="{COLOURS[0]}" fill-opacity=".18"/>')
    parts += [
        f'<path d="{axis.line(line.at_us, line.mean)}" fill="none" stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="1.3"/>'
        for place, line in enumerate(shown)
    ]
    names = [_name(line) for line in lines] if few else [f"mean and range of {len(lines)} lines"]
    legend = "".join(
        f'<span style="color:{COLOURS[place % len(COLOURS)]}">&#9632; {escape(text)}</span>' for place, text in enumerate(names)
    )
    heading = f"<h3>{escape(info.help)} <small>({escape(metric)}, {escape(info.unit)})</small></h3>"
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(info.help)}">{"".join(parts)}</svg>'
    return f'{heading}{picture}<div class="legend">{legend}</div>'


def _name(line: AnswerSeries) -> str:
    """Whose it is, too: runs take turns on a slot, and several people may use one GPU."""
    return " ".join(filter(None, (line.client, line.device, line.owner)))


def _least(lines: Sequence[AnswerSeries]) -> float:
    return min((float(np.nanmin(line.low)) for line in lines if not np.isnan(line.low).all()), default=0.0)


def _greatest(lines: Sequence[AnswerSeries]) -> float:
    return max((float(np.nanmax(line.high)) for line in lines if not np.isnan(line.high).all()), default=1.0)


def bounds(info: MetricInfo, low: float, high: float) -> tuple[float, float]:
    """What an axis for values from ``low`` to ``high`` spans: from 0 on, and shares up to 1, so that heights can be compared.

    Of a counter only the growth is shown: its zero is when the machine began.
    """
    if info.kind is Kind.COUNTER and low < high:
        return low, high
    least, greatest = min(low, 0.0), max(high, 1.0 if info.unit == "ratio" else 0.0)
    return least, greatest if greatest > least else least + 1.0


@dataclass(frozen=True, slots=True)
class _Axis:
    """From times and values to places in the picture. ``least`` and ``greatest`` are the values at its edges."""

    from_s: float
    to_s: float
    least: float
    greatest: float

    def x(self, at_us: Times) -> Values:
        return LEFT + (at_us / 1e6 - self.from_s) / max(self.to_s - self.from_s, 1e-9) * (WIDTH - LEFT - 8)

    def y(self, values: Values) -> Values:
        return HEIGHT - BOTTOM - (values - self.least) / (self.greatest - self.least) * (HEIGHT - BOTTOM - TOP)

    def line(self, at_us: Times, values: Values) -> str:
        """A path that is broken at NaN."""
        texts: list[str] = []
        pen = "M"
        for x, y in zip(self.x(at_us).tolist(), self.y(values).tolist(), strict=True):
            if math.isnan(y):
                pen = "M"
                continue
            texts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        return "".join(texts)

    def band(self, line: AnswerSeries) -> str:
        """The area between minimum and maximum; gaps are bridged by nothing."""
        paths = []
        holes = np.flatnonzero(np.isnan(line.low))
        for begin, end in zip([0, *(holes + 1)], [*holes, len(line.at_us)], strict=True):
            if end > begin:
                xs = self.x(line.at_us[begin:end]).tolist()
                upper = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, self.y(line.high[begin:end]).tolist(), strict=True)]
                lower = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, self.y(line.low[begin:end]).tolist(), strict=True)]
                paths.append("M" + "L".join([*upper, *reversed(lower)]) + "Z")
        return "".join(paths)

    def frame(self, unit: str) -> str:
        bottom = HEIGHT - BOTTOM
        parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - 8}" fill="none" stroke="currentColor" stroke-opacity=".4"/>']
        for value in np.linspace(self.least, self.greatest, 3).tolist():
            y = float(self.y(np.array([value]))[0])
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(amount(value, unit))}</text>')
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            at_s = self.from_s + share * (self.to_s - self.from_s)
            x = LEFT + share * (WIDTH - LEFT - 8)
            text = time.strftime("%H:%M:%S", time.gmtime(at_s))
            parts.append(f'<text x="{x:.0f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{text}</text>')
        return "".join(parts)


def amount(value: float, unit: str) -> str:
    """A value with its unit for people: ``63 %``, ``1.2 GiB``, ``312 W``."""
    match unit:
        case "ratio":
            return f"{100 * value:.3g} %"
        case "bytes" | "bytes_per_second":
            power = min(int(math.log(max(abs(value), 1), 1024)), 4)
            text = f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
            return f"{text}/s" if unit == "bytes_per_second" else text
        case "watts":
            return f"{value:.4g} W"
        case "joules":
            return f"{value / 1000:.4g} kJ"
        case "celsius":
            return f"{value:.3g} °C"
        case "hertz":
            return f"{value / 1e6:.5g} MHz"
        case "seconds":
            return f"{value:.3g} s"
        case "per_second":
            return f"{value:.4g}/s"
        case _:
            return f"{value:.5g}"


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
