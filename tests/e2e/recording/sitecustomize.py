"""Writes down what a client's sampler process says and what the client's spool holds. Python imports this at its start wherever this
folder is on PYTHONPATH; the product knows nothing of it.

``$RECORDED/sampled-PID`` and ``$RECORDED/spooled-PID``, by the client's process id: JSON lines of device, owner, metrics, times and values.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def record(name: str, client_pid: int, columns: Iterable[Any]) -> None:
    """By one call, so that a kill leaves whole lines."""
    lines = [
        json.dumps([one.device, one.owner, one.metrics, *(base64.b64encode(part).decode() for part in (one.times_us, one.values))]) + "\n"
        for one in columns
    ]
    with (Path(os.environ["RECORDED"]) / f"{name}-{client_pid}").open("ab", buffering=0) as file:
        file.write("".join(lines).encode())


def in_sampler() -> None:
    from gswarm.profiler.sensors import sampler_lines

    encode = sampler_lines.encode_line

    def recorded(line: sampler_lines.SamplerLine) -> bytes:
        record("sampled", os.getppid(), line.columns)
        return encode(line)

    sampler_lines.encode_line = recorded


def in_client() -> None:
    from gswarm.client.sampling.spool import Spools

    append = Spools.append

    def recorded(self: Spools, batch: Any) -> None:
        append(self, batch)
        record("spooled", os.getpid(), batch.columns)

    Spools.append = recorded  # type: ignore[method-assign]


if "gswarm.profiler.sensors.sampler" in sys.orig_argv:
    in_sampler()
elif sys.orig_argv[1:5] == ["-m", "gswarm", "client", "connect"]:
    in_client()
