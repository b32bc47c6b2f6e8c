"""Stops, resumes, moves between processes, warm starts, failures and freed memory, over real messages."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import TIMEOUT_S, Case, InProcess, Spawned, closing, trainer_env

from gswarm.domain.ids import RunId
from gswarm.training.protocol import (
    AbortRange,
    DropRun,
    RangeDropped,
    RangeFailed,
    RangeStarted,
    RangeTrained,
    StepDone,
    StopRange,
)

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def case(new_case: Callable[..., Case]) -> Case:
    """14 steps, 7 an epoch, one row and one batch left over at each epoch's end."""
    return new_case(lora_dropout=0.1, gradient_accumulation_steps=3, lr_scheduler_type="cosine", warmup_ratio=0.2, weight_decay=0.1)


@pytest.fixture(scope="module")
def long_case(new_case: Callable[..., Case]) -> Case:
    """Long enough that a command sent after a step arrives before the range's end."""
    return new_case(lora_dropout=0.1, gradient_accumulation_steps=3, max_steps=400)


@pytest.fixture(scope="module")
def plain_digest(case: Case) -> str:
    return plain(case)


def plain(case: Case, **more: object) -> str:
    from gswarm.training.build import Workshop
    from gswarm.training.digest import weights_digest
    from gswarm.training.plain import train_plain

    weights = train_plain(
        Workshop("cpu"),
        case.spec,
        base_dir=case.base_dir,
        data_dir=case.data_dir,
        total_steps=case.total_steps,
        steps_per_epoch=case.steps_per_epoch,
        **more,  # type: ignore[arg-type]
    )
    return weights_digest(weights)


@pytest.mark.parametrize("cut", [1, 5, 7, 8, 13], ids=lambda cut: f"at step {cut}")
def test_a_run_moved_between_processes_is_plain_training(
    cut: int, case: Case, plain_digest: str, here: InProcess, there: Spawned, tmp_path: Path
) -> None:
    """Cut inside an epoch, at its end, after its first step: the other process continues from the snapshot's files alone."""
    run = f"moved-{cut}"
    there.send(case.range(run, 1, 0, cut, tmp_path / "first"))
    first = there.trained(run, 1)
    here.send(case.range(run, 2, cut, case.total_steps, tmp_path / "second", checkpoint_dir=first.snapshot_dir))
    assert here.trained(run, 2).weights_digest == plain_digest


def test_stopped_at_a_step_and_resumed_elsewhere_is_plain_training(
    here: InProcess, there: Spawned, long_case: Case, tmp_path: Path
) -> None:
    there.send(long_case.range("stopped", 1, 0, 400, tmp_path / "first"))
    there.wait(StepDone, lambda event: event.run == "stopped")
    there.send(StopRange(RunId("stopped"), 1))
    stopped = there.trained("stopped", 1)
    assert 1 <= stopped.reached_step < 400
    there.send(StopRange(RunId("stopped"), 1))  # it is over: nothing may happen
    there.send(DropRun(RunId("stopped")))
    end = stopped.reached_step + 5
    here.send(long_case.range("stopped", 2, stopped.reached_step, end, tmp_path / "second", checkpoint_dir=stopped.snapshot_dir))
    assert here.trained("stopped", 2).weights_digest == plain(long_case, until_step=end)


def test_a_hot_run_asked_for_another_step_is_rebuilt_from_the_checkpoint(
    case: Case, plain_digest: str, here: InProcess, tmp_path: Path
) -> None:
    here.send(case.range("back", 1, 0, 4, tmp_path / "first"))
    first = here.trained("back", 1)
    here.send(case.range("back", 2, 4, 9, tmp_path / "second"))
    assert here.wait(RangeStarted, lambda event: event.generation == 2 and event.run == "back").was_hot
    here.trained("back", 2)
    here.send(case.range("back", 3, 4, case.total_steps, tmp_path / "third", checkpoint_dir=first.snapshot_dir))
    assert not here.wait(RangeStarted, lambda event: event.generation == 3 and event.run == "back").was_hot
    assert here.trained("back", 3).weights_digest == plain_digest


def test_a_range_that_waits_is_given_back_when_stopped_and_forgotten_when_aborted(there: Spawned, long_case: Case, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        there.send(long_case.range(name, 1, 0, 400, tmp_path / name))
    there.send(StopRange(RunId("two"), 1))
    assert there.wait(RangeDropped) == RangeDropped(RunId("two"), 1)
    there.send(AbortRange(RunId("three"), 1))
    there.wait(StepDone, lambda event: event.run == "one")
    there.send(AbortRange(RunId("one"), 1))
    there.send(long_case.range("four", 1, 0, 1, tmp_path / "four"))
    there.trained("four", 1)
    named = {(type(event).__name__, event.run) for event in there.seen if isinstance(event, RangeStarted | RangeTrained | RangeDropped)}
    assert ("RangeTrained", "one") not in named
    assert not any(run == "three" or (kind == "RangeStarted" and run == "two") for kind, run in named)


def test_a_nan_loss_ends_its_run_only(case: Case, new_case: Callable[..., Case], there: Spawned, tmp_path: Path) -> None:
    wild = new_case(learning_rate=1e30, max_grad_norm=0.0, max_steps=20)
    there.send(case.range("tame", 1, 0, 3, tmp_path / "tame"))
    there.send(wild.range("wild", 1, 0, 20, tmp_path / "wild"))
    there.send(case.range("tame", 2, 3, 5, tmp_path / "tame2"))
    failed = there.wait(RangeFailed)
    assert (failed.run, failed.failure.code, failed.failure.machine_suspect) == ("wild", "nan_loss", False)
    there.trained("tame", 2)


def test_what_a_trainer_raises_is_a_typed_failure_with_its_traceback(case: Case, there: Spawned, tmp_path: Path) -> None:
    there.send(case.range("lost", 1, 0, 2, tmp_path, base_dir=str(tmp_path / "nothing"), base_digest="x"))
    failed = there.wait(RangeFailed)
    assert failed.failure.code == "corrupt_data"
    assert "Traceback" in failed.failure.log_tail
    there.send(case.range("lost", 2, 3, 5, tmp_path))
    assert there.wait(RangeFailed).failure.code == "conflict"


def test_a_damaged_checkpoint_is_refused(case: Case, here: InProcess, tmp_path: Path) -> None:
    here.send(case.range("damaged", 1, 0, 2, tmp_path / "good"))
    good = Path(here.trained("damaged", 1).snapshot_dir)
    here.send(DropRun(RunId("damaged")))
    for number, (name, spoil) in enumerate({"weights.safetensors": b"\xff" * 64, "state.json": b"{}"}.items(), start=2):
        kept = (good / name).read_bytes()
        (good / name).write_bytes(spoil)
        here.send(case.range("damaged", number, 2, 4, tmp_path / "never", checkpoint_dir=str(good)))
        assert here.wait(RangeFailed).failure.code == "corrupt_data"
        (good / name).write_bytes(kept)


def test_a_resume_whose_random_state_vanished_fails_instead_of_going_on(
    case: Case, here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gswarm.training import codec

    here.send(case.range("robbed", 1, 0, 2, tmp_path / "good"))
    good = here.trained("robbed", 1).snapshot_dir
    here.send(DropRun(RunId("robbed")))
    write = codec.write_hf_folder

    def robbed(checkpoint: codec.Checkpoint, trainer: object, folder: Path) -> None:
        write(checkpoint, trainer, folder)
        (folder / codec.HF_RNG_FILE).unlink()

    monkeypatch.setattr(codec, "write_hf_folder", robbed)
    here.send(case.range("robbed", 2, 2, 4, tmp_path / "never", checkpoint_dir=good))
    assert here.wait(RangeFailed).failure.code == "storage"


def test_another_runs_checkpoint_is_refused(case: Case, new_case: Callable[..., Case], here: InProcess, tmp_path: Path) -> None:
    other = new_case(lora_rank=2)
    here.send(other.range("other", 1, 0, 2, tmp_path / "other"))
    checkpoint = here.trained("other", 1).snapshot_dir
    here.send(case.range("mixed-up", 1, 2, 4, tmp_path / "never", checkpoint_dir=checkpoint))
    assert here.wait(RangeFailed).failure.code == "invalid_input"


def test_dropped_and_finished_runs_leave_nothing_behind(case: Case, here: InProcess, tmp_path: Path) -> None:
    import gc

    from trl import SFTTrainer

    from gswarm.training.codec import Checkpoint

    for event in [event for event in here.seen if isinstance(event, RangeStarted)]:
        here.send(DropRun(event.run))
    for name in ("kept", "dropped"):
        here.send(case.range(name, 1, 0, 2, tmp_path / name))
    here.send(case.range("finished", 1, 0, case.total_steps, tmp_path / "finished"))
    here.trained("finished", 1)
    here.send(DropRun(RunId("dropped")))
    here.send(case.range("kept", 2, 2, 3, tmp_path / "kept2"))
    here.trained("kept", 2)
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) is SFTTrainer]
    assert len(alive) == 1
    assert not [thing for thing in gc.get_objects() if type(thing) is Checkpoint]


def test_a_warm_clone_trains_at_its_own_rate_from_the_parents_weights(
    case: Case, new_case: Callable[..., Case], here: InProcess, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    here.send(case.range("parent", 1, 0, 6, tmp_path / "parent"))
    parent = here.trained("parent", 1)
    clone = new_case(lora_dropout=0.1, gradient_accumulation_steps=3, learning_rate=5e-4, lr_scheduler_type="linear", num_train_epochs=3.0)
    start = {"checkpoint_dir": parent.snapshot_dir, "warm_start": True, "first_step": 6}
    here.send(clone.range("clone", 1, 6, 7, tmp_path / "clone", **start))
    step = here.wait(StepDone, lambda event: event.run == "clone")
    assert dict(step.values)["learning_rate"] == pytest.approx(5e-4 * (1 - 6 / clone.total_steps))
    trained = here.trained("clone", 1)
    before = load_file(Path(parent.snapshot_dir) / "weights.safetensors")
    after = load_file(Path(trained.snapshot_dir) / "weights.safetensors")
    # One Adam step moves no weight by much more than the rate; a fresh LoRA would be far away.
    assert 0 < max(float((after[name] - before[name]).abs().max()) for name in before) < 4 * 5e-4
    here.send(clone.range("clone", 2, 7, clone.total_steps, tmp_path / "end"))
    assert here.trained("clone", 2).weights_digest == plain(clone, checkpoint_dir=Path(parent.snapshot_dir), warm_start=True, first_step=6)


def test_a_warm_clone_with_nothing_of_the_parent_is_refused(
    case: Case, new_case: Callable[..., Case], here: InProcess, tmp_path: Path
) -> None:
    here.send(case.range("donor", 1, 0, 2, tmp_path / "donor"))
    donor = here.trained("donor", 1)
    clone = new_case(lora_rank=3)
    here.send(clone.range("misfit", 1, 2, 3, tmp_path / "never", checkpoint_dir=donor.snapshot_dir, warm_start=True, first_step=2))
    failed = here.wait(RangeFailed)
    assert failed.failure.code == "invalid_input"
    assert "lora_rank" in failed.failure.message


def test_sigterm_snapshots_what_trains_gives_back_what_waits_and_ends(long_case: Case, here: InProcess, tmp_path: Path) -> None:
    with closing(Spawned()) as trainer:
        trainer.send(long_case.range("busy", 1, 0, 400, tmp_path / "busy"))
        trainer.send(long_case.range("waiting", 1, 0, 400, tmp_path / "waiting"))
        trainer.wait(StepDone)
        trainer.process.send_signal(signal.SIGTERM)
        rest = trainer.until_end()
        assert RangeDropped(RunId("waiting"), 1) in rest
        (report,) = [event for event in rest if isinstance(event, RangeTrained)]
        assert trainer.process.wait(TIMEOUT_S) == 0
    end = report.reached_step + 2
    here.send(long_case.range("busy", 2, report.reached_step, end, tmp_path / "on", checkpoint_dir=report.snapshot_dir))
    assert here.trained("busy", 2).weights_digest == plain(long_case, until_step=end)


def test_the_process_ends_when_the_client_hangs_up(long_case: Case, tmp_path: Path) -> None:
    with closing(Spawned()) as trainer:
        trainer.send(long_case.range("busy", 1, 0, 400, tmp_path / "busy"))
        trainer.wait(StepDone)
        trainer.hang_up()
        assert trainer.process.wait(TIMEOUT_S) != 0


PARENT = """
import socket, subprocess, sys, time
ours, theirs = socket.socketpair()
command = [sys.executable, "-m", "gswarm.training.process", "--fd", str(theirs.fileno())]
child = subprocess.Popen(command, pass_fds=[theirs.fileno(), ours.fileno()])
ours.makefile("rb").readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_no_orphan_outlives_a_killed_client() -> None:
    """The child even inherited the client's end of the socket, so that it never sees it close."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=trainer_env(), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)
    parent.kill()
    parent.wait(TIMEOUT_S)
    assert select.select([watch], [], [], TIMEOUT_S)[0], "the trainer process lives on"
    os.close(watch)
    parent.stdout.close()
