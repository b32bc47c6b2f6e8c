"""What a person reads when a trainer fails."""

from __future__ import annotations

import errno
import os

import pytest
from safetensors import SafetensorError

from gswarm.domain.errors import InvalidInputError, StorageError, TrainingError
from gswarm.training.failures import NonFiniteLossError, failure_of


def test_a_full_disk_is_the_machines_fault_and_says_what_to_do() -> None:
    failure = failure_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/from/a", None, "/to/b"))
    assert (failure.code, failure.machine_suspect) == ("storage", True)
    assert failure.message == "cannot use /to/b: No space left on device; free some space, or use another data directory"
    assert failure_of(OSError("odd")).message == "cannot use a file: odd; check the path and the disk"


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        StorageError("cannot write a blob: No space left on device"),
    ],
)
def test_a_full_disk_in_the_words_of_a_library(error: Exception) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.machine_suspect) == ("storage", True)


def test_the_runs_own_failures_are_not_tried_elsewhere() -> None:
    for error, code in (
        (NonFiniteLossError("the loss is nan at step 3"), "nan_loss"),
        (InvalidInputError("no"), "invalid_input"),
        (ValueError("first\nsecond"), "training"),
    ):
        failure = failure_of(error)
        assert (failure.code, failure.machine_suspect) == (code, False)
        assert "\n" not in failure.message
    assert failure_of(TrainingError("hung", machine_suspect=True)).machine_suspect
    assert failure_of(MemoryError()).code == "out_of_memory"
