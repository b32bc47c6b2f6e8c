"""What the tests of IC Ops share: operations the way a program and the way a person asks for them, and moments to wait for."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from real_cluster import Json, RealCluster, freeze

from gswarm.domain.plan import RunOp
from gswarm.sdk import Host

MOMENT_S = 60.0

Act = Callable[..., Json]
"""``act(op, run, changes, warm_start)`` answers the run, or the clone."""


def by_rest(_cluster: RealCluster, host: Host) -> Act:
    def act(op: RunOp, run: str, changes: Json | None = None, warm_start: str | None = None) -> Json:
        match op:
            case RunOp.STOP:
                return host.stop_run(run)
            case RunOp.RESUME:
                return host.resume_run(run)
            case RunOp.DELETE:
                return host.delete_run(run)
            case RunOp.RESTORE:
                return host.restore_run(run)
            case RunOp.CLONE:
                return host.clone_run(run, changes, warm_start)

    return act


def by_cli(cluster: RealCluster, _host: Host) -> Act:
    def act(op: RunOp, run: str, changes: Json | None = None, warm_start: str | None = None) -> Json:
        sets = [text for key, value in (changes or {}).items() for text in ("--set", f"{key}={value}")]
        warm = ["--warm-start", warm_start] if warm_start else []
        documents: list[Json] = cluster.cli_json("run", op.value, run, *sets, *warm)
        return documents[0]

    return act


WAYS = {"rest": by_rest, "cli": by_cli}


def until(host: Host, run: str, holds: Callable[[Json], bool]) -> Json:
    """The run as soon as ``holds``. Metrics are no events of the host, so the run is looked at again and again."""
    deadline_s = time.monotonic() + MOMENT_S
    while time.monotonic() < deadline_s:
        document = host.run(run)
        if holds(document):
            return document
        time.sleep(0.03)
    raise AssertionError(f"run {run} did not get there within {MOMENT_S:.0f} s: {document}\n{host.explain(run)}")


def mid_chunk(host: Host, run: str) -> Json:
    """The run while it trains, steps behind its last commit: its metrics grow now."""
    seen = until(host, run, lambda one: bool(one["slot"] and one["current_step"] > one["position"]))
    return until(host, run, lambda one: bool(one["slot"] and one["current_step"] > max(seen["current_step"], one["position"])))


def in_state(host: Host, run: str, *states: str) -> Json:
    return until(host, run, lambda one: one["state"] in states)


def values(host: Host, run: str, metric: str) -> dict[int, float]:
    """A metric of the run by step."""
    return {step: value for step, value, _ in points(host, run, metric)}


def points(host: Host, run: str, metric: str) -> list[tuple[int, float, float]]:
    """(step, value, at) of the run so far. Metrics have a stream of their own and may come a moment behind the commit."""
    position = host.run(run)["position"]
    until(host, run, lambda _: max(at[0] for at in _series(host, run, "loss")) >= position)
    return _series(host, run, metric)


def _series(host: Host, run: str, metric: str) -> list[tuple[int, float, float]]:
    return [(step, value, at) for step, value, at in host.metrics(run, (metric,))["series"][0]["points"]]


@contextlib.contextmanager
def frozen(cluster: RealCluster, *clients: str) -> Iterator[None]:
    """The clients' trainer processes stand still, so that what is mid-chunk stays there."""
    pids = [pid for client in clients for pid in cluster.trainer_pids(client)]
    assert len(pids) == len(clients)
    for pid in pids:
        freeze(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def drained(host: Host, *clients: str) -> Iterator[None]:
    """The clients get no new work."""
    for client in clients:
        host.drain_client(client)
    try:
        yield
    finally:
        for client in clients:
            host.resume_client(client)


def explained(host: Host, run: str) -> tuple[str, str]:
    answer: dict[str, Any] = host.explain(run)
    return answer["code"], answer["text"]
