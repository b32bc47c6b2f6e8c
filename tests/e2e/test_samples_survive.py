"""Every sample that was taken is in the store, over kills of the host and of the client: real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from real_cluster import Json, RealCluster

pytestmark = pytest.mark.e2e

AWAY_S = 5.0
"""How long nobody listens; lost samples would leave a gap of that length, a busy machine leaves none nearly as long."""
GAP_MAX_S = 3.5


def samples(cluster: RealCluster, from_s: float) -> list[float]:
    """When the machine of client ``a`` was measured."""
    with cluster.api() as host:
        answer: Json = host._get("/profiler/query", metric="memory_total", clients="a", points=10_000, **{"from": from_s})
    return [at for series in answer["series"] for at, value in zip(series["at"], series["mean"], strict=True) if value is not None]


def wait_for_sample(cluster: RealCluster, from_s: float, after_s: float) -> list[float]:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        found = samples(cluster, from_s)
        if found and found[-1] > after_s:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no sample later than {after_s}:\n{cluster.logs()}")


def test_nothing_is_lost_over_kills_of_host_and_client(new_cluster: Callable[[], RealCluster]) -> None:
    cluster = new_cluster()
    cluster.start_host()
    began_s = time.time()
    cluster.start_client("a")
    wait_for_sample(cluster, began_s - 1, began_s + 1)
    cluster.kill_host()
    time.sleep(AWAY_S)
    killed_s = time.time()
    cluster.kill_client("a")
    cluster.start_host()
    cluster.start_client("a")
    times = wait_for_sample(cluster, began_s - 1, killed_s + 1)
    before = [at for at in times if at <= killed_s]
    assert len(times) == len(set(times)), "each is stored once"
    assert killed_s - before[-1] < GAP_MAX_S, "what lay in the spool of the killed client came later"
    assert max(later - earlier for earlier, later in pairwise(before)) < GAP_MAX_S, (before, cluster.logs())
