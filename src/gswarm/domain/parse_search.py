"""Reading the ``search`` section of an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gswarm.domain import keys as table
from gswarm.domain.aliases import IGNORED
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.run_values import NOT_GIVEN, RunReader, read_run_value, run_key
from gswarm.domain.spec import Choice, Distribution, EarlyStop, Metric, Search, SearchMethod
from gswarm.domain.values import Key, Kind, Problems, entries, join, nearest, read_mapping, show, unknown_key

MAX_VALUES = 10_000
"""Of one parameter, and entries of ``_``."""
MAX_NAME_CHARS = 64
_PARAMETER_KEYS = ("values", "distribution", "min", "max")
_Parameters = tuple[tuple[str, Choice | Distribution], ...]
_Together = tuple[tuple[tuple[str, Any], ...], ...]


def read_search(raw: object, runs: RunReader) -> Search:
    """The search section; what is wrong with it goes to ``runs.problems``.

    Args:
        raw: the loaded value of ``search``.
        runs: reads the values of the run's keys.
    """
    problems = runs.problems
    given = dict(entries(raw, "search", problems))
    nested = {name: given.pop(name, None) for name in ("metric", "parameters", "early_stop")}
    known = {**table.SEARCH_KEYS, **{name: Key(name, Kind.TEXT, "") for name in nested}}
    plain: dict[str, object] = {}
    for name, item in given.items():
        if name in known:
            plain[name] = item
        else:
            problems.add(join("search", name), unknown_key(name, known, problems))
    values = read_mapping(table.SEARCH_KEYS, plain, "search", problems)
    metric = Metric(**read_mapping(table.METRIC_KEYS, nested["metric"], "search.metric", problems))
    early_stop = EarlyStop(**read_mapping(table.EARLY_STOP_KEYS, nested["early_stop"], "search.early_stop", problems))
    before = len(problems)
    parameters, together = _read_parameters(nested["parameters"], runs)
    search = Search(metric=metric, early_stop=early_stop, parameters=parameters, together=together, **values)
    if len(problems) == before:
        _check_space(search, problems)
    if search.method is SearchMethod.RANDOM and plain.get("run_cap") is None:
        problems.add("search.run_cap", "is missing; method: random needs the number of runs")
    return search


def _read_parameters(raw: object, runs: RunReader) -> tuple[_Parameters, _Together]:
    problems = runs.problems
    path = "search.parameters"
    parameters: dict[str, Choice | Distribution] = {}
    together: _Together = ()
    for name, item in entries(raw, path, problems):
        place = join(path, name)
        if name == "_":
            together = _read_together(item, runs)
            continue
        key_name = runs.canonical(name, place)
        values = _read_parameter(name, item, place, problems) if key_name is not None else None
        if key_name is None or values is None:
            continue
        if key_name in parameters:
            problems.add(place, f"{key_name} is searched twice; keep one of them")
        parameters[key_name] = values
    for key_name in sorted({name for entry in together for name, _ in entry} & parameters.keys()):
        problems.add(f"{path}._", f"{key_name} is also searched on its own; keep one of them")
    return tuple(parameters.items()), together


def _read_together(raw: object, runs: RunReader) -> _Together:
    problems = runs.problems
    path = "search.parameters._"
    if not isinstance(raw, list | tuple) or not raw:
        problems.add(path, "must be a list of mappings, each with values that go together")
        return ()
    if len(raw) > MAX_VALUES:
        problems.add(path, f"has more than {MAX_VALUES} entries")
        return ()
    found = []
    for index, entry in enumerate(raw):
        place = f"{path}[{index}]"
        if not isinstance(entry, Mapping) or not entry:
            problems.add(place, f"must be a mapping of keys to values, not {show(entry)}")
            continue
        for name in entry:
            if name in IGNORED:
                problems.add(f"{place}.{name}", "means nothing in gswarm; remove it")
        found.append(tuple(runs.read(entry, place, null_is_default=False).items()))
    return tuple(dict.fromkeys(found))


def _read_parameter(name: str, raw: object, place: str, problems: Problems) -> Choice | Distribution | None:
    if not isinstance(raw, Mapping):
        problems.add(place, f"must be {{values: [...]}} or {{distribution: ..., min: ..., max: ...}}, not {show(raw)}")
        return None
    given = dict(entries(raw, place, problems))
    unknown = [key for key in given if key not in _PARAMETER_KEYS]
    for key in unknown:
        problems.add(join(place, key), unknown_key(key, _PARAMETER_KEYS, problems))
    if unknown:
        return None
    if ("values" in given) == (len(given) > ("values" in given)):
        problems.add(place, "must have either values, or distribution, min and max")
        return None
    if "values" in given:
        return _read_choice(name, given["values"], f"{place}.values", problems)
    return _read_distribution(name, given, place, problems)


def _read_choice(name: str, raw: object, place: str, problems: Problems) -> Choice | None:
    if not isinstance(raw, list | tuple) or not raw:
        problems.add(place, f"must be a list of one value or more, not {'an empty one' if raw == [] else show(raw)}")
        return None
    if len(raw) > MAX_VALUES:
        problems.add(place, f"has more than {MAX_VALUES} values")
        return None
    values = [_read_one(name, item, f"{place}[{index}]", problems) for index, item in enumerate(raw)]
    return Choice(tuple(dict.fromkeys(value for value in values if value is not NOT_GIVEN)))


def _read_distribution(name: str, given: Mapping[str, object], place: str, problems: Problems) -> Distribution | None:
    key = run_key(name)
    is_integer_key = key.kind is Kind.INT
    kind = given.get("distribution", "int_uniform" if is_integer_key else "uniform")
    if not isinstance(kind, str) or kind not in table.DISTRIBUTIONS:
        near = nearest(kind, table.DISTRIBUTIONS) if isinstance(kind, str) and len(kind) < MAX_NAME_CHARS else None
        hint = f"; did you mean {near}?" if near else ""
        problems.add(f"{place}.distribution", f"{show(kind)} is not one of {', '.join(table.DISTRIBUTIONS)}{hint}")
        return None
    if key.kind not in (Kind.INT, Kind.FLOAT):
        problems.add(place, f"{key.name} is no number; give values")
        return None
    if is_integer_key != (kind == "int_uniform"):
        fitting = "int_uniform or values" if is_integer_key else "uniform, log_uniform_values or values"
        problems.add(f"{place}.distribution", f"{kind} does not fit {key.name}; use {fitting}")
        return None
    # Both ends must be values that the key may have, so that everything between them is.
    low, high = (_read_bound(name, given, end, place, problems) for end in ("min", "max"))
    if low is None or high is None:
        return None
    if low >= high:
        problems.add(place, f"min must be less than max, but {low:g} is not less than {high:g}")
    if kind == "log_uniform_values" and low <= 0:
        problems.add(f"{place}.min", "must be more than 0 for log_uniform_values")
    return Distribution(kind, low, high)


def _read_bound(name: str, given: Mapping[str, object], end: str, place: str, problems: Problems) -> float | None:
    if given.get(end) is None:
        problems.add(f"{place}.{end}", "is missing")
        return None
    value = _read_one(name, given[end], f"{place}.{end}", problems)
    if value is NOT_GIVEN:
        return None
    if value is None:
        problems.add(f"{place}.{end}", f"must be a number, not {show(given[end])}")
        return None
    return float(value)


def _read_one(name: str, raw: object, place: str, problems: Problems) -> Any:
    """One value of a searched key, read exactly as it would be under ``base``; ``NOT_GIVEN`` if it was refused."""
    try:
        value = read_run_value(name, raw)
    except InvalidInputError as error:
        problems.add_error(place, error)
        return NOT_GIVEN
    if value is NOT_GIVEN:
        problems.add(place, f"{show(raw)} sets nothing; remove it")
    return value


def _check_space(search: Search, problems: Problems) -> None:
    if not search.parameters and not search.together:
        problems.add("search.parameters", "the search space is empty; give parameters, or leave search out for a single run")
    ranges = [name for name, values in search.parameters if isinstance(values, Distribution)]
    if search.method is SearchMethod.GRID and ranges:
        problems.add(f"search.parameters.{ranges[0]}", "a grid needs values; give values, or use method: random")
