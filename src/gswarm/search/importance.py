"""How much of the differences between runs each parameter explains, by Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

RUNS_MIN = 4
"""With fewer runs the shares say nothing."""
BETTER_SHARE = 0.5
"""What is explained is why a run is among the better half. Optuna's tenth would be one run or two of what people train."""
LOG_RATIO_MIN = 10.0
"""Positive values that span as much are compared by their logarithms."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: its parameters as text, and the best value of the objective."""

    parameters: Mapping[str, str]
    value: float


def importances(trials: Sequence[Trial], *, is_minimized: bool) -> list[tuple[str, float]]:
    """The share (0..1) of each parameter that all runs have and that differs between them, largest first.

    Empty where nothing differs, all values are equal, or there are fewer than ``RUNS_MIN`` runs.
    """
    varied = [name for name in _common(trials) if len({trial.parameters[name] for trial in trials}) > 1]
    if len(trials) < RUNS_MIN or not varied or len({trial.value for trial in trials}) < 2:
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    columns = {name: [trial.parameters[name] for trial in trials] for name in varied}
    numbers = {name: _numbers(column) for name, column in columns.items()}
    distributions = {name: _distribution(columns[name], numbers[name]) for name in varied}
    study = optuna.create_study(direction="minimize" if is_minimized else "maximize")
    for place, trial in enumerate(trials):
        params = {name: numbers[name][place] if numbers[name] else trial.parameters[name] for name in varied}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BETTER_SHARE)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return sorted(((name, float(share)) for name, share in found.items()), key=lambda pair: (-pair[1], pair[0]))


def _common(trials: Sequence[Trial]) -> list[str]:
    """Parameters that every run has, in the order of the first one."""
    return [name for name in (trials[0].parameters if trials else ()) if all(name in trial.parameters for trial in trials)]


def _numbers(column: Sequence[str]) -> list[float]:
    """The column as numbers; empty if one of them is none."""
    try:
        return [float(text) for text in column]
    except ValueError:
        return []


def _distribution(column: Sequence[str], numbers: Sequence[float]) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not numbers:
        return CategoricalDistribution(sorted(set(column)))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_RATIO_MIN)
