"""Which runs a command means: ids, names, or a small expression such as ``eval_loss > 2 and lora_rank == 8``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Json
from gswarm.domain.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from gswarm.sdk import Host

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(r"\s*([A-Za-z_][\w./-]*)\s*(<=|>=|==|!=|=|<|>)\s*(\S+)\s*")

Where = Annotated[str | None, typer.Option("--where", help="Runs by their numbers: 'eval_loss > 2 and position >= 40'.")]
Of = Annotated[str | None, typer.Option("--experiment", "-e", help="With --where: only runs of this experiment.")]
Runs = Annotated[list[str] | None, typer.Argument(metavar="R...", help="Ids or unique names of runs.")]


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    compare: str
    value: float

    def holds(self, run: Json) -> bool:
        """False also where the run has no such number."""
        known = number_of(run, self.name)
        return known is not None and OPERATORS[self.compare](known, self.value)


def parse_where(expression: str) -> tuple[Condition, ...]:
    """``name op number``, several joined by ``and``. Raises InvalidInputError."""
    conditions = []
    for part in re.split(r"\band\b", expression):
        match = CONDITION.fullmatch(part)
        if match is None:
            raise InvalidInputError(
                f"{part.strip()!r} is not a condition", "write: name op number, for example 'eval_loss > 2 and position >= 40'"
            )
        try:
            conditions.append(Condition(match[1], match[2], float(match[3])))
        except ValueError as error:
            raise InvalidInputError(f"{match[3]!r} is not a number", "conditions compare numbers") from error
    return tuple(conditions)


def number_of(run: Json, name: str) -> float | None:
    """A run's metric, its own number (position, step_time_s, ...) or a key of its spec."""
    for source in (run["metrics"], run, run["spec"]):
        value = source.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def matching(runs: list[Json], expression: str | None) -> list[Json]:
    """The runs for which every condition holds.

    Raises:
        InvalidInputError: the expression is none, or names a number that no run has.
    """
    if expression is None:
        return runs
    conditions = parse_where(expression)
    for condition in conditions:
        if runs and all(number_of(run, condition.name) is None for run in runs):
            known = sorted({name for run in runs for name in run["metrics"]})
            raise InvalidInputError(f"no run has a number {condition.name!r}", f"metrics now: {', '.join(known) or 'none yet'}")
    return [run for run in runs if all(condition.holds(run) for condition in conditions)]


def require_choice(refs: list[str] | None, where: str | None) -> None:
    """Runs or a condition, not both: otherwise the command is used wrongly. Also raises what ``parse_where`` raises."""
    if bool(refs) == (where is not None):
        raise typer.BadParameter("give ids or names of runs, or --where 'eval_loss > 2'" + (", not both" if refs else ""), param_hint="R")
    if where is not None:
        parse_where(where)


def chosen(host: Host, refs: list[str] | None, where: str | None, experiment: str | None) -> list[str]:
    """Ids or names of the runs that a command means.

    Raises:
        InvalidInputError: the condition is none.
        NotFoundError: no run matches.
    """
    if where is None:
        return list(dict.fromkeys(refs or ()))
    found = [run["id"] for run in matching(host.runs(experiment), where)]
    if not found:
        raise NotFoundError(f"no run matches {where!r}", "see 'gswarm run list'")
    return found
