"""How ``gswarm profiler top`` looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gswarm.cli.output import clean, moment
from gswarm.cli.top import SILENT_S, Look, Row, memory, power, share, temperature, used_by

BAR_CELLS = 16
NAME_WIDTH, BAR_WIDTH = 120, 90
"""Terminals that are narrower do without names and bars."""
HOT_C = 80.0
SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def live(looks: Iterator[Look]) -> None:
    """Draws every look in place of the one before."""
    console = Console()
    with Live(console=console, auto_refresh=False, transient=False) as screen:
        for look in looks:
            screen.update(draw(look, console.height, console.width), refresh=True)


def draw(look: Look, height: int = 40, width: int = 120) -> RenderableType:
    """The whole view. Devices that do not fit the height are counted below, the busiest are shown."""
    room = max(height - 5 - min(len(look.alerts), 5), 3)
    shown = look.rows
    if len(shown) > room:
        busiest = sorted(range(len(shown)), key=lambda index: -(shown[index].utilization or 0.0))[:room]
        shown = [shown[index] for index in sorted(busiest)]
    parts: list[RenderableType] = [_header(look), _table(shown, width)]
    if len(shown) < len(look.rows):
        parts.append(Text(f"  and {len(look.rows) - len(shown)} more that do less", style="dim"))
    for alert in look.alerts[:5]:
        where = " ".join(clean(str(alert[key])) for key in ("client", "device") if alert[key])
        parts.append(Text(f"{alert['severity']}: {where} {clean(alert['text'])}", style=SEVERITY_STYLES.get(alert["severity"], "")))
    return Group(*parts)


def _header(look: Look) -> Text:
    gpus = [row for row in look.rows if row.device != "machine" and "/" not in row.device]  # MIG devices are parts of one
    known = [row.utilization for row in gpus if row.utilization is not None]
    watts = [row.power_w for row in gpus if row.power_w is not None]
    line = Text()
    clients = len({row.client for row in look.rows})
    line.append(f"{clients} client{'s' if clients != 1 else ''}, {len(gpus)} GPU{'s' if len(gpus) != 1 else ''}", style="bold")
    if known:
        line.append(f"   {sum(known) / len(known):.0%} busy")
    if watts:
        line.append(f"   {sum(watts) / 1000:.1f} kW")
    line.append(f"   {moment(look.at)}", style="dim")
    return line


def _table(rows: list[Row], width: int) -> Table:
    columns = [
        ("client", False, 0), ("device", False, 0), ("name", False, NAME_WIDTH), ("", False, BAR_WIDTH), ("busy", True, 0),
        ("memory", True, 0), ("power", True, 0), ("temp", True, 0), ("used by", False, 0),
    ]  # fmt: skip
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading, right, width_min in columns:
        if width >= width_min:
            table.add_column(Text(heading, style="dim"), justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    before = ""
    for row in rows:
        cells = _cells(row, is_first=row.client != before)
        table.add_row(*(cell for cell, (_heading, _right, width_min) in zip(cells, columns, strict=True) if width >= width_min))
        before = row.client
    return table


def _cells(row: Row, *, is_first: bool) -> list[Text]:
    document = asdict(row)
    silent = "dim" if row.age_s > SILENT_S else ""
    return [
        Text(clean(row.client) if is_first else "", style="bold"),
        Text(row.device, style=silent),
        Text(clean(row.name), style="dim"),
        bar(row.utilization),
        Text(share(row.utilization), style=silent),
        Text(memory(document), style=silent),
        Text(power(document), style=silent),
        Text(temperature(document), style="bold red" if (row.temperature_c or 0.0) >= HOT_C else silent),
        Text(clean(used_by(document)), style="yellow" if any(name.startswith("outsider:") for name in row.used_by) else "green"),
    ]


def bar(value: float | None) -> Text:
    if value is None:
        return Text("·" * BAR_CELLS, style="grey30")
    filled = round(BAR_CELLS * min(max(value, 0.0), 1.0))
    return Text("━" * filled, style="green" if value < 0.9 else "cyan").append("━" * (BAR_CELLS - filled), style="grey30")
