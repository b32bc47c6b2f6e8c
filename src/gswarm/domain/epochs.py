"""Epochs: what keeps the fencing numbers of a plan growing when a backup takes the plan itself back.

An epoch begins at each restore. Generations and the numbers of jobs carry theirs in the high bits, so no number that a host gave out
before the restore is ever given out again, and a client sees from a generation alone that the plan is another one now.
"""

from __future__ import annotations

COUNT_BITS = 21
"""Below the epoch, which is a time in seconds: together they stay under 2^53, where JSON readers keep whole numbers exact."""


def first_number(epoch: int) -> int:
    """The number before the first one of an epoch. A plan that was never restored is in epoch 0."""
    return epoch << COUNT_BITS


def epoch_of(number: int) -> int:
    """The epoch that a generation, or the number in a job's id, belongs to."""
    return number >> COUNT_BITS
