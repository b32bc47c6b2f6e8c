"""How a trainer process holds memory: what a step frees is kept for the next step, and what a run held is given back when it goes."""

from __future__ import annotations

import ctypes
import gc

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 1 << 30
"""Tensors up to this size come from memory that is kept, and so much of it stays while nothing uses it."""

_libc = ctypes.CDLL(None)


def keep_freed_memory() -> bool:
    """From now on activations are not given back to the kernel after each step, to be faulted in again, page by page, in the next one.

    ``mallopt(3)``. Returns False where the C library has no such settings, or takes no such size: it goes on as before.
    """
    try:
        # The size comes first: a trim threshold alone would end glibc's own adaptation of the size, which is better than nothing.
        return bool(_libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and _libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
    except AttributeError:  # not glibc
        return False


def release_memory() -> None:
    """Gives back what dropped trainers held: they are full of reference cycles, and allocators keep freed pages."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        _libc.malloc_trim(0)
    except AttributeError:  # not glibc
        return
