"""From the loaded YAML or JSON value to an ``ExperimentSpec``, strictly, and back to plain values.

A file that has neither ``experiment`` nor ``base`` is read as a plain LLaMA-Factory file: one run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gswarm.domain import keys as table
from gswarm.domain.aliases import ALIASES
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.parse_search import read_search
from gswarm.domain.run_values import RunReader
from gswarm.domain.spec import CheckpointPolicy, Choice, Chunks, ExperimentSpec, Export, FinetuningType, Resources, RunSpec, Search
from gswarm.domain.values import NAME_RULE, Key, Problems, entries, is_name, join, read_mapping, read_value, show, to_plain, unknown_key

DEFAULT_NAME = "experiment"
POLYNOMIAL_END = 1e-7
"""transformers' ``lr_end``."""
_REQUIRED = ("model_name_or_path", "dataset")


@dataclass(frozen=True, slots=True)
class ParsedExperiment:
    """``ignored`` are paths of keys that mean nothing here, ``renamed`` pairs of a path as written and the canonical key."""

    spec: ExperimentSpec
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def parse_experiment(data: object, default_name: str = DEFAULT_NAME) -> ExperimentSpec:
    """The experiment that a loaded YAML or JSON value describes.

    Args:
        data: mapping of keys to values, in the contract's or in LLaMA-Factory's form.
        default_name: name of the experiment where the file gives none.

    Raises:
        InvalidInputError: naming every problem by its path.
    """
    return parse_experiment_verbose(data, default_name).spec


def parse_experiment_verbose(data: object, default_name: str = DEFAULT_NAME) -> ParsedExperiment:
    """As ``parse_experiment``, and what was ignored and renamed.

    Raises:
        InvalidInputError: naming every problem by its path.
    """
    if not isinstance(data, Mapping):
        raise InvalidInputError(
            "the experiment is empty" if data is None else f"an experiment must be a mapping of keys to values, not {show(data)}",
            "give at least model_name_or_path and dataset",
        )
    reader = _Reader()
    spec = reader.read(data, default_name)
    reader.problems.raise_if_any()
    if spec is None:
        raise InvalidInputError("the experiment could not be read")
    return ParsedExperiment(spec, tuple(reader.runs.ignored), tuple(reader.runs.renamed))


def run_spec_with(spec: RunSpec, changes: Mapping[str, object]) -> RunSpec:
    """``spec`` with some keys set; the values may be text, the keys may be aliases.

    Raises:
        InvalidInputError: an unknown key, a value it cannot have, or values that do not go together.
    """
    problems = Problems()
    reader = RunReader(problems)
    values = reader.read(changes, "", null_is_default=False)
    for path in reader.ignored:
        problems.add(path, "means nothing in gswarm; remove it")
    problems.raise_if_any()
    changed = dataclasses.replace(spec, **values)
    check_run(changed, "", problems)
    problems.raise_if_any()
    return changed


def check_run(spec: RunSpec, path: str, problems: Problems) -> None:
    """Adds what does not go together in one configuration."""
    if spec.bf16 and spec.fp16:
        problems.add(join(path, "bf16"), "bf16 and fp16 exclude each other; keep bf16")
    if spec.warmup_ratio > 0 and spec.warmup_steps > 0:
        problems.add(join(path, "warmup_ratio"), "warmup_ratio and warmup_steps are both set; keep one of them")
    if spec.val_size > 0 and spec.eval_dataset is not None:
        problems.add(join(path, "val_size"), "val_size and eval_dataset are both set; keep one of them")
    if spec.val_size > 1 and spec.val_size != int(spec.val_size):
        problems.add(join(path, "val_size"), f"must be a share below 1 or a whole number of rows, not {spec.val_size}")
    if spec.lr_scheduler_type == "polynomial" and spec.learning_rate <= POLYNOMIAL_END:
        problems.add(join(path, "learning_rate"), f"must be more than {POLYNOMIAL_END:g}, where the polynomial schedule ends")
    if spec.use_dora and spec.finetuning_type is not FinetuningType.LORA:
        problems.add(join(path, "use_dora"), "needs finetuning_type: lora")


def run_spec_to_dict(spec: RunSpec) -> dict[str, Any]:
    """Every key of the run with its value, as JSON and YAML know it; ``parse_experiment`` reads it back to the same spec."""
    return {item.name: to_plain(getattr(spec, item.name)) for item in dataclasses.fields(spec)}


def experiment_to_dict(spec: ExperimentSpec) -> dict[str, Any]:
    """The canonical file of the experiment; ``parse_experiment`` reads it back to the same spec."""
    plain: dict[str, Any] = {"experiment": spec.name, "base": run_spec_to_dict(spec.base)}
    if spec.search != Search():
        plain["search"] = _search_to_dict(spec.search)
    for name, section in (("chunks", spec.chunks), ("resources", spec.resources), ("checkpoint", spec.checkpoint)):
        plain[name] = _section_to_dict(section)
    plain["report_to"] = list(spec.report_to)
    plain["export"] = _section_to_dict(spec.export)
    plain["labels"] = dict(spec.labels)
    return plain


def _section_to_dict(section: Chunks | Resources | CheckpointPolicy | Export) -> dict[str, Any]:
    return {item.name: to_plain(getattr(section, item.name)) for item in dataclasses.fields(section)}


def _search_to_dict(search: Search) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, values in search.parameters:
        match values:
            case Choice():
                parameters[name] = {"values": [to_plain(value) for value in values.values]}
            case _:
                parameters[name] = {"distribution": values.distribution, "min": values.min, "max": values.max}
    if search.together:
        parameters["_"] = [{name: to_plain(value) for name, value in entry} for entry in search.together]
    return {
        "method": search.method.value,
        "run_cap": search.run_cap,
        "metric": {"name": search.metric.name, "goal": search.metric.goal.value},
        "parameters": parameters,
        "early_stop": dataclasses.asdict(search.early_stop),
        "seed": search.seed,
    }


class _Reader:
    """Reads one file; what is wrong, ignored or renamed on the way is kept."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.runs = RunReader(self.problems)

    def read(self, data: Mapping[Any, object], default_name: str) -> ExperimentSpec | None:
        """The spec; ``None`` where a problem leaves nothing to build one from."""
        if "experiment" not in data and "base" not in data:
            return self._read_plain(data, default_name)
        given = {name: item for name, item in entries(data, "", self.problems) if self._is_section(name)}
        base = self._read_base(given.get("base"), "base")
        search = Search() if given.get("search") is None else read_search(given["search"], self.runs)
        sections: dict[str, Any] = {
            "name": self._read_name(given.get("experiment"), default_name),
            "search": search,
            "chunks": self._read_chunks(given.get("chunks")),
            "resources": Resources(**read_mapping(table.RESOURCE_KEYS, given.get("resources"), "resources", self.problems)),
            "checkpoint": CheckpointPolicy(**read_mapping(table.CHECKPOINT_KEYS, given.get("checkpoint"), "checkpoint", self.problems)),
            "report_to": self._read_report_to(given.get("report_to")),
            "export": Export(**read_mapping(table.EXPORT_KEYS, given.get("export"), "export", self.problems)),
            "labels": self._read_one(table.LABELS_KEY, given.get("labels")),
        }
        return ExperimentSpec(base=base, **sections) if base is not None else None

    def _read_plain(self, data: Mapping[Any, object], default_name: str) -> ExperimentSpec | None:
        run_keys = dict(data)
        report_to = run_keys.pop("report_to", None)
        if report_to is not None and not _says_none(report_to):
            self.runs.ignored.append("report_to")
        for name in table.TOP_KEYS:
            if name in run_keys:
                self.problems.add(name, "stands only beside experiment and base; put the run's own keys under base")
                del run_keys[name]
        base = self._read_base(run_keys, "")
        return ExperimentSpec(self._read_name(None, default_name), base) if base is not None else None

    def _is_section(self, name: str) -> bool:
        if name in table.TOP_KEYS:
            return True
        if name in table.UNAVAILABLE_SECTIONS:
            self.problems.add(name, f"is not available in this version of gswarm; {table.UNAVAILABLE_SECTIONS[name]}")
        elif name in table.RUN_KEYS or name in ALIASES:
            self.problems.add(name, "is a key of the run; put it under base")
        else:
            self.problems.add(join("", name), unknown_key(name, table.TOP_KEYS, self.problems))
        return False

    def _read_base(self, raw: object, path: str) -> RunSpec | None:
        values = self.runs.read(raw, path, null_is_default=True)
        missing = [name for name in _REQUIRED if name not in values]
        for name in missing:
            if not _is_given(raw, name):
                self.problems.add(join(path, name), "is missing")
        if missing:
            return None
        spec = RunSpec(**values)
        check_run(spec, path, self.problems)
        return spec

    def _read_name(self, raw: object, default_name: str) -> str:
        if raw is None:
            return default_name if is_name(default_name) else DEFAULT_NAME
        if not isinstance(raw, str) or not is_name(raw):
            self.problems.add("experiment", f"{show(raw)} is not a name; use {NAME_RULE}")
            return DEFAULT_NAME
        return raw

    def _read_chunks(self, raw: object) -> Chunks:
        if isinstance(raw, str) and raw.strip().lower() == "auto":
            return Chunks()
        chunks = Chunks(**read_mapping(table.CHUNK_KEYS, raw, "chunks", self.problems))
        if chunks.num_chunks is not None and chunks.steps is not None:
            self.problems.add("chunks", "num_chunks and steps are both set; keep one of them")
        return chunks

    def _read_report_to(self, raw: object) -> tuple[str, ...]:
        return () if _says_none(raw) else self._read_one(table.REPORT_TO_KEY, raw)

    def _read_one(self, key: Key, raw: object) -> tuple[Any, ...]:
        """One top-level key whose value is a list or a mapping; empty if it is null or refused."""
        if raw is None:
            return ()
        try:
            value: tuple[Any, ...] = read_value(key, raw)
        except InvalidInputError as error:
            self.problems.add_error(key.name, error)
            return ()
        return value


def _says_none(raw: object) -> bool:
    """transformers' way to name no tracker: ``none``, or a list of it."""
    items = raw if isinstance(raw, list) else [raw]
    return all(isinstance(item, str) and item.strip().lower() == "none" for item in items)


def _is_given(raw: object, key_name: str) -> bool:
    """Whether the key is there under any name: one with a bad value is not also reported as missing."""
    given = raw if isinstance(raw, Mapping) else {}
    names = [key_name, *(alias.name for alias in ALIASES.values() if alias.key == key_name)]
    return any(given.get(name) is not None for name in names)
