"""IC Ops on real clusters: every cell of the lifecycle table, by REST and by command line, idle and while steps are trained."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from real_cluster import Json, RealCluster
from steering import WAYS, drained, explained, frozen, in_state, mid_chunk, until, values

from conftest import experiment
from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError
from gswarm.domain.plan import RunOp, RunState
from gswarm.scheduler.lifecycle import TABLE, Refused, possible_ops
from gswarm.sdk import Host

pytestmark = [pytest.mark.e2e, pytest.mark.train]

LONG_ROWS = 1216
ENDLESS = {"max_steps": 1_000_000}
"""A run that is never done: one chunk is an epoch of 300 steps."""
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


# ---- the table: what is refused ------------------------------------------------------------------------------------------


@pytest.fixture(scope="class")
def in_every_state(cluster: RealCluster, host: Host, assets: Path, long_data: Path) -> Iterator[dict[RunState, str]]:
    """A run in every state that lasts, those that train in the middle of a chunk. Their trainers stand still."""
    name = "every-state"
    search = together(SHORT, SHORT | {"learning_rate": 2e-3}, SHORT | {"learning_rate": 3e-3}, BROKEN)
    document = experiment(assets, name, dataset=str(long_data), search=search, chunks={"num_chunks": 1})
    completed, other, third, failed = submit(cluster, host, document)
    until_idle(cluster, host, name)
    running, stopping = (host.clone_run(run, ENDLESS)["id"] for run in (completed, other))
    slots = [mid_chunk(host, run)["slot"] for run in (running, stopping)]
    with frozen(cluster, *(slot.partition("/")[0] for slot in slots)):
        queued, stopped = (host.clone_run(third, ENDLESS)["id"] for _ in range(2))
        host.stop_run(stopped)
        host.stop_run(stopping)
        host.delete_run(other)
        yield {
            RunState.QUEUED: queued,
            RunState.RUNNING: running,
            RunState.STOPPING: stopping,
            RunState.STOPPED: stopped,
            RunState.COMPLETED: completed,
            RunState.FAILED: failed,
            RunState.DELETING: other,
        }
    host.delete_experiment(name)


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
def test_operations_in_the_middle_of_a_chunk(cluster: RealCluster, host: Host, assets: Path, long_data: Path, way: str) -> None:
    name = f"mid-chunk-{way}"
    act = WAYS[way](cluster, host)
    document = experiment(assets, name, dataset=str(long_data), chunks={"num_chunks": 1}, lr_scheduler_type="constant", warmup_ratio=0.0)
    (run,) = submit(cluster, host, document | {"base": document["base"] | ENDLESS})
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
    assert host.run(warm["id"])["grants"] == []
    assert act(RunOp.RESUME, run)["state"] in ("queued", "running")
    resumed = mid_chunk(host, run)
    losses = values(host, run, "loss")
    assert sorted(losses) == list(range(1, max(losses) + 1))
    assert resumed["current_step"] > stopped["position"]
    restored = act(RunOp.RESTORE, warm["id"])
    assert (restored["state"], restored["position"]) == ("stopped", before["position"])
    act(RunOp.DELETE, cold)
    act(RunOp.RESUME, warm["id"])
    mid_chunk(host, warm["id"])
    host.delete_experiment(name)
    assert {one["state"] for one in host.experiment_runs(name)} == {"deleting"}


@pytest.mark.parametrize("way", WAYS)
def test_operations_on_runs_that_do_not_train(cluster: RealCluster, host: Host, assets: Path, way: str) -> None:
    name = f"idle-{way}"
    act = WAYS[way](cluster, host)
    document = experiment(assets, name, chunks={"num_chunks": 1}, search=together(SHORT, BROKEN))
    completed, failed = submit(cluster, host, document)
    until_idle(cluster, host, name)
    assert [host.run(run)["state"] for run in (completed, failed)] == ["completed", "failed"]

    # FAILED: tried again, and it fails again; deleted and restored it is what it was.
    assert act(RunOp.RESUME, failed)["state"] in ("queued", "running")
    until_idle(cluster, host, name)
    assert host.run(failed)["failure"]["code"] == "nan_loss"
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


def test_a_person_reads_what_happened(cluster: RealCluster, host: Host, assets: Path, long_data: Path) -> None:
    document = experiment(assets, "told", dataset=str(long_data), chunks={"num_chunks": 1})
    (run,) = submit(cluster, host, document | {"base": document["base"] | ENDLESS})
    mid_chunk(host, run)
    said = cluster.cli("run", "stop", run).stdout
    assert re.fullmatch(rf"{run}: stopping at its next step, now at step \d+ of 1000000\n", said)
    at = in_state(host, run, "stopped")["position"]
    explanation = cluster.cli("run", "explain", run).stdout
    assert f"it was stopped at step {at} of 1000000; resume continues from there" in explanation
    said = cluster.cli("run", "clone", run, "--warm-start", "latest").stdout
    clone = said.partition(":")[0]
    assert said == f"{clone}: queued, a clone of {run} with its weights of step {at}, at step {at} of 1000000\n"
    assert f"{run} (warm, latest: its step {at})" in cluster.cli("run", "show", clone).stdout
    said = cluster.cli("run", "resume", run).stdout
    assert re.fullmatch(rf"{run}: (queued|running), goes on from step {at} of 1000000\n", said)
    assert "undo with: gswarm run restore" in cluster.cli("run", "delete", run, clone).stdout
    host.delete_experiment("told")


# ---- clones --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parent(cluster: RealCluster, host: Host, assets: Path) -> str:
    """A finished run of 26 steps in one chunk."""
    document = experiment(assets, "clones", num_train_epochs=1, chunks={"num_chunks": 1}, lr_scheduler_type="linear", warmup_ratio=0.0)
    (run,) = submit(cluster, host, document)
    until_idle(cluster, host, "clones")
    assert (host.run(run)["state"], host.run(run)["position"], host.run(run)["chunks_total"]) == ("completed", 26, 1)
    return run


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
    for clone in (longer, smaller, cold):
        assert host.run(clone["id"])["state"] == "completed"
        assert verified(cluster, clone["id"])
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
    assert verified(cluster, clones[2])


# ---- stop and resume -----------------------------------------------------------------------------------------------------


def test_resume_keeps_epochs_and_turn(cluster: RealCluster, host: Host, assets: Path) -> None:
    """One slot, three runs, stopped in the second epoch: the run goes on there and takes no more turns in a row than it missed."""
    name = "turns"
    search = {"method": "grid", "parameters": {"learning_rate": {"values": [1e-3, 2e-3, 3e-3]}}}
    document = experiment(assets, name, num_train_epochs=3, chunks={"num_chunks": 4}, resources={"max_skew": 1}, search=search)
    with drained(host, "right"):
        run, *others = submit(cluster, host, document)
        until(host, run, lambda one: one["chunks_done"] >= 5)
        host.stop_run(run)
        stopped = in_state(host, run, "stopped")
        until(host, others[0], lambda one: one["chunks_done"] > stopped["chunks_done"])
        missed = max(host.run(other)["chunks_done"] for other in others) - stopped["chunks_done"]
        resumed = host.resume_run(run)
        assert (resumed["position"], resumed["chunks_done"]) == (stopped["position"], stopped["chunks_done"])
        until_idle(cluster, host, name)
    begins = sorted((at, one) for one in (run, *others) for step, _, at in points(host, one, "setup_s"))
    turns = [one for _, one in begins if _ > stopped_at(host, run, stopped["position"])]
    assert longest_streak(turns, run) <= missed + 2, turns
    assert sorted(values(host, run, "loss")) == list(range(1, 79))
    assert {host.run(one)["state"] for one in (run, *others)} == {"completed"}
    assert verified(cluster, run)


def points(host: Host, run: str, metric: str) -> list[tuple[int, float, float]]:
    return [(step, value, at) for step, value, at in host.metrics(run, (metric,))["series"][0]["points"]]


def stopped_at(host: Host, run: str, position: int) -> float:
    return next(at for step, _, at in points(host, run, "loss") if step == position)


def longest_streak(turns: list[str], run: str) -> int:
    """Turns that the run had in a row while others still had some to come."""
    last_of_others = max((place for place, one in enumerate(turns) if one != run), default=-1)
    return max((sum(1 for _ in group) for one, group in itertools.groupby(turns[: last_of_others + 1]) if one == run), default=0)


def test_the_last_active_run_can_be_stopped_and_resumed(cluster: RealCluster, host: Host, assets: Path) -> None:
    name = "last-active"
    document = experiment(assets, name, chunks={"num_chunks": 2}, num_train_epochs=8)
    first, last = submit(cluster, host, document | {"search": {"parameters": {"learning_rate": {"values": [1e-3, 2e-3]}}}})
    host.delete_run(first)
    mid_chunk(host, last)
    host.stop_run(last)
    until_idle(cluster, host, name)
    position = host.run(last)["position"]
    assert host.experiment(name)["possible"] == ["resume", "delete", "restore"]
    assert host.resume_run(last)["position"] == position
    assert host.experiment(name)["state"] == "active"
    until_idle(cluster, host, name)
    assert host.run(last)["state"] == "completed"
    assert sorted(values(host, last, "loss")) == list(range(1, 209))


# ---- memory --------------------------------------------------------------------------------------------------------------


def trainer_memory(cluster: RealCluster) -> tuple[int, int]:
    """(threads, resident bytes) of all trainer processes."""
    trainers = [psutil.Process(pid) for name in cluster.clients for pid in cluster.trainer_pids(name)]
    return sum(one.num_threads() for one in trainers), sum(one.memory_info().rss for one in trainers)


def test_memory_of_finished_and_deleted_runs_is_freed(cluster: RealCluster, host: Host, assets: Path, long_data: Path) -> None:
    """Over many short runs and some that are deleted in the middle of a chunk, threads and memory of the trainers stay what they were."""

    def generation(name: str) -> tuple[int, int]:
        search = {"method": "grid", "parameters": {"seed": {"values": list(range(10))}}}
        submit(cluster, host, experiment(assets, name, max_steps=3, chunks={"num_chunks": 1}, search=search))
        until_idle(cluster, host, name)
        for run in [one["id"] for one in host.experiment_runs(name)][:2]:
            host.clone_run(run, ENDLESS)
        endless = [one["id"] for one in host.experiment_runs(name)][10:]
        for run in endless:
            mid_chunk(host, run)
        host.delete_experiment(name)
        # Whatever was dropped is gone once the trainers have had another turn.
        (last,) = submit(cluster, host, experiment(assets, name, max_steps=2, chunks={"num_chunks": 1}))
        in_state(host, last, "completed")
        return trainer_memory(cluster)

    generation("memory-0")
    threads, resident_bytes = generation("memory-1")
    for number in (2, 3):
        later = generation(f"memory-{number}")
        assert later[0] <= threads, "a thread of a run is left"
        assert later[1] - resident_bytes < 24 * 2**20, f"{(later[1] - resident_bytes) >> 20} MiB more"
