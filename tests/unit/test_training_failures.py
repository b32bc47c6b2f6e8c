"""What a person reads when a trainer fails."""

from __future__ import annotations

import errno
import os

from gswarm.domain.errors import InvalidInputError, TrainingError
from gswarm.training.failures import NonFiniteLossError, failure_of


def test_a_full_disk_is_the_machines_fault_and_says_what_to_do() -> None:
    failure = failure_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/from/a", None, "/to/b"))
    assert (failure.code, failure.machine_suspect) == ("storage", True)
    assert failure.message == "cannot use /to/b: No space left on device; free some space, or use another data directory"
    assert failure_of(OSError("odd")).message == "cannot use a file: odd; check the path and the disk"


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
