"""IC Ops on real clusters: every cell of the lifecycle table, by REST and by command line, idle and while steps are trained."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from experiments import experiment
from real_cluster import Json, RealCluster
from steering import WAYS, drained, explained, frozen, in_state, mid_chunk, points, until, values

from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError
from gswarm.domain.plan import RunOp, RunState
from gswarm.scheduler.lifecycle import TABLE, Refused, possible_ops
from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

LONG_ROWS = 1216
ENDLESS = {"max_steps": 1_000_000}
"""A run that is never done: one chunk is an epoch of 300 steps."""
RATES = {"method": "grid", "parameters": {"learning_rate": {"values": [1e-3, 2e-3]}}}
SHORT = {"learning_rate": 1e-3, "weight_decay": 0.0, "max_steps": 3}
BROKEN = {"learning_rate": 100.0, "weight_decay": 100.0, "max_steps": 30}
"""A run that fails after a few steps: the loss is not finite."""


@pytest.fixture(scope="module")
def long_data(assets: Path) -> Path:
    """Conversations for 300 steps an epoch, so that there is time to act in the middle of a chunk."""
    from tiny import write_dataset

    return write_dataset(assets / "long.jsonl", LONG_ROWS)


@pytest.fixture(scope="module")
def host(cluster: RealCluster) -> Iterator[Host]:
    with cluster.api() as connected:
        yield connected


def submit(cluster: RealCluster, host: Host, document: Json) -> list[str]:
    """Ids of the experiment's runs once they are queued."""
    name = host.submit(document)["name"]
    cluster.wait_for(host, lambda: host.experiment(name)["state"] != "preparing")
    assert host.experiment(name)["state"] in ("active", "idle"), host.experiment(name)["failure"]
    return [run["id"] for run in host.experiment_runs(name)]


def until_idle(cluster: RealCluster, host: Host, name: str) -> None:
    cluster.wait_for(host, lambda: host.experiment(name)["state"] == "idle")


def together(*configurations: Json) -> Json:
    """A search over whole configurations."""
    return {"method": "grid", "parameters": {"_": list(configurations)}}


def verified(cluster: RealCluster, run: str) -> bool:
    return bool(cluster.cli_json("run", "verify", run)["identical"])


@pytest.fixture(scope="module")
def seeds(cluster: RealCluster, host: Host, long_data: Path, assets: Path) -> tuple[str, str]:
    """A completed and a failed run of an experiment in which a chunk is 300 steps. Its clones need no preparation."""
    search = together(SHORT, BROKEN)
    completed, failed = submit(
        cluster, host, experiment(assets, "steered", dataset=str(long_data), search=search, chunks={"num_chunks": 1})
    )
    until_idle(cluster, host, "steered")
    return completed, failed


@pytest.fixture(scope="module")
def parent(cluster: RealCluster, host: Host, assets: Path) -> str:
    """A finished run of 26 steps in one chunk."""
    changes = {"num_train_epochs": 1, "lr_scheduler_type": "linear", "warmup_ratio": 0.0}
    document = experiment(assets, "clones", chunks={"num_chunks": 1}, resources={"max_skew": 1}, **changes)
    (run,) = submit(cluster, host, document)
    until_idle(cluster, host, "clones")
    assert (host.run(run)["state"], host.run(run)["position"], host.run(run)["chunks_total"]) == ("completed", 26, 1)
    return run


def delete_all(host: Host, name: str, but: Sequence[str]) -> None:
    """Deletes the experiment's runs but those."""
    for run in host.experiment_runs(name):
        if run["id"] not in but and "delete" in run["possible"]:
            host.delete_run(run["id"])


# ---- the table: what is refused ------------------------------------------------------------------------------------------


@pytest.fixture(scope="class")
def in_every_state(cluster: RealCluster, host: Host, seeds: tuple[str, str]) -> Iterator[dict[RunState, str]]:
    """A run in every state that lasts, those that train in the middle of a chunk. Their trainers stand still."""
    completed, failed = seeds
    running, stopping = (host.clone_run(completed, ENDLESS)["id"] for _ in range(2))
    slots = [mid_chunk(host, run)["slot"] for run in (running, stopping)]
    with frozen(cluster, *(slot.partition("/")[0] for slot in slots)):
        queued, stopped, deleting = (host.clone_run(completed, ENDLESS)["id"] for _ in range(3))
        host.stop_run(stopped)
        host.stop_run(stopping)
        host.delete_run(deleting)
        yield {
            RunState.QUEUED: queued,
            RunState.RUNNING: running,
            RunState.STOPPING: stopping,
            RunState.STOPPED: stopped,
            RunState.COMPLETED: completed,
            RunState.FAILED: failed,
            RunState.DELETING: deleting,
        }
    delete_all(host, "steered", but=seeds)


def refused_in(states: dict[RunState, str], op: RunOp) -> dict[str, str]:
    """Why the operation is refused, by run."""
    return {run: cell.reason for state, run in states.items() if isinstance(cell := TABLE[state][op], Refused)}


class TestFrozenMidChunk:
    """While the trainers stand still, so that every state lasts."""

    def test_each_run_is_in_its_state_and_says_why(self, host: Host, in_every_state: dict[RunState, str]) -> None:
        runs = in_every_state
        for state, run in runs.items():
            document = host.run(run)
            assert document["state"] == state
            assert document["possible"] == list(possible_ops(state))
        texts = {state: explained(host, run) for state, run in runs.items()}
        assert texts[RunState.RUNNING] == ("training", f"it trains on {host.run(runs[RunState.RUNNING])['slot']}, steps 0 to 300")
        code, text = texts[RunState.QUEUED]
        assert code in ("next", "turn")
        assert "at step 0 of 1000000" in text
        assert texts[RunState.STOPPING][0] == "stopping"
        assert "has ended its grant of steps 0 to 300" in texts[RunState.STOPPING][1]
        assert texts[RunState.STOPPED] == ("stopped", "it was stopped at step 0 of 1000000; resume continues from there")
        assert texts[RunState.COMPLETED] == ("completed", "it has trained all its 3 steps")
        assert texts[RunState.FAILED][0] == "failed"
        assert "the loss is" in texts[RunState.FAILED][1]
        assert "can be restored for another" in texts[RunState.DELETING][1]

    @pytest.mark.parametrize("op", RunOp)
    def test_what_a_state_refuses_is_said_and_changes_nothing(
        self, cluster: RealCluster, host: Host, in_every_state: dict[RunState, str], op: RunOp
    ) -> None:
        refusals = refused_in(in_every_state, op)
        states = {run: state for state, run in in_every_state.items()}
        act = WAYS["rest"](cluster, host)
        before = host.ready()["seq"]
        for run, reason in refusals.items():
            with pytest.raises(ConflictError, match=reason) as refusal:
                act(op, run)
            possible = possible_ops(states[run])
            assert refusal.value.possible == possible
            assert refusal.value.message == f"cannot {op} {run}: {reason} (state {states[run]})"
            assert refusal.value.hint == f"possible now: {', '.join(possible)}"
        if refusals:
            # One command for all of them: each gets its own line, and none keeps the others from theirs.
            said = cluster.cli("run", op.value, *refusals, code=1)
            assert said.stdout == ""
            lines = said.stderr.strip().splitlines()
            assert len(lines) == len(refusals)
            for line, (run, reason) in zip(lines, refusals.items(), strict=True):
                assert line.startswith(f"error: cannot {op} {run}: {reason} (state {states[run]}); possible now: ")
        assert host.ready()["seq"] == before

    def test_a_malformed_clone_changes_nothing_and_everyone_goes_on(
        self, cluster: RealCluster, host: Host, in_every_state: dict[RunState, str], tmp_path: Path
    ) -> None:
        before = host.ready()["seq"], host.runs()
        for run in in_every_state.values():
            for changes, warm_start, message in (
                ({"learning_rat": 1e-4}, None, "learning_rate"),
                ({"learning_rate": "fast"}, None, "learning_rate"),
                ({"per_device_train_batch_size": 0}, None, "batch"),
                ({"warmup_ratio": 0.1, "warmup_steps": 5}, None, "both set"),
                ({"dataset": "other.jsonl"}, None, "cannot change dataset"),
                ({"per_device_train_batch_size": 2000, "max_steps": 0}, None, "max_steps"),
                ({}, "newest", "warm_start"),
                ({}, "-1", "warm_start"),
            ):
                with pytest.raises(InvalidInputError, match=message):
                    host.clone_run(run, changes, warm_start)
            with pytest.raises(GswarmError, match="no checkpoint"):
                host.clone_run(run, ENDLESS, 77)
        said = cluster.cli("run", "clone", in_every_state[RunState.RUNNING], "--set", "learning_rat=1", code=1)
        assert said.stderr.count("\n") == 1
        assert "learning_rate" in said.stderr
        assert (host.ready()["seq"], host.runs()) == before

    def test_a_stopping_run_can_be_cloned_resumed_and_deleted(
        self, cluster: RealCluster, host: Host, in_every_state: dict[RunState, str]
    ) -> None:
        stopping = in_every_state[RunState.STOPPING]
        for way in WAYS.values():
            act = way(cluster, host)
            clone = act(RunOp.CLONE, stopping, {"learning_rate": 1e-4})
            assert (clone["parent"], clone["state"], clone["spec"]["learning_rate"]) == (stopping, "queued", 1e-4)
            assert act(RunOp.DELETE, clone["id"])["state"] == "deleting"
            assert host.run(stopping)["state"] == "stopping"
            assert act(RunOp.RESUME, stopping)["state"] == "queued"
            assert explained(host, stopping)[0] == "resumes"
            assert act(RunOp.STOP, stopping)["state"] == "stopping"
        assert "its grant of steps 0 to 300" in cluster.cli("run", "explain", stopping).stdout


# ---- the table: what is allowed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_operations_in_the_middle_of_a_chunk(cluster: RealCluster, host: Host, seeds: tuple[str, str], way: str) -> None:
    act = WAYS[way](cluster, host)
    steady = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0}
    run = act(RunOp.CLONE, seeds[0], ENDLESS | steady)["id"]
    seen = mid_chunk(host, run)
    assert seen["position"] % 300 == 0

    cold = act(RunOp.CLONE, run, {"learning_rate": 2e-4})["id"]
    mid_chunk(host, cold)
    assert host.run(run)["state"] == "running", "a clone takes nothing from its parent"
    with pytest.raises(GswarmError):
        host.clone_run(run, {"learning_rate": -1})
    assert act(RunOp.STOP, run)["state"] == "stopping"
    stopped = in_state(host, run, "stopped")
    assert stopped["position"] % 300, "it was stopped at a chunk's end, not at a step"
    assert stopped["current_step"] == stopped["position"], "it trained on after its stop"
    mid_chunk(host, cold)

    warm = act(RunOp.CLONE, run, {"learning_rate": 4e-4}, "latest")
    (latest,) = [kept for kept in host.checkpoints(run) if kept["latest"]]
    assert warm["position"] == warm["first_step"] == stopped["position"]
    assert warm["start"]["weights_digest"] == latest["weights_digest"]
    mid_chunk(host, warm["id"])
    assert set(values(host, warm["id"], "learning_rate").values()) == {4e-4}

    # Deleted in the middle of a chunk, restored, resumed: it goes on from its last commit.
    before = host.run(warm["id"])
    assert act(RunOp.DELETE, warm["id"])["state"] == "deleting"
    deleted = host.run(warm["id"])
    assert deleted["grants"] == []
    assert deleted["position"] in (before["position"], 300), "a chunk may have ended before the deletion came"
    assert act(RunOp.RESUME, run)["state"] in ("queued", "running")
    resumed = mid_chunk(host, run)
    losses = values(host, run, "loss")
    assert sorted(losses) == list(range(1, max(losses) + 1))
    assert resumed["current_step"] > stopped["position"]
    restored = act(RunOp.RESTORE, warm["id"])
    assert (restored["state"], restored["position"]) == ("stopped", deleted["position"])
    act(RunOp.DELETE, cold)
    act(RunOp.RESUME, warm["id"])
    mid_chunk(host, warm["id"])
    for one in (run, warm["id"]):
        assert act(RunOp.DELETE, one)["state"] == "deleting"


@pytest.mark.parametrize("way", WAYS)
def test_operations_on_runs_that_do_not_train(cluster: RealCluster, host: Host, seeds: tuple[str, str], way: str) -> None:
    act = WAYS[way](cluster, host)
    completed, failed = seeds

    # FAILED: tried again, and it fails again; deleted and restored it is what it was.
    assert act(RunOp.RESUME, failed)["state"] in ("queued", "running")
    assert in_state(host, failed, "failed")["failure"]["code"] == "nan_loss"
    for run, state in ((failed, "failed"), (completed, "completed")):
        assert act(RunOp.DELETE, run)["state"] == "deleting"
        clone = act(RunOp.CLONE, run, {"learning_rate": 1e-4, "weight_decay": 0.0, "max_steps": 2})["id"]
        assert act(RunOp.RESTORE, run)["state"] == state
        assert in_state(host, clone, "completed")["position"] == 2

    with drained(host, "left", "right"):
        clone = act(RunOp.CLONE, failed, {"learning_rate": 1e-3, "weight_decay": 0.0, "max_steps": 4})["id"]
        assert host.run(clone)["state"] == "queued"
        code, text = explained(host, clone)
        assert code == "no_client"
        assert "left and right are draining" in text
        assert act(RunOp.STOP, clone)["state"] == "stopped"
        other = act(RunOp.CLONE, clone)["id"]
        assert act(RunOp.RESUME, clone)["state"] == "queued"
        assert act(RunOp.DELETE, other)["state"] == "deleting"
        assert act(RunOp.RESTORE, other)["state"] == "stopped"
        assert act(RunOp.DELETE, other)["state"] == "deleting"
        assert host.run(clone)["generation"] == host.run(other)["generation"] == 0
    assert in_state(host, clone, "completed")["position"] == 4


def test_a_person_reads_what_happened(cluster: RealCluster, host: Host, seeds: tuple[str, str]) -> None:
    run = host.clone_run(seeds[0], ENDLESS)["id"]
    mid_chunk(host, run)
    said = cluster.cli("run", "stop", run).stdout
    assert re.fullmatch(rf"{run}: stopping at its next step, now at step \d+ of 1000000\n", said)
    at = in_state(host, run, "stopped")["position"]
    explanation = cluster.cli("run", "explain", run).stdout
    assert f"it was stopped at step {at} of 1000000; resume continues from there" in explanation
    said = cluster.cli("run", "clone", run, "--warm-start", "latest").stdout
    clone = said.partition(":")[0]
    assert said.endswith(f"ing, a clone of {run} with its weights of step {at}, at step {at} of 1000000\n")
    assert f"{run} (warm, latest: its step {at})" in cluster.cli("run", "show", clone).stdout
    said = cluster.cli("run", "resume", run).stdout
    assert re.fullmatch(rf"{run}: (queued|running), goes on from step {at} of 1000000\n", said)
    assert "undo with: gswarm run restore" in cluster.cli("run", "delete", run, clone).stdout


# ---- clones --------------------------------------------------------------------------------------------------------------


def test_clones_of_a_finished_run_of_one_chunk(cluster: RealCluster, host: Host, parent: str) -> None:
    for changes in ({}, {"learning_rate": 5e-4}):
        with pytest.raises(InvalidInputError, match="nothing left to train: the clone would begin at step 26 of 26") as refusal:
            host.clone_run(parent, changes, "latest")
        assert "num_train_epochs" in refusal.value.hint
    (final,) = [kept for kept in host.checkpoints(parent) if kept["latest"]]
    assert final["step"] == 26

    longer = host.clone_run(parent, {"num_train_epochs": 2, "learning_rate": 5e-4}, "latest")
    assert (longer["first_step"], longer["total_steps"]) == (26, 52)
    assert longer["start"] == {"step": 26, "manifest": final["manifest"], "weights_digest": final["weights_digest"]}
    # Half the batch: twice the steps for as many rows.
    smaller = host.clone_run(parent, {"num_train_epochs": 2, "per_device_train_batch_size": 2}, "best")
    assert (smaller["first_step"], smaller["steps_per_epoch"], smaller["total_steps"], smaller["epoch"]) == (52, 52, 104, 1.0)
    cold = host.clone_run(parent, {"lora_rank": 2})
    assert (cold["first_step"], cold["total_steps"], cold["start"]) == (0, 26, None)
    until_idle(cluster, host, "clones")

    rates = values(host, longer["id"], "learning_rate")
    assert rates == pytest.approx({step: 5e-4 * (1 - (step - 1) / 52) for step in range(27, 53)})
    assert sorted(values(host, smaller["id"], "loss")) == list(range(53, 105))
    assert {host.run(clone["id"])["state"] for clone in (longer, smaller, cold)} == {"completed"}
    assert verified(cluster, longer["id"])
    assert verified(cluster, smaller["id"])
    weights = {kept["weights_digest"] for one in (parent, longer["id"], cold["id"]) for kept in host.checkpoints(one)}
    assert len(weights) == 3


def test_clones_keep_max_steps_unless_it_is_changed(cluster: RealCluster, host: Host, parent: str) -> None:
    short = host.clone_run(parent, {"max_steps": 5})["id"]
    in_state(host, short, "completed")
    kept, changed = host.clone_run(short, {"learning_rate": 1e-4}), host.clone_run(short, {"max_steps": 8}, "latest")
    assert (kept["total_steps"], changed["first_step"], changed["total_steps"]) == (5, 5, 8)
    with pytest.raises(InvalidInputError, match="nothing left to train"):
        host.clone_run(short, {"num_train_epochs": 9}, "latest")
    until_idle(cluster, host, "clones")
    assert [host.run(one["id"])["position"] for one in (kept, changed)] == [5, 8]


def test_the_same_request_twice_is_one_clone(cluster: RealCluster, host: Host, parent: str) -> None:
    before = len(host.experiment_runs("clones"))
    with ThreadPoolExecutor(4) as threads:
        clicks = list(threads.map(lambda _: host.clone_run(parent, {"max_steps": 2}, request_id="double-click")["id"], range(8)))
    assert len(set(clicks)) == 1
    assert len(host.experiment_runs("clones")) == before + 1
    with pytest.raises(ConflictError, match="used for something else"):
        host.clone_run(parent, {"max_steps": 3}, request_id="double-click")
    until_idle(cluster, host, "clones")


def test_delete_against_clone_of_the_same_parent(cluster: RealCluster, host: Host, parent: str) -> None:
    """Both orders, and at once: either way the parent is deleted, and the clone trains from its checkpoint to the end."""

    def subject() -> str:
        run: str = host.clone_run(parent, {"max_steps": 3})["id"]
        in_state(host, run, "completed")
        return run

    first, second, third = subject(), subject(), subject()
    more = {"max_steps": 6}
    clones = [host.clone_run(first, more, "latest")["id"]]
    host.delete_run(first)
    host.delete_run(second)
    clones.append(host.clone_run(second, more, "latest")["id"])
    with ThreadPoolExecutor(2) as threads:
        clone, deleted = threads.submit(host.clone_run, third, more, "latest"), threads.submit(host.delete_run, third)
        clones.append(clone.result()["id"])
        assert deleted.result()["state"] == "deleting"
    until_idle(cluster, host, "clones")
    assert [host.run(one)["state"] for one in (first, second, third)] == ["deleting"] * 3
    for one in clones:
        assert (host.run(one)["state"], host.run(one)["position"]) == ("completed", 6)


# ---- stop and resume -----------------------------------------------------------------------------------------------------


def test_resume_keeps_epochs_and_turn(cluster: RealCluster, host: Host, parent: str) -> None:
    """One slot, three runs, stopped in the third epoch: the run goes on there and takes no more turns in a row than it missed."""
    with drained(host, "right"):
        run, *others = (host.clone_run(parent, {"num_train_epochs": 7, "learning_rate": rate})["id"] for rate in (1e-3, 2e-3, 3e-3))
        until(host, run, lambda one: one["chunks_done"] >= 2)
        host.stop_run(run)
        stopped = in_state(host, run, "stopped")
        until(host, others[0], lambda one: one["chunks_done"] > stopped["chunks_done"])
        missed = max(host.run(other)["chunks_done"] for other in others) - stopped["chunks_done"]
        resumed = host.resume_run(run)
        assert (resumed["position"], resumed["chunks_done"]) == (stopped["position"], stopped["chunks_done"])
        until_idle(cluster, host, "clones")
    at_s = {step: at for step, _, at in points(host, run, "loss")}[stopped["position"]]
    begins = sorted((at, one) for one in (run, *others) for _, _, at in points(host, one, "setup_s") if at > at_s)
    turns = [one for _, one in begins]
    # One for what it missed, one for max_skew, one that was granted ahead.
    assert longest_streak(turns, run) <= missed + 2 < 7, turns
    assert sorted(values(host, run, "loss")) == list(range(1, 7 * 26 + 1))
    assert {host.run(one)["state"] for one in (run, *others)} == {"completed"}


def longest_streak(turns: list[str], run: str) -> int:
    """Turns that the run had in a row while others still had some to come."""
    last_of_others = max((place for place, one in enumerate(turns) if one != run), default=-1)
    return max((sum(1 for _ in group) for one, group in itertools.groupby(turns[: last_of_others + 1]) if one == run), default=0)


def test_the_last_active_run_can_be_stopped_and_resumed(cluster: RealCluster, host: Host, parent: str) -> None:
    last = host.clone_run(parent, {"num_train_epochs": 8})["id"]
    mid_chunk(host, last)
    host.stop_run(last)
    until_idle(cluster, host, "clones")
    position = host.run(last)["position"]
    assert "resume" in host.experiment("clones")["possible"]
    assert host.resume_run(last)["position"] == position
    assert host.experiment("clones")["state"] == "active"
    until_idle(cluster, host, "clones")
    assert host.run(last)["state"] == "completed"
    assert sorted(values(host, last, "loss")) == list(range(1, 8 * 26 + 1))


# ---- memory --------------------------------------------------------------------------------------------------------------


def trainer_memory(cluster: RealCluster) -> tuple[int, int]:
    """(threads, resident bytes) of all trainer processes."""
    trainers = [psutil.Process(pid) for name in cluster.clients for pid in cluster.trainer_pids(name)]
    return sum(one.num_threads() for one in trainers), sum(one.memory_info().rss for one in trainers)


def test_memory_of_finished_and_deleted_runs_is_freed(cluster: RealCluster, host: Host, seeds: tuple[str, str]) -> None:
    """Over many short runs and some that are deleted in the middle of a chunk, threads and memory of the trainers stay what they were."""

    def generation() -> tuple[int, int]:
        short = [host.clone_run(seeds[0], {"seed": seed})["id"] for seed in range(12)]
        for run in short:
            in_state(host, run, "completed")
        endless = [host.clone_run(seeds[0], ENDLESS)["id"] for _ in range(2)]
        for run in endless:
            mid_chunk(host, run)
            host.delete_run(run)
        # Whatever was dropped is gone once each trainer has had another turn.
        for run in [host.clone_run(seeds[0])["id"] for _ in range(2)]:
            in_state(host, run, "completed")
        return trainer_memory(cluster)

    generation()
    threads, resident_bytes = generation()
    for _ in range(2):
        later = generation()
        assert later[0] <= threads, "a thread of a run is left"
        assert later[1] - resident_bytes < 24 * 2**20, f"{(later[1] - resident_bytes) >> 20} MiB more"


# ---- clusters of their own: a short undo window, a client that stands still ------------------------------------------------


def test_a_frozen_client_comes_back_too_late(new_cluster: Callable[[], RealCluster], assets: Path) -> None:
    """It stands still beyond its lease while its trainer goes on. What it reports then counts for nothing; the run ends right elsewhere."""
    cluster = new_cluster()
    cluster.undo_window_s = 1.0
    cluster.start_host()
    cluster.start_client("left")
    cluster.wait_for_clients(1)
    with cluster.api() as host:
        run, gone = submit(cluster, host, experiment(assets, "late", num_train_epochs=12, search=RATES))
        host.delete_run(gone)
        mid_chunk(host, run)
        cluster.start_client("right")
        cluster.wait_for_clients(2)
        refused, left = host.ready()["refused_reports"], cluster.clients["left"]
        position = mid_chunk(host, run)["position"]
        left.send_signal(signal.SIGSTOP)
        cluster.wait_for(host, lambda: host.client("left")["state"] == "lost")
        lost = explained(host, run)
        until(host, run, lambda one: one["position"] > position)
        left.send_signal(signal.SIGCONT)
        cluster.wait_for_clients(2)
        until_idle(cluster, host, "late")
        assert lost[0] in ("training", "next", "turn")
        assert host.ready()["refused_reports"] > refused
        assert "does not count" in cluster.log("host.log", 100_000)
        assert host.run(run)["state"] == "completed"
        steps = [(chunk["from_step"], chunk["to_step"]) for chunk in host.timeline("late")["chunks"] if chunk["run"] == run]
        assert [start for start, _ in steps] == [0, *(end for _, end in steps[:-1])], "a range of steps counted twice"
        assert verified(cluster, run)

        # The undo window is over by now.
        in_state(host, gone, "deleted")
        assert explained(host, gone) == ("deleted", "it was deleted and its checkpoints are gone")
        for op in RunOp:
            with pytest.raises(ConflictError, match=f"cannot {op} {gone}: it is deleted and its checkpoints are gone") as refusal:
                WAYS["rest"](cluster, host)(op, gone)
            assert (refusal.value.possible, refusal.value.hint) == ((), "nothing can be done with it any more")
            said = cluster.cli("run", op.value, gone, code=1)
            assert said.stderr.startswith(f"error: cannot {op} {gone}: it is deleted")
