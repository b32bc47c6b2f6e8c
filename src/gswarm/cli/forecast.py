"""``gswarm simulate --experiment``: how long an experiment takes on a cluster that need not exist."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from gswarm.cli.output import Format, Json, duration, print_json, say, warn
from gswarm.domain.errors import GswarmError, InvalidInputError, StorageError
from gswarm.domain.spec import RunSpec
from gswarm.search.expand import expand
from gswarm.search.yaml_file import load_experiment_file
from gswarm.simulator.forecast import gantt
from gswarm.simulator.forecast.described import ClusterDescription, Costs, Machines, Workload, load_description
from gswarm.simulator.forecast.forecast import Forecast, forecast
from gswarm.simulator.forecast.page import page

TERMINAL_ROWS = 24
PAGE_ROWS, PAGE_COLUMNS = 120, 1200


def show_forecast(
    experiment: Path,
    cluster: Path | None,
    clients: int | None,
    slots: int | None,
    rows: int | None,
    step_time_s: float | None,
    html: Path | None,
    output: Format,
) -> None:
    """Prints figures and a Gantt chart; writes it as a page where one is asked for.

    Raises:
        InvalidInputError, LimitError: what cannot be played, and why.
        StorageError: the page cannot be written.
    """
    parsed = load_experiment_file(experiment)
    description = _described(cluster, clients, slots, step_time_s)
    runs = tuple(run.spec for run in expand(parsed.spec))
    count = rows or description.rows or _count_rows(parsed.spec.base)
    workload = Workload.by_batch(parsed.spec, runs, count, description.costs.step_time_s)
    chunks = workload.chunk_count()
    result = forecast(description, workload, lambda done: warn(f"{done:,} of about {chunks:,} chunks played"))
    figures = _figures(result)
    if html is not None:
        _write_page(html, parsed.spec.name, figures, result)
    match output:
        case Format.JSON:
            print_json(_document(result))
        case Format.QUIET:
            print(f"{result.makespan_s:.3f}")
        case Format.TABLE:
            _print(figures, result)
    if html is not None:
        say(output, f"the chart as a page: {html}")


def _described(cluster: Path | None, clients: int | None, slots: int | None, step_time_s: float | None) -> ClusterDescription:
    described = load_description(cluster) if cluster is not None else ClusterDescription()
    if clients is not None or slots is not None:
        if cluster is not None:
            raise InvalidInputError("the cluster is described twice", "give either --cluster, or --clients and --slots")
        if (clients or 1) < 1 or (slots or 1) < 1:
            raise InvalidInputError("a cluster has at least one client with one slot", "give --clients and --slots from 1 on")
        described = described.model_copy(update={"machines": (Machines.model_construct(count=clients or 1, slots=slots or 1),)})
    if step_time_s is not None:
        if not step_time_s > 0:
            raise InvalidInputError("a step takes longer than no time", "give --step-time in seconds")
        costs = described.costs.model_dump() | {"step_time_s": step_time_s}
        described = described.model_copy(update={"costs": Costs(**costs)})
    return described


def _count_rows(base: RunSpec) -> int:
    """Training rows of a data set that is here; what is elsewhere has to be told."""
    from gswarm.training.sources import read_rows

    if not Path(base.dataset).expanduser().exists():
        raise InvalidInputError(f"the length of {base.dataset} is not known here", "say how many rows it has: --rows N")
    try:
        with tempfile.TemporaryDirectory(prefix="gswarm-rows-") as scratch:
            rows = len(read_rows(base.dataset, Path(scratch), base.max_samples))
    except GswarmError as error:
        raise InvalidInputError(f"the rows of {base.dataset} cannot be counted: {error.message}", "say how many: --rows N") from error
    if base.eval_dataset is None and base.val_size > 0:
        rows -= max(1, round(rows * base.val_size)) if base.val_size < 1 else int(base.val_size)
    return max(rows, 0)


def _figures(result: Forecast) -> list[tuple[str, str]]:
    return [
        ("runs, chunks", f"{result.runs:,}, {result.chunks:,}"),
        ("slots", f"{result.slots:,}"),
        ("makespan", duration(result.makespan_s)),
        ("lower bound", f"{duration(result.lower_bound_s)} (makespan / bound {_ratio(result.makespan_s, result.lower_bound_s)})"),
        (
            "first comparison of all runs",
            f"{duration(result.first_comparison_s)} (/ bound {_ratio(result.first_comparison_s, result.first_comparison_bound_s)})",
        ),
        ("one after another on one slot", duration(result.sequential_s)),
        ("checkpoints over the host's link", f"at least {duration(result.link_s)}{_link_hint(result)}"),
        ("slots train", f"{result.train_share:.1%}"),
        ("slots switch and build", f"{result.switch_share:.1%}, {result.switches:,} switches (max_skew {result.max_skew})"),
        ("slots evaluate, wait or idle", f"{result.idle_share:.1%}"),
    ]


def _link_hint(result: Forecast) -> str:
    if result.link_s <= result.lower_bound_s:
        return ""
    return ", longer than the training: make chunks longer, or give checkpoint.durability: local"


def _ratio(value: float, bound: float) -> str:
    return f"{value / bound:.3f}"


def _document(result: Forecast) -> Json:
    names = (
        "runs",
        "slots",
        "chunks",
        "makespan_s",
        "lower_bound_s",
        "first_comparison_s",
        "first_comparison_bound_s",
        "sequential_s",
        "link_s",
    )
    shares = ("switches", "max_skew", "train_share", "switch_share", "idle_share")
    return {name: getattr(result, name) for name in (*names, *shares)} | {"trained": [asdict(one) for one in result.played.trained]}


def _print(figures: list[tuple[str, str]], result: Forecast) -> None:
    width = max(len(name) for name, _ in figures)
    for name, value in figures:
        print(f"{name:<{width}}  {value}")
    slots = result.played.slots
    width = max(20, shutil.get_terminal_size().columns - max(len(slot) for slot in slots) - 2)
    for line in gantt.lines(gantt.draw(result.played.trained, slots, result.makespan_s, TERMINAL_ROWS, width)):
        print(line)


def _write_page(path: Path, name: str, figures: list[tuple[str, str]], result: Forecast) -> None:
    chart = gantt.draw(result.played.trained, result.played.slots, result.makespan_s, PAGE_ROWS, PAGE_COLUMNS)
    try:
        path.write_text(page(f"Forecast of {name}", figures, chart, result), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", "choose another file") from error
