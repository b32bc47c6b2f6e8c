"""The copy of a trainer's state: equal, in order, and nobody else's memory."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gswarm.training import codec
from gswarm.training.codec import copies, save_tensors


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "a": torch.nn.Parameter(torch.randn(8, 3)),
        "step": torch.tensor(4.0),
        "turned": torch.randn(4, 5).t(),
        "alone of its kind": torch.tensor([3, 1], dtype=torch.int64),
        "empty": torch.empty(0, 2),
        "half": torch.randn(3, dtype=torch.bfloat16),
        "b": torch.randn(2, 2, 2),
    }


def test_copies_are_equal_in_order_and_independent() -> None:
    tensors = state()
    copied = copies(tensors)
    assert list(copied) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(copied[name], tensor)
        assert copied[name].shape == tensor.shape
        assert copied[name].dtype == tensor.dtype
        assert copied[name].is_contiguous()
        assert not copied[name].requires_grad
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.fill_(7)
    again = state()
    assert all(torch.equal(copied[name], again[name]) for name in again)


def test_files_have_the_bytes_that_safetensors_writes(tmp_path: Path) -> None:
    copied = copies(state())
    save_tensors(copied, tmp_path / "ours")
    save_file(copied, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert all(torch.equal(tensor, copied[name]) for name, tensor in load_file(tmp_path / "ours").items())


def test_what_leaves_a_gpu_by_one_transfer_is_what_was_there() -> None:
    """Here on the CPU; which tensors leave together is decided by their device."""
    tensors = [tensor.detach() for tensor in state().values() if tensor.dtype is torch.float32]
    for copied, tensor in zip(codec.together(tensors), tensors, strict=True):
        assert torch.equal(copied, tensor)
        assert copied.is_contiguous()
