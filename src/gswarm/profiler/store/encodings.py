"""How a column of measured values is written in the fewest bytes and read back exactly.

Sensors count in steps: whole percents, milliwatts, KiB. Few different values go into a dictionary; whole numbers of some step are written
as integers, whose differences are small; the rest, real floating-point noise, is split by byte so that zstd finds the exponents alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gswarm.profiler.store.sample_store import Values

SCALES = (1.0, 100.0, 1_000.0, 10_000.0, 1_000_000.0)
DICTIONARY_MAX = 512
_LOOK_AT = 4096
_EXACT_MAX = 2.0**52


class Way(StrEnum):
    DICTIONARY = "dictionary"
    INTEGERS = "integers"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Encoding:
    """``value = integer * step / scale`` where the way is INTEGERS."""

    way: Way
    scale: float = 1.0
    step: int = 1

    def to_arrow(self, values: Values) -> pa.Array:
        """NaN becomes null."""
        if self.way is not Way.INTEGERS:
            return pa.array(values, pa.float64(), from_pandas=True)
        missing = np.isnan(values)
        whole = np.rint(np.where(missing, 0.0, values) * self.scale).astype(np.int64) // self.step
        return pa.array(whole, pa.int64(), mask=missing)

    def to_values(self, column: Any) -> Values:
        """From a chunked array of what ``to_arrow`` gave."""
        values: NDArray[np.float64] = column.to_numpy().astype(np.float64, copy=False)
        return values * self.step / self.scale if self.way is Way.INTEGERS else values


def choose(values: Values) -> Encoding:
    """The way for these values. INTEGERS only where every value comes back bit for bit."""
    finite = values[~np.isnan(values)]
    looked_at = finite[:: max(1, len(finite) // _LOOK_AT)]
    if len(np.unique(looked_at)) <= min(DICTIONARY_MAX, max(1, len(looked_at) // 4)):
        return Encoding(Way.DICTIONARY)
    for scale in SCALES:
        if not _is_exact(looked_at, scale, 1) or not _is_exact(finite, scale, 1):
            continue
        step = int(np.gcd.reduce(np.rint(finite * scale).astype(np.int64))) or 1
        if _is_exact(finite, scale, step):
            return Encoding(Way.INTEGERS, scale, step)
    return Encoding(Way.BYTES)


def _is_exact(values: Values, scale: float, step: int) -> bool:
    with np.errstate(over="ignore"):
        scaled = np.rint(values * scale)
    if np.abs(scaled).max(initial=0.0) > _EXACT_MAX:
        return False
    again = (scaled // step) * step / scale
    # Minus zero is another number than zero.
    return bool((again == values).all() and (np.signbit(again) == np.signbit(values)).all())
