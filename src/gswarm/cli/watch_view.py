"""How the live view looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gswarm.cli.output import STATE_STYLES, Json, clean, duration, text
from gswarm.cli.watch import Look

BAR_CELLS = 20
BAR_FROM_WIDTH = 140
"""On a narrower terminal the steps are told by their number alone, so that the changes of a run can be read."""
GRID_CELLS_MAX = 32
GRID_CELLS_NARROW = 16
DONE, NOW, WAITING = "■", "▣", "□"


def live(looks: Iterator[Look]) -> Json:
    """Draws every look until the last one, which stays on the screen; returns its experiment."""
    last: Json = {}
    console = Console()
    with Live(console=console, auto_refresh=False, transient=False) as screen:
        for look in looks:
            last = look.experiment
            screen.update(draw(look, console.height, console.width), refresh=True)
    return last


def draw(look: Look, height: int = 40, width: int = BAR_FROM_WIDTH) -> RenderableType:
    """The whole view. Runs that do not fit the height are counted below; deleted ones are not there any more."""
    room = max(height - 7, 3)
    runs = [run for run in look.runs if run["state"] != "deleted"]
    shown = sorted(runs, key=_urgency)[:room] if len(runs) > room else runs
    hidden = len(runs) - len(shown)
    parts: list[RenderableType] = [_header(look), _table(look, shown, width >= BAR_FROM_WIDTH)]
    if hidden:
        parts.append(Text(f"  and {hidden} more: gswarm run list {look.experiment['id']}", style="dim"))
    return Group(*parts)


def _urgency(run: Json) -> int:
    order = ("running", "stopping", "failed", "queued")
    return order.index(run["state"]) if run["state"] in order else len(order)


def _header(look: Look) -> Text:
    experiment = look.experiment
    ready = [client for client in look.clients if client["state"] == "ready"]
    slots = sum(len(client["slots"]) for client in ready)
    busy = sum(1 for client in ready for slot in client["slots"] if slot["runs"])
    line = Text()
    line.append(f"{clean(experiment['name'])} ", style="bold")
    line.append(f"({experiment['id']}) ", style="dim")
    line.append(experiment["state"], style=STATE_STYLES.get(experiment["state"], ""))
    line.append(f"   {len(ready)} client{'s' if len(ready) != 1 else ''}, {busy} of {slots} slots busy")
    line.append(f"   elapsed {duration(look.elapsed_s)}")
    line.append(f"   left {duration(experiment['eta_s'])}")
    if experiment["best"]:
        line.append(f"   best {text(experiment['best']['value'])} ({experiment['best_run']})", style="green")
    if experiment["state"] == "preparing":
        line.append(
            "\nwaiting for a client: gswarm client connect HOST:8090" if not ready else "\na client checks model and data", style="cyan"
        )
    return line


def _table(look: Look, runs: list[Json], is_wide: bool) -> Table:
    metric = look.experiment["metric"]["name"]
    # Every cell is a Text: of a bare string rich would obey what stands in brackets.
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("run", "", "step", "chunks", "loss", clean(metric), "state", "slot", "changes"):
        right = heading in ("step", "loss", clean(metric))
        # What may wrap gives way first; the cells of that column do not wrap, they are cut.
        table.add_column(
            Text(heading, style="dim"), justify="right" if right else "left", no_wrap=heading != "changes", overflow="ellipsis"
        )
    for run in runs:
        table.add_row(
            Text(run["id"], style="bold" if run["id"] == look.experiment["best_run"] else ""),
            bar(run["current_step"], run["total_steps"], run["slot"] is not None) if is_wide else Text(),
            Text(f"{run['current_step']}/{run['total_steps']}"),
            grid(run, GRID_CELLS_MAX if is_wide else GRID_CELLS_NARROW),
            Text(text(run["metrics"].get("loss"))),
            Text(text(run["metrics"].get(metric))),
            Text(run["state"], style=STATE_STYLES.get(run["state"], "")),
            Text(text(run["slot"])),
            Text(text(run["changes"]), style="dim", no_wrap=True, overflow="ellipsis"),
        )
    return table


def bar(done: int, total: int, active: bool) -> Text:
    """The share of the steps that are trained."""
    filled = BAR_CELLS * done // total if total else 0
    line = Text("━" * filled, style="green" if active or done >= total else "cyan")
    return line.append("━" * (BAR_CELLS - filled), style="grey30")


def grid(run: Json, cells_max: int = GRID_CELLS_MAX) -> Text:
    """A cell a chunk: done, now, waiting. Runs of very many chunks show several chunks a cell."""
    total = run["chunks_total"]
    cells = min(total, cells_max)
    done = cells * run["chunks_done"] // total if total else 0
    now = 1 if run["slot"] is not None and done < cells else 0
    line = Text(DONE * done, style="green")
    return line.append(NOW * now, style="bold yellow").append(WAITING * (cells - done - now), style="grey30")
