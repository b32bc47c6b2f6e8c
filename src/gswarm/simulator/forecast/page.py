"""A forecast as one HTML file that needs nothing else: no script, no address."""

from __future__ import annotations

from html import escape
from itertools import groupby

from gswarm.simulator.forecast.forecast import Forecast
from gswarm.simulator.forecast.gantt import Gantt, colour

ROW_HEIGHT = 14
LABEL_WIDTH = 110
USE_HEIGHT = 60

STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2rem; color: #1b1f24; background: #fff; }
table { border-collapse: collapse; margin-bottom: 1.5rem; } td { padding: .2rem 1.2rem .2rem 0; } td + td { text-align: right; }
text { font: 10px ui-monospace, monospace; fill: currentColor; } svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { color: #e6e8eb; background: #14171a; } }
"""


def page(title: str, figures: list[tuple[str, str]], gantt: Gantt, forecast: Forecast) -> str:
    """The whole document.

    Args:
        figures: what is said above the picture, in order.
    """
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in figures)
    shown = f"{len(gantt.slots)} of {gantt.slots_all} slots" if len(gantt.slots) < gantt.slots_all else f"{gantt.slots_all} slots"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><table>{rows}</table>"
        f"<p>{shown}, one row each; a colour is a run. Below: how much of all slots trains.</p>{_picture(gantt, forecast)}</body></html>\n"
    )


def _picture(gantt: Gantt, forecast: Forecast) -> str:
    columns = len(gantt.use)
    height = len(gantt.slots) * ROW_HEIGHT
    parts = []
    for number, (slot, row) in enumerate(zip(gantt.slots, gantt.cells, strict=True)):
        top = number * ROW_HEIGHT
        parts.append(f'<text x="0" y="{top + 10}">{escape(slot)}</text>')
        column = 0
        for run, same in groupby(row):
            width = len(list(same))
            if run is not None:
                name = escape(f"{forecast.played.names[run]} ({run}) {column * gantt.column_s:.0f} s")
                at = f'x="{LABEL_WIDTH + column}" y="{top}" width="{width}" height="{ROW_HEIGHT - 2}"'
                parts.append(f'<rect {at} fill="{colour(run)}"><title>{name}</title></rect>')
            column += width
    base = height + USE_HEIGHT + 8
    points = " ".join(f"{LABEL_WIDTH + column},{base - min(1.0, share) * USE_HEIGHT:.1f}" for column, share in enumerate(gantt.use))
    parts.append(f'<polyline points="{points}" fill="none" stroke="currentColor"/><text x="0" y="{base}">all slots</text>')
    parts.append(f'<text x="{LABEL_WIDTH + columns - 60}" y="{base + 14}">{columns * gantt.column_s:.0f} s</text>')
    return f'<svg viewBox="0 0 {LABEL_WIDTH + columns} {base + 20}" role="img" aria-label="slots over time">{"".join(parts)}</svg>'
