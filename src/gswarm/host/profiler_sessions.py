"""Profiler sessions: named ranges of time in which clients sample at a chosen interval. They last over restarts of the host."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gswarm.domain.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import ClientName
from gswarm.profiler.catalog import BY_NAME
from gswarm.wire.private_files import save_private

SESSIONS_MAX = 1_000
INTERVAL_MIN_S, INTERVAL_MAX_S = 0.1, 3600.0
DEFAULT_INTERVAL_S = 1.0
Intervals = tuple[tuple[str, float], ...]

_log = logging.getLogger("gswarm.host.profiler")


@dataclass(frozen=True, slots=True)
class ProfilerSession:
    """Attributes:
    metrics, clients: empty means all.
    started_s, stopped_s: seconds since the epoch by the host's clock; ``None`` while it runs.
    samples: values in it, once it is stopped and they were counted.
    """

    name: str
    interval_s: float
    metrics: tuple[str, ...]
    clients: tuple[str, ...]
    started_s: float
    stopped_s: float | None = None
    samples: int | None = None

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

    def start(self, name: str, interval_s: float, metrics: Sequence[str] = (), clients: Sequence[str] = ()) -> ProfilerSession:
        """Begins now.

        Raises:
            ConflictError: there is one of that name.
            InvalidInputError: a metric that nobody knows, or an interval out of range.
            LimitError: there are too many.
            StorageError: it cannot be kept.
        """
        unknown = [metric for metric in metrics if metric not in BY_NAME]
        if unknown:
            raise InvalidInputError(f"there is no metric {unknown[0][:80]!r}", "'profiler/metrics' lists them")
        if not INTERVAL_MIN_S <= interval_s <= INTERVAL_MAX_S:
            raise InvalidInputError(f"an interval of {interval_s} s", f"choose {INTERVAL_MIN_S} to {INTERVAL_MAX_S:.0f} s")
        session = ProfilerSession(name, interval_s, tuple(metrics), tuple(clients), self._clock())
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
        """What a stopped session holds, so that nobody counts again."""
        with self._mutex:
            session = self._sessions.get(name)
            if session is not None and session.stopped_s is not None:
                self._keep({**self._sessions, name: replace(session, samples=samples)})

    def delete(self, name: str) -> None:
        """The name goes, the samples stay as long as all others. Raises NotFoundError and StorageError."""
        with self._mutex:
            self.get(name)
            self._keep({other: session for other, session in self._sessions.items() if other != name})
        self.on_change()

    def intervals(self, client: ClientName | None = None) -> Intervals:
        """What running sessions ask for: a metric's name, or ``*`` for the others, and seconds; the smallest wins, 1 s at most.

        Args:
            client: only what is asked of it; ``None`` takes the sessions of all.
        """
        wanted: dict[str, float] = {"*": DEFAULT_INTERVAL_S}
        for session in self.items():
            if session.stopped_s is None and (client is None or not session.clients or client in session.clients):
                for metric in session.metrics or ("*",):
                    wanted[metric] = min(wanted.get(metric, DEFAULT_INTERVAL_S), session.interval_s)
        return tuple(sorted((metric, s) for metric, s in wanted.items() if metric == "*" or s < wanted["*"]))

    def _keep(self, sessions: dict[str, ProfilerSession]) -> None:
        kept = json.dumps([asdict(session) for session in sessions.values()])
        save_private(self._path.parent, {self._path.name: kept.encode()})
        self._sessions = sessions


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
    session = ProfilerSession(**{**fields, "metrics": tuple(fields["metrics"]), "clients": tuple(fields["clients"])})
    if not (math.isfinite(session.started_s) and math.isfinite(session.interval_s) and isinstance(session.name, str)):
        raise ValueError("a session of no time")
    return session
