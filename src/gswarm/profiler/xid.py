"""XID errors, the numbers by which NVIDIA's driver names what went wrong with a GPU."""

from __future__ import annotations

from collections.abc import Iterable

_OF_PROGRAMS = frozenset({13, 31, 43, 45, 68, 69})
"""Those that mostly come from a program and not from the device (NVIDIA, XID Errors, the table of causes)."""


def is_of_program(number: int) -> bool:
    return number in _OF_PROGRAMS


def telling(numbers: Iterable[int]) -> int:
    """Of those of one moment the first that is about the device: what comes behind it is mostly its consequence. Else the last."""
    heard = list(numbers)
    return next((number for number in heard if not is_of_program(number)), heard[-1])
