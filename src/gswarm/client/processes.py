"""What trainer and job processes have in common: their environment, and how their end reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gswarm.domain.plan import SlotSpec


def slot_environment(
    slot: SlotSpec, environment: Mapping[str, str], *, is_offline: bool = True, scratch: Path | None = None
) -> dict[str, str]:
    """The environment of a process on ``slot``: its threads, its device and, unless the caller's says otherwise, no model hub.

    Args:
        scratch: where its temporary files go, so that they can be removed when it was killed.
    """
    threads = str(slot.threads)
    child = {**environment, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    child["CUDA_VISIBLE_DEVICES"] = visible_device(slot.device, environment.get("CUDA_VISIBLE_DEVICES"))
    if is_offline:
        child.setdefault("HF_HUB_OFFLINE", "1")
    child.setdefault("TOKENIZERS_PARALLELISM", "false")
    if scratch is not None:
        child["TMPDIR"] = str(scratch)
    return child


def visible_device(device: str, visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES must say for ``device``, which counts within what this process itself may see."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ""
    names = [name.strip() for name in visible.split(",")] if visible else []
    return names[int(index)] if int(index or 0) < len(names) else index


def how_it_ended(what: str, code: int) -> str:
    """A sentence about an exit code, negative for a signal."""
    if code >= 0:
        return f"the {what} ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
    return f"the {what} was ended by {name}{hint}"


def kill_group(leader_pid: int) -> None:
    """Ends a process that leads its own group, and everything it started. A group's number stays taken while a member lives."""
    with suppress(ProcessLookupError):
        os.killpg(leader_pid, signal.SIGKILL)
