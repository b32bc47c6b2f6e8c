"""What an experiment file would do, found out without a host."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gswarm.domain.parse import ParsedExperiment, experiment_to_dict, parse_experiment, run_spec_to_dict
from gswarm.search.expand import expand, expansion_notes
from gswarm.search.yaml_file import load_experiment_file


def read_file(path: Path, name: str | None) -> ParsedExperiment:
    """The file in canonical form, relative paths made absolute; ``name`` takes the place of its own.

    Raises:
        InvalidInputError: the file or the name is not valid.
    """
    parsed = load_experiment_file(path)
    if name is None:
        return parsed
    named = parse_experiment({**experiment_to_dict(parsed.spec), "experiment": name})
    return dataclasses.replace(parsed, spec=named)


def plan_file(path: Path, name: str | None = None) -> dict[str, Any]:
    """Name, canonical spec, notes and expanded runs, like ``POST experiments/validate``.

    Raises:
        InvalidInputError: the file is not valid.
        LimitError: it expands to too many runs.
    """
    parsed = read_file(path, name)
    runs = expand(parsed.spec)
    notes = [f"{place} is read as {key}" for place, key in parsed.renamed]
    notes += [f"{place} means nothing in gswarm and is ignored" for place in parsed.ignored]
    notes += expansion_notes(parsed.spec, runs)
    return {
        "name": parsed.spec.name,
        "spec": experiment_to_dict(parsed.spec),
        "notes": notes,
        "runs": [{"changes": dict(run.changes), "spec": run_spec_to_dict(run.spec)} for run in runs],
    }
