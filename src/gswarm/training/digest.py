"""The digest of trainable weights: equal names, types, shapes and bytes give equal digests, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from gswarm.domain.ids import Digest


def weights_digest(tensors: Mapping[str, Any]) -> Digest:
    """BLAKE3 over (name, dtype, shape, bytes) of each tensor in the order of the names.

    Args:
        tensors: torch tensors by parameter name, on any device.
    """
    import torch

    hasher = blake3()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        header = json.dumps([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        hasher.update(len(header).to_bytes(8, "little"))
        hasher.update(header.encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return Digest(hasher.hexdigest())
