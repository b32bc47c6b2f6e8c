"""Every explanation, in the state that it explains."""

from __future__ import annotations

import pytest

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import RunOp, RunState
from gswarm.scheduler.events import ClientDrainRequested, JobFinished
from gswarm.scheduler.explain import Explanation, explain_experiment, explain_run, explain_slot
from gswarm.scheduler.jobs import PER_CLIENT_MAX
from scheduler_kit import FATAL, SUSPECT, Cluster, bring_to


def why(cluster: Cluster, run: str = "r1") -> Explanation:
    return explain_run(cluster.state, RunId(run), cluster.now_s)


def why_slot(cluster: Cluster, slot: str = "a/0") -> Explanation:
    return explain_slot(cluster.state, SlotId(slot), cluster.now_s)


def why_experiment(cluster: Cluster, experiment: str = "e1") -> Explanation:
    return explain_experiment(cluster.state, ExperimentId(experiment), cluster.now_s)


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        (RunState.QUEUED, "no_client", "no client is ready"),
        (RunState.RUNNING, "training", "trains on a/0, steps 0 to 10"),
        (RunState.STOPPING, "stopping", "a has ended its grant of steps 0 to 10"),
        (RunState.STOPPED, "stopped", "step 0 of 40"),
        (RunState.COMPLETED, "completed", "all its 40 steps"),
        (RunState.FAILED, "failed", "nan_loss"),
        (RunState.PRUNED, "pruned", "search"),
        (RunState.DELETING, "deleting", "another 600 s"),
        (RunState.DELETED, "deleted", "gone"),
    ],
)
def test_every_state_of_a_run(state: RunState, code: str, words: str) -> None:
    explanation = why(bring_to(state))
    assert explanation.code == code
    assert words in str(explanation)


def test_a_queued_run_names_the_clients_that_are_draining() -> None:
    cluster = Cluster()
    cluster.client("b")
    cluster.client("a")
    cluster.experiment(runs=1)
    cluster.op("r1", RunOp.STOP)
    for name in ("a", "b"):
        cluster.step(ClientDrainRequested(ClientName(name), True))
    cluster.give_back(cluster.run("r1").grants[0])
    cluster.op("r1", RunOp.RESUME)
    assert why(cluster).text == "no client is ready: a and b are draining; gswarm client resume gives them work again"


def test_a_queued_run_names_those_before_it() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=8)
    assert why(cluster, "r2").code == "ahead"
    assert "behind run r1" in why(cluster, "r2").text
    assert why(cluster, "r3").code == "next"
    assert why(cluster, "r5").text == "it waits for its turn at step 0 of 40, behind r3, r4"
    assert "and 0 more" not in why(cluster, "r8").text


def test_a_higher_priority_stands_before() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment("low", runs=2)
    cluster.experiment("high", runs=2, priority=9)
    assert "behind r3, r4" in why(cluster, "r2").text or why(cluster, "r2").code == "ahead"
    assert why(cluster, "r3").code == "next"


def test_waiting_for_a_commit() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1, rows=10)
    cluster.train(cluster.grant("r1"))
    assert why(cluster).code == "committing"
    assert "committed its checkpoint of step 10" in why(cluster).text


def test_resumed_while_stopping() -> None:
    cluster = bring_to(RunState.STOPPING)
    cluster.op("r1", RunOp.RESUME)
    assert why(cluster).code == "resumes"


def test_a_run_that_avoids_the_free_slot() -> None:
    cluster = Cluster()
    cluster.client("a")
    cluster.client("b")
    cluster.experiment("one", runs=1)
    cluster.experiment("two", runs=1)
    cluster.fail(cluster.grant("r1"), SUSPECT)
    assert cluster.queue("a/0") == []
    assert why(cluster).code == "avoids"
    cluster.step(ClientDrainRequested(ClientName("b"), True))
    assert why(cluster).code == "training", "better there than nowhere"


def test_a_gang_says_what_it_needs() -> None:
    cluster = Cluster()
    cluster.client("a", 1)
    cluster.experiment("gang", runs=1, gpus_per_run=2)
    assert why(cluster).code == "no_client_for_gang"
    assert why_slot(cluster).code == "none_fits"
    cluster.client("b", 2)
    cluster.experiment("singles", runs=4)
    cluster.client("a", 1)
    assert why(cluster).code == "training"
    cluster.fail(cluster.grant("r1"), FATAL)
    cluster.op("r1", RunOp.RESUME)
    assert why(cluster).code == "gang"
    assert dict(why(cluster).details)["slots"] == "2"


def test_every_state_of_a_slot() -> None:
    cluster = Cluster()
    cluster.client("a")
    assert why_slot(cluster).code == "nothing_waits"
    cluster.experiment(runs=2)
    assert why_slot(cluster).text == "it trains run r1, steps 0 to 10, granted 0 s ago, then run r2"
    cluster.lose("a")
    assert why_slot(cluster).code == "client_lost"


def test_a_slot_that_is_kept_for_a_gang() -> None:
    cluster = Cluster()
    cluster.client("a", 2)
    cluster.experiment("singles", runs=1, rows=200)
    cluster.experiment("gang", runs=1, gpus_per_run=2, priority=8)
    free = "a/1" if cluster.queue("a/0") else "a/0"
    assert why_slot(cluster, free).code == "kept_for_gang"
    assert why(cluster, "r2").code == "gang"


def test_every_state_of_an_experiment() -> None:
    cluster = Cluster()
    cluster.submit(runs=2)
    assert why_experiment(cluster).code == "no_client"
    cluster.client("a")
    assert "client a checks" in why_experiment(cluster).text
    cluster.prepare("e1")
    assert why_experiment(cluster).text == "its runs are 2 running"
    cluster.finish_everything()
    assert why_experiment(cluster).code == "idle"
    cluster.experiment_op("e1", RunOp.DELETE)
    assert why_experiment(cluster).code == "deleted"
    cluster.submit("other")
    cluster.step(JobFinished(ClientName("a"), cluster.state.index.jobs.open_ids()[0], None, FATAL))
    assert why_experiment(cluster, "e2") == Explanation(
        "rejected", "it was rejected: client a: the loss is not a number", (("failure", "nan_loss"),)
    )


def test_an_experiment_waits_while_every_client_has_jobs_enough() -> None:
    cluster = Cluster()
    cluster.client("a")
    for number in range(PER_CLIENT_MAX + 1):
        cluster.submit(f"x{number}")
    assert why_experiment(cluster, f"e{PER_CLIENT_MAX}").code == "preparing"
    last = why_experiment(cluster, f"e{PER_CLIENT_MAX + 1}")
    assert (last.code, last.text.partition(": ")[2]) == ("clients_busy", f"every ready client has {PER_CLIENT_MAX} jobs")
    cluster.lose("a")
    assert why_experiment(cluster, "e1").code == "no_client"


def test_what_is_not_there_cannot_be_explained() -> None:
    cluster = Cluster()
    for ask in (why, why_slot, why_experiment):
        with pytest.raises(NotFoundError):
            ask(cluster)
