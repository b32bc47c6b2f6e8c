"""The random state that training draws from: Python's, NumPy's, torch's and the device's.

It is one for the whole process, so every run has its own copy while it is paused.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gswarm.domain.errors import CorruptDataError


@dataclass(frozen=True, slots=True)
class RngState:
    """A copy of all random states of the process. ``cuda`` is the current device's, if there is one."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...]
    torch_cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def capture(cls) -> RngState:
        return cls(
            python=random.getstate(),
            numpy=np.random.get_state(),  # type: ignore[arg-type]
            torch_cpu=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        )

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch_cpu)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        tensors = {
            "python": torch.tensor(self.python[1], dtype=torch.int64),
            "numpy": torch.tensor(self.numpy[1].astype(np.int64)),
            "torch_cpu": self.torch_cpu,
        }
        return tensors if self.cuda is None else tensors | {"cuda": self.cuda}

    def to_json(self) -> dict[str, Any]:
        """The small parts that are no tensors."""
        return {
            "python": {"version": self.python[0], "gauss_next": self.python[2]},
            "numpy": {
                "algorithm": self.numpy[0],
                "position": int(self.numpy[2]),
                "has_gauss": int(self.numpy[3]),
                "cached_gaussian": float(self.numpy[4]),
            },
        }

    @classmethod
    def from_parts(cls, tensors: dict[str, torch.Tensor], small: dict[str, Any]) -> RngState:
        """Raises CorruptDataError when a part is missing or of another form."""
        try:
            python, numpy = small["python"], small["numpy"]
            _check_form(tensors, python, numpy)
            return cls(
                python=(python["version"], tuple(tensors["python"].tolist()), python["gauss_next"]),
                numpy=(
                    numpy["algorithm"],
                    tensors["numpy"].numpy().astype(np.uint32),
                    numpy["position"],
                    numpy["has_gauss"],
                    numpy["cached_gaussian"],
                ),
                torch_cpu=tensors["torch_cpu"],
                cuda=tensors.get("cuda"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptDataError(f"the checkpoint's random state is incomplete: {error}") from error


def _check_form(tensors: dict[str, torch.Tensor], python: dict[str, Any], numpy: dict[str, Any]) -> None:
    """What ``restore`` would choke on, in the middle of the work. Raises ValueError."""
    words = {"python": 625, "numpy": 624}
    for name, count in words.items():
        tensor = tensors[name]
        if tensor.dtype != torch.int64 or tensor.shape != (count,) or int(tensor.min()) < 0 or int(tensor.max()) >= 1 << 32:
            raise ValueError(f"{name} is no state of {count} words")
    if tensors["torch_cpu"].dtype != torch.uint8 or tensors["torch_cpu"].shape != torch.get_rng_state().shape:
        raise ValueError("torch_cpu is no state of torch's generator")
    numbers = (python["version"], numpy["position"], numpy["has_gauss"])
    if not all(type(number) is int for number in numbers) or not 0 <= numpy["position"] <= 624 or numpy["algorithm"] != "MT19937":
        raise ValueError("the small parts are of another form")
    if python["version"] != 3 or int(tensors["python"][-1]) > 624 or not isinstance(numpy["cached_gaussian"], int | float):
        raise ValueError("the small parts are of another form")
