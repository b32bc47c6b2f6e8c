"""A trainer that hangs, and disks that fill or break under a cluster that trains: a typed end, and the same weights once it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from experiments import write_experiment
from frail_machine import FrailMachine, frail_machine
from steering import until
from test_bad_input import Case, nothing_changes, refusal

from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

FULL, BROKEN = "use another data directory", "the disk reports an error: look at the kernel log"


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrailMachine]:
    with frail_machine(tmp_path_factory.mktemp("frail")) as machine:
        yield machine


def test_a_trainer_that_hangs_is_replaced(frail: FrailMachine) -> None:
    with frail.cluster.api() as host:
        run = frail.new_run(host)
        (hung,) = frail.hang_trainer(host, run)
        assert not psutil.pid_exists(hung)
        log = frail.cluster.cli("run", "logs", run).stdout
        assert re.search(r"failed on frail \(trainer_hung\): the trainer process was silent for \d+ s while .* was due", log), log
        frail.check_complete(host, run)


def test_a_full_client_loses_nothing_and_work_goes_on_when_there_is_room(frail: FrailMachine, tmp_path: Path) -> None:
    document = {**frail.document, "experiment": "no-room"}
    file = write_experiment(tmp_path / "no-room.yaml", document)
    rejected = Case(("experiment", "submit", str(file), "-o", "quiet"), ("was rejected: client frail: ", "nothing was queued"))
    with frail.cluster.api() as host:
        run = frail.new_run(host)
        until(host, run, lambda document: document["position"] > 0)
        with frail.client_disk.full():
            failed = ended_for_want_of_a_disk(frail, host, run, FULL)
            with nothing_changes(host):
                refusal(frail.cluster, rejected)
        resume(frail, run, failed["position"])
        frail.check_complete(host, run)


def test_a_host_with_a_full_disk_and_then_a_broken_one_loses_nothing_but_lines_of_logs(frail: FrailMachine) -> None:
    """Full is the pool's disk; then pool and logs get EIO as long as that process lives. The journal's disk is another one."""
    cluster = frail.cluster
    with cluster.api() as host:
        run = frail.new_run(host)
        until(host, run, lambda document: document["position"] > 0)
        with frail.host_disk.full():
            full = ended_for_want_of_a_disk(frail, host, run, FULL)
            assert "on the host: " in full["failure"]["message"]
        resume(frail, run, full["position"])
        until(host, run, lambda document: document["position"] > full["position"])
        cluster.break_disk()
        broken = ended_for_want_of_a_disk(frail, host, run, BROKEN)
        assert "on the host: " in broken["failure"]["message"]
        assert host.ready()["ready"]
    assert f"lines of runs' logs are being lost: the log of {run} cannot be written: Input/output error" in cluster.log("host.log", 100_000)
    cluster.kill_host()
    cluster.start_host()
    with cluster.api() as host:
        resume(frail, run, broken["position"])
        frail.check_complete(host, run)


def ended_for_want_of_a_disk(frail: FrailMachine, host: Host, run: str, hint: str) -> dict[str, Any]:
    """Waits for the run's end, which is a typed failure that says where; what was committed before stands."""
    failed = until(host, run, lambda document: document["state"] in ("completed", "failed"))
    assert (failed["state"], failed["failure"]["code"]) == ("failed", "storage"), failed
    assert failed["failure"]["message"].startswith("client frail: ")
    assert hint in failed["failure"]["message"]
    assert 0 < failed["position"] < failed["total_steps"]
    assert failed["possible"] == ["resume", "clone", "delete"]
    said = " ".join(frail.cluster.cli("run", "show", run).stdout.split())
    assert "failed (storage: client frail: " in said, said
    return failed


def resume(frail: FrailMachine, run: str, position: int) -> None:
    """From its earlier checkpoint."""
    assert frail.cluster.cli_json("run", "resume", run)[0]["position"] == position
