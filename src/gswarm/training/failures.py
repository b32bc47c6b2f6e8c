"""What went wrong in a trainer, as the typed ``Failure`` that travels to the host."""

from __future__ import annotations

import os
import re
import traceback

import torch

from gswarm.datapool.layout import storage_error
from gswarm.domain.errors import GswarmError, StorageError, TrainingError
from gswarm.domain.plan import Failure

LOG_TAIL_CHARS = 8000
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""In the errors of safetensors and tokenizers."""
_TORCH_FILES = "inline_container.cc"
"""Where ``torch.save`` fails."""


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite: more training only spoils the weights."""

    code = "nan_loss"


def failure_of(error: BaseException) -> Failure:
    """The failure for people and for the retry rule, with the end of the traceback."""
    tail = "".join(traceback.format_exception(error))[-LOG_TAIL_CHARS:]
    match error:
        case TrainingError():
            return Failure(error.code, str(error), machine_suspect=error.machine_suspect, log_tail=tail)
        case GswarmError():
            return Failure(error.code, str(error), machine_suspect=isinstance(error, StorageError), log_tail=tail)
        case _ if is_out_of_memory(error):
            return Failure("out_of_memory", f"out of memory: {_first_line(error)}", machine_suspect=True, log_tail=tail)
        case _ if is_device_fault(error):
            return Failure("training", f"the device failed: {_first_line(error)}", machine_suspect=True, log_tail=tail)
        case _ if (refusal := _os_refusal(error)) is not None:
            refused = storage_error(f"use {refusal.filename2 or refusal.filename or 'a file'}", refusal)
            return Failure(refused.code, str(refused), machine_suspect=True, log_tail=tail)
        case _:
            return Failure("training", f"{type(error).__name__}: {_first_line(error)}", log_tail=tail)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def is_machines_fault(error: BaseException) -> bool:
    """No file is to blame: memory is full, or the operating system refused. Libraries raise ``OSError`` without a number for bad files."""
    return is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None)


def is_device_fault(error: BaseException) -> bool:
    """After a CUDA fault every later call of the process fails too: it must end."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and "CUDA error" in str(error)


def _os_refusal(error: BaseException) -> OSError | None:
    """What the operating system refused (a full disk above all), also where a library says so in words of its own."""
    if isinstance(error, OSError):
        return error
    number = _RUST_OS_ERROR.search(str(error))
    if number is not None:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return OSError(_first_line(error)) if _TORCH_FILES in str(error) else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
