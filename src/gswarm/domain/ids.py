"""Typed identifiers. All are plain strings at run time; the types keep them from being mixed up."""

from __future__ import annotations

from typing import NewType

ExperimentId = NewType("ExperimentId", str)
"""``e1``, ``e2``, ... in order of submission."""
RunId = NewType("RunId", str)
"""``r1``, ``r2``, ... unique over all experiments of a host."""
ClientName = NewType("ClientName", str)
"""The name in the client's certificate."""
SlotId = NewType("SlotId", str)
"""``<client>/<index>``, for example ``gpu-node-1/0``."""
Digest = NewType("Digest", str)
"""64 lower-case hexadecimal digits: the BLAKE3 digest of the bytes it names."""
RequestId = NewType("RequestId", str)
"""Chosen by the caller; the same request id never takes effect twice."""
JobId = NewType("JobId", str)

HOST_HOLDER = "host"
"""How the host's own pool is named where holders of blobs are listed."""
