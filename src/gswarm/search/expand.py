"""From an experiment to the configurations of its runs: every combination, or a seeded sample of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.keys import MAX_RUNS
from gswarm.domain.parse import run_spec_with
from gswarm.domain.spec import Choice, Distribution, ExperimentSpec, RunSpec, Search, SearchMethod
from gswarm.domain.values import value_text

_DRAWS_PER_RUN = 20
"""Draws from a continuous space before it counts as exhausted (a narrow ``int_uniform`` has few values)."""
_SIGNIFICANT_DIGITS = 6
_MAX_INDEX = 2**62

_Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ExpandedRun:
    """One configuration, and what the search set in it: key and value as text, in the order of the file."""

    spec: RunSpec
    changes: tuple[tuple[str, str], ...] = ()


def expand(experiment: ExperimentSpec) -> list[ExpandedRun]:
    """The experiment's runs in order. The same experiment always expands to the same list, without duplicates.

    A grid is the product of the values in file order, the last one varying fastest, and ``run_cap`` keeps the first so many.
    ``random`` samples without putting back, with a random source of its own seeded by ``search.seed``.

    Raises:
        LimitError: more than ``MAX_RUNS`` runs.
        InvalidInputError: a combination whose values do not go together.
    """
    search = experiment.search
    if not search.parameters and not search.together:
        return [ExpandedRun(experiment.base)]
    wanted = _wanted(search)
    runs: dict[RunSpec, ExpandedRun] = {}
    for changes in _combinations(search):
        run = _with(experiment.base, changes)
        runs.setdefault(run.spec, run)
        if len(runs) == wanted:
            break
    return list(runs.values())


def count(search: Search) -> int | None:
    """Combinations of the space, computed and not enumerated; ``None`` if a range makes them uncountable."""
    if any(isinstance(values, Distribution) for _, values in search.parameters):
        return None
    return math.prod(_sizes(search))


def expansion_notes(experiment: ExperimentSpec, runs: list[ExpandedRun]) -> tuple[str, ...]:
    """What a person should know about the expansion, in whole sentences; empty if there is nothing to say."""
    search = experiment.search
    if not search.parameters and not search.together:
        return ()
    notes = [_size_note(search, len(runs))]
    if search.metric.name.startswith("eval_") and not any(run.spec.val_size > 0 or run.spec.eval_dataset is not None for run in runs):
        notes.append(f"Runs are compared by {search.metric.name}, but there is no validation data; set val_size or eval_dataset.")
    return tuple(note for note in notes if note)


def _size_note(search: Search, runs: int) -> str:
    combinations = count(search)
    if combinations is None:
        is_short = search.run_cap is not None and runs < search.run_cap
        return f"The space has only {runs} different configurations, fewer than run_cap ({search.run_cap})." if is_short else ""
    if runs == combinations:
        return ""
    if runs == search.run_cap:
        kept = f"the first {runs}" if search.method is SearchMethod.GRID else f"{runs} of them at random"
        return f"The space has {combinations:,} combinations; run_cap keeps {kept}."
    return f"{combinations - runs} of {combinations} combinations were left out because they equal another one."


def _wanted(search: Search) -> int:
    combinations = count(search)
    if combinations == 0:
        raise InvalidInputError("the search space has 0 combinations", "give every parameter a value at least")
    wanted = search.run_cap if search.run_cap is not None else combinations
    if wanted is None:
        raise InvalidInputError("a search over a range needs run_cap", "set search.run_cap to the number of runs")
    if wanted > MAX_RUNS:
        raise LimitError(
            f"the search has {_readable(wanted)} combinations, but an experiment may have at most {MAX_RUNS:,} runs",
            "set search.run_cap, or give fewer values",
        )
    return wanted


def _readable(number: int) -> str:
    """Astronomical counts stay readable, and need no conversion of thousands of digits."""
    return f"{number:,}" if number < 10**15 else f"about 10^{int(number.bit_length() * math.log10(2))}"


def _combinations(search: Search) -> Iterator[_Changes]:
    if search.method is SearchMethod.GRID:
        return (_combination(search, index) for index in range(math.prod(_sizes(search))))
    return _samples(search)


def _samples(search: Search) -> Iterator[_Changes]:
    source = random.Random(search.seed)  # noqa: S311 - reproducible samples, no secrets
    wanted = search.run_cap or 0
    combinations = count(search)
    if combinations is not None and combinations <= _MAX_INDEX:
        indices = source.sample(range(combinations), min(combinations, wanted))
        yield from (_combination(search, index) for index in indices)
        return
    for _ in range(wanted * _DRAWS_PER_RUN):
        yield _draw(search, source)


def _sizes(search: Search) -> list[int]:
    sizes = [len(values.values) for _, values in search.parameters if isinstance(values, Choice)]
    return [*sizes, len(search.together)] if search.together else sizes


def _combination(search: Search, index: int) -> _Changes:
    """The combination number ``index`` of the product, without building the others."""
    digits: list[int] = []
    for size in reversed(_sizes(search)):
        index, digit = divmod(index, size)
        digits.append(digit)
    digits.reverse()
    changes = [
        (name, values.values[digit]) for (name, values), digit in zip(search.parameters, digits, strict=False) if isinstance(values, Choice)
    ]
    return (*changes, *search.together[digits[-1]]) if search.together else tuple(changes)


def _draw(search: Search, source: random.Random) -> _Changes:
    changes = []
    for name, values in search.parameters:
        match values:
            case Choice():
                changes.append((name, source.choice(values.values)))
            case Distribution():
                changes.append((name, _draw_from(values, source)))
    return (*changes, *source.choice(search.together)) if search.together else tuple(changes)


def _draw_from(values: Distribution, source: random.Random) -> float | int:
    if values.distribution == "int_uniform":
        return source.randint(int(values.min), int(values.max))
    if values.distribution == "log_uniform_values":
        drawn = math.exp(source.uniform(math.log(values.min), math.log(values.max)))
    else:
        drawn = source.uniform(values.min, values.max)
    # Six digits are more than any search needs and can be read and typed; rounding must not leave the range.
    rounded = float(f"{drawn:.{_SIGNIFICANT_DIGITS}g}")
    return min(max(rounded, values.min), values.max)


def _with(base: RunSpec, changes: _Changes) -> ExpandedRun:
    texts = tuple((name, value_text(value)) for name, value in changes)
    try:
        return ExpandedRun(run_spec_with(base, dict(changes)), texts)
    except InvalidInputError as error:
        where = ", ".join(f"{name}={text}" for name, text in texts)
        raise InvalidInputError(f"the combination {where} is not possible: {error.message}", error.hint) from error
