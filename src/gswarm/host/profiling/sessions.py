"""Profiler sessions: named ranges of time in which clients sample at a chosen interval. They last over restarts of the host."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName
from gswarm.profiler.catalog import BY_NAME, INTERVAL_MAX_S, INTERVAL_MIN_S, METRICS_HINT
from gswarm.wire.private_files import save_private

SESSIONS_MAX = 1_000
Intervals = tuple[tuple[str, float], ...]

_log = logging.getLogger("gswarm.host.profiler")


@dataclass(frozen=True, slots=True)
class ProfilerSession:
    """Attributes:
    interval_s, metric_intervals_s: seconds between samples as they were asked for, the second of single metrics.
    metrics, clients: empty means all.
    started_s, stopped_s: seconds since the epoch by the host's clock; ``None`` while it runs.
    samples: values that it had when it was stopped and shown; samples still come then, and old ones go.
    """

    name: str
    interval_s: float
    metrics: tuple[str, ...]
    clients: tuple[str, ...]
    started_s: float
    stopped_s: float | None = None
    samples: int | None = None
    metric_intervals_s: Intervals = ()

    def asked_s(self, metric: str) -> float:
        return dict(self.metric_intervals_s).get(metric, self.interval_s)

    @property
    def other_intervals_s(self) -> dict[str, float]:
        """Its metrics that are not sampled at ``interval_s``, and at what: they were asked for so, or cannot be that fast."""
        real_s = {metric: max(min(self.asked_s(metric), INTERVAL_MAX_S), BY_NAME[metric].fastest_s) for metric in self._known_metrics()}
        return {metric: seconds for metric, seconds in real_s.items() if seconds != self.interval_s}

    def _known_metrics(self) -> Iterable[str]:
        return [metric for metric in self.metrics or BY_NAME if metric in BY_NAME]

    @property
    def interval_text(self) -> str:
        """As people read it."""
        grouped: dict[float, list[str]] = {}
        for metric, seconds in self.other_intervals_s.items():
            grouped.setdefault(seconds, []).append(metric)
        return "; ".join([f"{self.interval_s:g} s", *(f"{seconds:g} s: {', '.join(names)}" for seconds, names in sorted(grouped.items()))])

    def range_s(self, now_s: float) -> tuple[float, float]:
        """From and to; a running session lasts until now."""
        return self.started_s, max(self.stopped_s if self.stopped_s is not None else now_s, self.started_s + 0.001)


class ProfilerSessions:
    """Safe to use from several threads. Reading never waits for the disk.

    Args:
        path: the JSON file that they are kept in; one that is damaged is set aside.
        clock: seconds since the epoch.
        on_change: called after the intervals may have changed, in the thread that changed them.
    """

    def __init__(self, path: Path, clock: Callable[[], float], on_change: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._clock = clock
        self._mutex = threading.Lock()
        self._sessions = _load(path)
        self.on_change = on_change

    def items(self) -> list[ProfilerSession]:
        """The newest first."""
        return sorted(self._sessions.values(), key=lambda session: -session.started_s)

    def get(self, name: str) -> ProfilerSession:
        """Raises NotFoundError."""
        if name not in self._sessions:
            raise NotFoundError(f"there is no profiler session {name[:80]!r}", "'gswarm profiler list' shows them")
        return self._sessions[name]

    def start(
        self,
        name: str,
        interval_s: float,
        metrics: Sequence[str] = (),
        clients: Sequence[str] = (),
        metric_intervals_s: Mapping[str, float] = MappingProxyType({}),
    ) -> ProfilerSession:
        """Begins now.

        Raises:
            ConflictError: there is one of that name.
            InvalidInputError: a metric that nobody knows or that is not of the session, or an interval out of range.
            LimitError: there are too many.
            StorageError: it cannot be kept.
        """
        unknown = [metric for metric in (*metrics, *metric_intervals_s) if metric not in BY_NAME]
        if unknown:
            raise InvalidInputError(f"there is no metric {unknown[0][:80]!r}", METRICS_HINT)
        left_out = [metric for metric in metric_intervals_s if metrics and metric not in metrics]
        if left_out:
            raise InvalidInputError(f"an interval of {left_out[0]}, which is no metric of the session", "add it to the session's metrics")
        for seconds in (interval_s, *metric_intervals_s.values()):
            _check_interval(seconds)
        own = tuple(metric_intervals_s.items())
        session = ProfilerSession(name, interval_s, tuple(metrics), tuple(clients), self._clock(), metric_intervals_s=own)
        with self._mutex:
            if name in self._sessions:
                raise ConflictError(f"there is a profiler session {name} already", "choose another name, or delete it")
            if len(self._sessions) >= SESSIONS_MAX:
                raise LimitError(f"there are {SESSIONS_MAX} profiler sessions", "delete some")
            self._keep({**self._sessions, name: session})
        self.on_change()
        return session

    def stop(self, name: str) -> ProfilerSession:
        """Ends now; one that ended before stays as it is. Raises NotFoundError and StorageError."""
        with self._mutex:
            session = self.get(name)
            if session.stopped_s is not None:
                return session
            session = replace(session, stopped_s=max(self._clock(), session.started_s))
            self._keep({**self._sessions, name: session})
        self.on_change()
        return session

    def counted(self, name: str, samples: int) -> None:
        """What a stopped session holds, for the list of all."""
        with self._mutex:
            session = self._sessions.get(name)
            if session is not None and session.stopped_s is not None and session.samples != samples:
                self._keep({**self._sessions, name: replace(session, samples=samples)})

    def delete(self, name: str) -> None:
        """The name goes, the samples stay as long as all others. Raises NotFoundError and StorageError."""
        with self._mutex:
            self.get(name)
            self._keep({other: session for other, session in self._sessions.items() if other != name})
        self.on_change()

    def intervals(self, client: ClientName | None = None) -> Intervals:
        """What running sessions ask for: a metric's name, or ``*`` for the others, and seconds; the smallest wins.

        Args:
            client: only what is asked of it; ``None`` takes the sessions of all.
        """
        wanted: dict[str, float] = {"*": INTERVAL_MAX_S}
        for session in self.items():
            if session.stopped_s is None and (client is None or not session.clients or client in session.clients):
                for metric in {*(session.metrics or ("*",)), *dict(session.metric_intervals_s)}:
                    wanted[metric] = min(wanted.get(metric, INTERVAL_MAX_S), session.asked_s(metric))
        return tuple(sorted((metric, s) for metric, s in wanted.items() if metric == "*" or s < wanted["*"]))

    def _keep(self, sessions: dict[str, ProfilerSession]) -> None:
        kept = json.dumps([asdict(session) for session in sessions.values()])
        save_private(self._path.parent, {self._path.name: kept.encode()})
        self._sessions = sessions


def _check_interval(seconds: float) -> None:
    if seconds > INTERVAL_MAX_S:
        raise InvalidInputError(
            f"an interval of {seconds:g} s is longer than the second at which everything is sampled and kept anyway",
            f"choose {INTERVAL_MIN_S} to {INTERVAL_MAX_S:g} s; charts thin out what is older",
        )
    if not seconds >= INTERVAL_MIN_S:
        raise InvalidInputError(f"an interval of {seconds:g} s", f"choose {INTERVAL_MIN_S} to {INTERVAL_MAX_S:g} s")


def _load(path: Path) -> dict[str, ProfilerSession]:
    try:
        return {session.name: session for session in map(_session, json.loads(path.read_bytes()))}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s); it is set aside", path, error)
        with suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        return {}


def _session(fields: dict[str, Any]) -> ProfilerSession:
    own = tuple((str(metric), float(seconds)) for metric, seconds in fields.get("metric_intervals_s", ()))
    lists = {"metrics": tuple(fields["metrics"]), "clients": tuple(fields["clients"]), "metric_intervals_s": own}
    session = ProfilerSession(**{**fields, **lists})
    intervals_s = (session.interval_s, *(seconds for _metric, seconds in own))
    if not (math.isfinite(session.started_s) and all(map(math.isfinite, intervals_s)) and isinstance(session.name, str)):
        raise ValueError("a session of no time")
    return session
