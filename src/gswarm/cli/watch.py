"""The live view of an experiment: a bar and a chunk grid for every run, what it measures and where it trains.

Events of the host drive it; on a terminal it is drawn again once a second so that steps between events show as well.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gswarm.cli.output import Format, Json, duration, print_json_line, put, text
from gswarm.domain.errors import GswarmError

if TYPE_CHECKING:
    from gswarm.sdk import Host

REFRESH_S = 1.0
SETTLE_S = 0.1
"""Events that come close together share one look at the host."""
EVENTS_MAX = 10_000
OVER = frozenset({"idle", "rejected", "deleted"})


@dataclass(frozen=True, slots=True)
class Look:
    """What the host said at one moment."""

    experiment: Json
    runs: list[Json]
    clients: list[Json]
    elapsed_s: float


def watch_experiment(host: Host, experiment_id: str, output: Format) -> Json:
    """Follows the experiment until it is idle, rejected or deleted, and returns it as it was then.

    On a terminal the view lives at the bottom; elsewhere every change is a line, with ``json`` every change is a JSON line.
    """
    if output is Format.TABLE and sys.stdout.isatty():
        from gswarm.cli.watch_view import live

        return live(looks(host, experiment_id, REFRESH_S))
    seen: dict[str, tuple[str, ...]] = {}
    last: Json = {}
    for look in looks(host, experiment_id, None):
        last = look.experiment
        for document, line in changes(look, seen):
            if output is Format.JSON:
                print_json_line(document)
            elif output is Format.TABLE:
                put(line)
    return last


def looks(host: Host, experiment_id: str, refresh_s: float | None) -> Iterator[Look]:
    """A look now, one after each burst of events, and one every ``refresh_s``; the last one is of the ended experiment."""
    began_s = time.time()
    with _following(host) as events:
        while True:
            experiment = host.experiment(experiment_id)
            look = Look(
                experiment, host.experiment_runs(experiment_id), host.clients(), max(time.time() - _begin(experiment, began_s), 0.0)
            )
            yield look
            if experiment["state"] in OVER:
                return
            events.wait(refresh_s)


def _begin(experiment: Json, fallback_s: float) -> float:
    return float(experiment["created_at"] or fallback_s)


class _following:
    """Reads the host's events in a thread. Entered before the first look, so that nothing falls between."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._queue: queue.Queue[Json | Exception | None] = queue.Queue(EVENTS_MAX)
        self._after = int(host.ready()["seq"])

    def __enter__(self) -> _following:
        threading.Thread(target=self._read, daemon=True, name="events").start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """The thread is a daemon: its read ends with the process or the host's client."""

    def _read(self) -> None:
        try:
            for event in self._host.events(self._after):
                self._queue.put(event)
            self._queue.put(None)
        except Exception as error:
            self._queue.put(error)

    def wait(self, at_most_s: float | None) -> None:
        """Returns after the next event and those right behind it, or after that time. Raises what ended the stream."""
        try:
            self._check(self._queue.get(timeout=at_most_s))
            while True:
                self._check(self._queue.get(timeout=SETTLE_S))
        except queue.Empty:
            return

    def _check(self, item: Json | Exception | None) -> None:
        if item is None:
            raise GswarmError("the host ended the event stream", "is it stopping? watch again when it is back")
        if isinstance(item, Exception):
            raise item


def changes(look: Look, seen: dict[str, tuple[str, ...]]) -> Iterator[tuple[Json, str]]:
    """What is new since the last look: the documents and a line for each. ``seen`` is brought up to date."""
    experiment = look.experiment
    state = (experiment["state"],)
    if seen.get("") != state:
        seen[""] = state
        yield experiment, f"[{duration(look.elapsed_s)}] {experiment['id']} {experiment['name']}: {experiment['state']}{_waits(look)}"
    for run in look.runs:
        now = (run["state"], str(run["position"]), text(run["slot"]))
        if seen.get(run["id"]) != now:
            seen[run["id"]] = now
            yield run, f"[{duration(look.elapsed_s)}] {run_line(run, experiment['metric']['name'])}"


def _waits(look: Look) -> str:
    ready = [client for client in look.clients if client["state"] == "ready"]
    if look.experiment["state"] != "preparing":
        return ""
    if not ready:
        return ", waiting for a client (gswarm client connect HOST:8090)"
    return ", a client checks model and data"


def run_line(run: Json, metric: str) -> str:
    """A run in one line, for logs."""
    numbers = "".join(f", {name} {text(run['metrics'][name])}" for name in dict.fromkeys(("loss", metric)) if name in run["metrics"])
    place = f" on {run['slot']}" if run["slot"] else ""
    failure = f": {run['failure']['message']}" if run["failure"] else ""
    return f"{run['id']} {run['state']}{place}, step {run['position']}/{run['total_steps']}{numbers}{failure} ({text(run['changes'])})"
