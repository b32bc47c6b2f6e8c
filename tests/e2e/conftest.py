"""Tiny real models and data, and clusters of real processes, for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[[], RealCluster]]:
    """Makes clusters of the test's own; they are ended with it."""
    made: list[RealCluster] = []

    def make() -> RealCluster:
        cluster = RealCluster(tmp_path / f"cluster{len(made)}")
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """One host and two clients that many tests share. Tests name their own experiments and leave the clients as they were."""
    shared = RealCluster(tmp_path_factory.mktemp("shared"))
    try:
        shared.start_host()
        shared.start_client("left")
        shared.start_client("right")
        shared.wait_for_clients(2)
        yield shared
    finally:
        shared.close()
