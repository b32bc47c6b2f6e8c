"""A checkpoint: everything needed to continue a run exactly, as safetensors and JSON only.

The folder holds ``weights.safetensors`` (trainable weights by parameter name), ``optimizer.safetensors`` (``<moment>/<parameter name>``),
``rng.safetensors`` and ``state.json``. ``write_hf_folder`` turns it into what ``Trainer.train(resume_from_checkpoint=...)`` reads;
the ``.pt`` files in there are written and read by one and the same process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, TensorSpec, serialize_file
from safetensors.torch import load_file, save_file
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from transformers import TrainerState

from gswarm.datapool.layout import open_regular
from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.training.build import trainable
from gswarm.training.headers import check_safetensors
from gswarm.training.rng import RngState

LAYOUT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
RNG_FILE = "rng.safetensors"
STATE_FILE = "state.json"
HF_RNG_FILE = "rng_state.pth"
STATE_BYTES_MAX = 64 * 1024 * 1024
SMALL_BYTES = 1024 * 1024
"""Tensors up to this size are copied together; larger ones would need their memory twice on the device."""


@dataclass(frozen=True, slots=True)
class RunningMetrics:
    """What a run has counted so far; transformers' own averages do not survive a resume."""

    tokens: int = 0
    """Tokens in training batches since step 0."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory; its tensors are copies on the CPU that nobody writes to."""

    step: int
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    rng: RngState
    groups: list[dict[str, Any]]
    """The optimizer's parameter groups, with parameter names for ``params``."""
    scheduler: dict[str, Any]
    scaler: dict[str, Any] | None
    trainer_state: dict[str, Any]
    metrics: RunningMetrics

    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.weights.values(), *self.optimizer.values()))


class _State(BaseModel):
    """``state.json``: what is read must have these types, not only something like them."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    layout: int
    step: Annotated[int, Field(ge=0)]
    groups: list[dict[str, Any]]
    scheduler: dict[str, Any]
    scaler: dict[str, Any] | None
    rng: dict[str, Any]
    trainer_state: dict[str, Any]
    metrics: dict[str, Annotated[int, Field(ge=0)]]


_TRAINER_STATE_KEYS = frozenset(field.name for field in fields(TrainerState))


def capture(trainer: Any, parameters: Mapping[str, torch.Tensor], rng: RngState, metrics: RunningMetrics) -> Checkpoint:
    """Copies the state of a trainer that stands between two steps. Nothing of it is changed.

    Args:
        parameters: ``trainable(trainer.model)``; walking the module tree costs more than the copy, so the caller does it once.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    optimizer = trainer.optimizer.optimizer  # accelerate's wrapper holds the real one
    moments: dict[str, torch.Tensor] = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            moments[f"{key}/{names[id(parameter)]}"] = torch.as_tensor(value)
    groups = [{**group, "params": [names[id(parameter)] for parameter in group["params"]]} for group in optimizer.param_groups]
    scaler = trainer.accelerator.scaler
    return Checkpoint(
        step=trainer.state.global_step,
        weights=copies(parameters),
        optimizer=copies(moments),
        rng=rng,
        groups=groups,
        scheduler=trainer.lr_scheduler.state_dict(),
        scaler=scaler.state_dict() if scaler is not None else None,
        trainer_state=asdict(trainer.state) | {"log_history": [], "stateful_callbacks": {}},
        metrics=metrics,
    )


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the checkpoint's files into an existing folder. Equal checkpoints give equal bytes."""
    save_tensors(checkpoint.weights, folder / WEIGHTS_FILE)
    save_tensors(checkpoint.optimizer, folder / OPTIMIZER_FILE)
    save_tensors(checkpoint.rng.to_tensors(), folder / RNG_FILE)
    state = {
        "layout": LAYOUT_VERSION,
        "step": checkpoint.step,
        "groups": checkpoint.groups,
        "scheduler": checkpoint.scheduler,
        "scaler": checkpoint.scaler,
        "rng": checkpoint.rng.to_json(),
        "trainer_state": checkpoint.trainer_state,
        "metrics": asdict(checkpoint.metrics),
    }
    (folder / STATE_FILE).write_text(json.dumps(state, sort_keys=True) + "\n")


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """The same bytes as ``safetensors.torch.save_file``, without its search for shared tensors: a snapshot is written beside training.

    Args:
        tensors: contiguous, on the CPU.
    """
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."), shape=list(tensor.shape), data_ptr=tensor.data_ptr(), data_len=tensor.nbytes
        )
        for name, tensor in tensors.items()
    }
    serialize_file(specs, path)


def read(folder: Path) -> Checkpoint:
    """Raises CorruptDataError when a file is missing or is not what its name says."""
    try:
        state = _read_state(folder / STATE_FILE)
        return Checkpoint(
            step=state.step,
            weights=load_tensors(folder / WEIGHTS_FILE),
            optimizer=load_tensors(folder / OPTIMIZER_FILE),
            rng=RngState.from_parts(load_tensors(folder / RNG_FILE), state.rng),
            groups=[_group(group) for group in state.groups],
            scheduler=state.scheduler,
            scaler=state.scaler,
            trainer_state=state.trainer_state,
            metrics=RunningMetrics(**state.metrics),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InvalidInputError, SafetensorError) as error:
        raise CorruptDataError(f"{folder} is no whole checkpoint: {error!r}") from error


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Raises CorruptDataError, SafetensorError."""
    check_safetensors(path)
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def _read_state(path: Path) -> _State:
    with open_regular(path) as file:
        data = file.read(STATE_BYTES_MAX + 1)
    if len(data) > STATE_BYTES_MAX:
        raise ValueError(f"{STATE_FILE} has more than {STATE_BYTES_MAX} bytes")
    document = json.loads(data, parse_constant=_no_number)
    layout = document.get("layout") if isinstance(document, dict) else None
    if layout != LAYOUT_VERSION:
        raise CorruptDataError(f"the checkpoint has layout {str(layout)[:40]}, this version reads {LAYOUT_VERSION}", "update gswarm")
    state = _State.model_validate(document)
    if unknown := sorted(state.trainer_state.keys() - _TRAINER_STATE_KEYS):
        raise ValueError(f"the trainer's state has the unknown key {unknown[0][:80]}")
    return state


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number that a state can have")


def _group(group: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's parameter group. Raises TypeError and ValueError when it is none."""
    first, second = group["betas"]
    if not all(isinstance(name, str) for name in group["params"]):
        raise TypeError("a parameter's name must be text")
    return {**group, "betas": (float(first), float(second))}


def check_fits(checkpoint: Checkpoint, trainer: Any) -> None:
    """Raises InvalidInputError unless the checkpoint has exactly the trainer's weights, by name, type and shape."""
    _check_same("weight", checkpoint.weights, trainable(trainer.model))
    grouped = [name for group in checkpoint.groups for name in group["params"]]
    if sorted(grouped) != sorted(checkpoint.weights):
        raise CorruptDataError("the checkpoint's optimizer groups name other parameters than its weights")
    for key, moment in checkpoint.optimizer.items():
        weight = checkpoint.weights.get(key.partition("/")[2])
        if weight is None or (moment.dim() and moment.shape != weight.shape):
            raise CorruptDataError(f"the checkpoint's optimizer state {key} fits no weight")


def _check_same(kind: str, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    odd = sorted(found.keys() ^ expected.keys())
    if odd:
        raise InvalidInputError(
            f"the checkpoint and the run differ in {len(odd)} {kind}s, first {odd[0]}", "it is another run's checkpoint"
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            wanted = f"{expected[name].dtype} {tuple(expected[name].shape)}"
            raise InvalidInputError(f"{kind} {name} of the checkpoint is {tensor.dtype} {tuple(tensor.shape)}, not {wanted}")


def write_hf_folder(checkpoint: Checkpoint, trainer: Any, folder: Path) -> None:
    """Writes the folder that ``trainer.train(resume_from_checkpoint=folder)`` continues from.

    Raises:
        InvalidInputError, CorruptDataError: the checkpoint is not this trainer's; nothing is written.
    """
    check_fits(checkpoint, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(trainer.model, PeftModel):
        adapter = get_peft_model_state_dict(trainer.model, state_dict=dict(checkpoint.weights), save_embedding_layers=False)
        save_file(adapter, folder / "adapter_model.safetensors")
        trainer.model.peft_config["default"].save_pretrained(folder)
    else:
        save_file(checkpoint.weights, folder / "model.safetensors")
    torch.save(_optimizer_state(checkpoint), folder / "optimizer.pt")
    torch.save(checkpoint.scheduler, folder / "scheduler.pt")
    if checkpoint.scaler is not None:
        torch.save(checkpoint.scaler, folder / "scaler.pt")
    torch.save(_rng_state(checkpoint.rng), folder / HF_RNG_FILE)
    (folder / "trainer_state.json").write_text(json.dumps(checkpoint.trainer_state))


def _optimizer_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """As ``torch.optim.Optimizer.state_dict``: parameters are numbered through the groups."""
    numbers: dict[str, int] = {}
    groups = []
    for group in checkpoint.groups:
        numbers.update({name: len(numbers) + place for place, name in enumerate(group["params"])})
        groups.append({**group, "params": [numbers[name] for name in group["params"]]})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, moment in checkpoint.optimizer.items():
        kind, _, name = key.partition("/")
        state.setdefault(numbers[name], {})[kind] = moment
    return {"state": state, "param_groups": groups}


def _rng_state(rng: RngState) -> dict[str, Any]:
    """As ``Trainer._save_rng_state``. A checkpoint from a CPU has no CUDA state: the seeded one stays."""
    state = {"python": rng.python, "numpy": rng.numpy, "cpu": rng.torch_cpu}
    if torch.cuda.is_available():
        state["cuda"] = rng.cuda if rng.cuda is not None else torch.cuda.get_rng_state()
    return state


def copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies on the CPU. Small tensors of one kind leave a GPU as one: an adapter has a thousand, and each transfer has its price."""
    kinds: dict[tuple[torch.dtype, torch.device], list[str]] = {}
    copied: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor.is_cpu:
                copied[name] = tensor.clone(memory_format=torch.contiguous_format)
            elif tensor.nbytes > SMALL_BYTES:
                copied[name] = tensor.cpu().contiguous()
            else:
                kinds.setdefault((tensor.dtype, tensor.device), []).append(name)
        for names in kinds.values():
            copied.update(zip(names, together([tensors[name] for name in names]), strict=True))
    return {name: copied[name] for name in tensors}


def together(tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Copies on the CPU of tensors of one type on one GPU, by a single transfer."""
    copied: Sequence[torch.Tensor] = _unflatten_dense_tensors(_flatten_dense_tensors(tensors).cpu(), tensors)
    return copied
