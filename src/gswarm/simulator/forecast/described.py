"""A cluster that need not exist, and what an experiment costs on it: the inputs of a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gswarm.domain import steps
from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.spec import ExperimentSpec, RunSpec
from gswarm.search.yaml_file import load_yaml

SLOTS_MAX = 10_000
CHUNKS_MAX = 1_000_000

Positive = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class Machines(BaseModel):
    """Clients that are alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(ge=1, le=SLOTS_MAX)] = 1
    slots: Annotated[int, Field(ge=1, le=SLOTS_MAX)] = 1
    speed: Positive = 1.0
    """How many times faster than the slot on which ``step_time_s`` is true."""
    link_gbit_s: Positive = 10.0
    """To the host and to the other clients."""


class Costs(BaseModel):
    """What happens on a slot of speed 1. The defaults are for an adapter of a small model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_time_s: Positive = 0.5
    """One optimizer step of the experiment's base configuration; other batch sizes take in proportion."""
    eval_time_s: NotNegative = 0.0
    """One evaluation, at each chunk's end."""
    hot_switch_s: NotNegative = 0.003
    cold_start_s: NotNegative = 5.0
    """To build a run's trainer on a slot that does not hold it."""
    checkpoint_mb: NotNegative = 50.0
    """Megabytes (10^6 bytes) of weights and optimizer state that follow each chunk to the host, and a run to another client."""
    message_s: NotNegative = 0.001
    """One way between a client and the host."""


class ClusterDescription(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    machines: Annotated[tuple[Machines, ...], Field(min_length=1, max_length=1000)] = (Machines(),)
    host_gbit_s: Positive = 10.0
    """The host's own link, which all checkpoints share."""
    costs: Costs = Costs()
    rows: Annotated[int, Field(ge=1)] | None = None
    """Training rows of the data set, without those for validation."""

    @property
    def slot_count(self) -> int:
        return sum(group.count * group.slots for group in self.machines)


@dataclass(frozen=True, slots=True)
class Workload:
    """An expanded experiment and how long its runs are."""

    experiment: ExperimentSpec
    runs: tuple[RunSpec, ...]
    rows: int
    step_times_s: tuple[float, ...]
    """One optimizer step of each run, at speed 1."""

    @classmethod
    def by_batch(cls, experiment: ExperimentSpec, runs: tuple[RunSpec, ...], rows: int, step_time_s: float) -> Workload:
        """A step takes as long as its rows: ``step_time_s`` with the base configuration's."""
        of_base = experiment.base.samples_per_step
        return cls(experiment, runs, rows, tuple(step_time_s * spec.samples_per_step / of_base for spec in runs))

    def steps_per_epoch(self, spec: RunSpec) -> int:
        return steps.steps_per_epoch(spec, self.rows)

    def total_steps(self, spec: RunSpec) -> int:
        return steps.total_steps(spec, self.rows)

    def first_chunk_steps(self, spec: RunSpec) -> int:
        return steps.next_chunk_end(0, self.experiment.chunks, self.steps_per_epoch(spec), self.total_steps(spec))

    def chunk_count(self) -> int:
        chunks = self.experiment.chunks
        return sum(steps.chunk_count(chunks, self.steps_per_epoch(spec), self.total_steps(spec)) for spec in self.runs)


def load_description(path: Path) -> ClusterDescription:
    """Reads a cluster's description.

    Raises:
        InvalidInputError: it cannot be read, or says something that no cluster can be.
        LimitError: more than ``SLOTS_MAX`` slots.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    try:
        description = ClusterDescription.model_validate(load_yaml(content) or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{path}: {where}: {first['msg']}", "see docs/simulate.md for the keys") from error
    return checked(description)


def checked(description: ClusterDescription) -> ClusterDescription:
    if description.slot_count > SLOTS_MAX:
        raise LimitError(f"the cluster has {description.slot_count:,} slots, a forecast takes {SLOTS_MAX:,}", "describe a smaller one")
    return description


def check_size(workload: Workload) -> None:
    """Raises:
    LimitError: more than ``CHUNKS_MAX`` chunks.
    InvalidInputError: a run takes a gang of slots, or its chunks do not fit its steps.
    """
    if workload.experiment.resources.gpus_per_run != 1:
        raise InvalidInputError("a forecast of runs that take several slots is not possible", "set resources.gpus_per_run to 1")
    for spec in workload.runs:
        steps.check_chunks(workload.experiment.chunks, workload.steps_per_epoch(spec), workload.total_steps(spec))
    if (chunks := workload.chunk_count()) > CHUNKS_MAX:
        raise LimitError(f"the experiment has {chunks:,} chunks, a forecast takes {CHUNKS_MAX:,}", "make chunks longer, or runs fewer")
