"""Reading the keys of one run: aliases of other trainers resolved, keys that mean nothing here passed over and noted."""

from __future__ import annotations

from typing import Any

from gswarm.domain.aliases import ALIASES, IGNORED, REFUSED_HINTS, VALUE_ALIASES, Alias
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.keys import RUN_KEYS, TOP_KEYS
from gswarm.domain.values import Key, Problems, entries, join, read_value, show, unknown_key

_DATASETS = ("dataset", "eval_dataset")
_KNOWN = (*RUN_KEYS, *ALIASES)


class _NotGiven:
    """What ``load_in_4bit: false`` says about ``quantization_bit``: nothing."""


NOT_GIVEN = _NotGiven()


class RunReader:
    """Reads run keys of one file; problems, ignored paths and renamed keys are kept."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.ignored: list[str] = []
        self.renamed: list[tuple[str, str]] = []

    def read(self, raw: object, path: str, *, null_is_default: bool) -> dict[str, Any]:
        """The values of a mapping by canonical name, in the order of the file.

        Args:
            raw: mapping of run keys or aliases to values.
            path: of the mapping in the file.
            null_is_default: a null value counts as not given; else it sets an optional key to nothing.
        """
        values: dict[str, Any] = {}
        written_as: dict[str, str] = {}
        for name, item in entries(raw, path, self.problems):
            place = join(path, name)
            if name in IGNORED:
                self._pass_over(name, item, place)
                continue
            key_name = self.canonical(name, place)
            if key_name is None or (item is None and null_is_default):
                continue
            try:
                value = read_run_value(name, item)
            except InvalidInputError as error:
                self.problems.add_error(place, error)
                continue
            if value is NOT_GIVEN:
                continue
            if key_name in values and values[key_name] != value:
                self.problems.add(place, f"says {show(item)}, but {written_as[key_name]} is the same key and says otherwise; keep one")
                continue
            values[key_name] = value
            written_as[key_name] = name
        return values

    def canonical(self, name: str, place: str) -> str | None:
        """The canonical name of a key; ``None`` for an unknown one, which becomes a problem."""
        alias = ALIASES.get(name)
        if alias is not None:
            self.renamed.append((place, alias.key))
            return alias.key
        if name in RUN_KEYS:
            return name
        if name in IGNORED:
            self.problems.add(place, "means nothing in gswarm; remove it")
        elif name in TOP_KEYS:
            self.problems.add(place, "stands at the top level of the file, beside experiment and base")
        else:
            self.problems.add(place, unknown_key(name, _KNOWN, self.problems))
        return None

    def _pass_over(self, name: str, item: object, place: str) -> None:
        harmless = IGNORED[name]
        if harmless is None or _spelled(item) in map(_spelled, harmless):
            self.ignored.append(place)
        else:
            hint = REFUSED_HINTS.get(name, "remove it")
            self.problems.add(place, f"{show(item)} is not available in this version of gswarm; {hint}")


def read_run_value(name: str, raw: object) -> Any:
    """The canonical value of the known key or alias ``name``; ``NOT_GIVEN`` where an alias says nothing.

    Raises:
        InvalidInputError: what is wrong with the value, without its path.
    """
    alias = ALIASES.get(name)
    if alias is not None and alias.values and raw is not None:
        raw = _meant(alias, raw)
        if raw is None:
            return NOT_GIVEN
    key = run_key(name)
    return read_value(key, _in_own_form(key.name, raw))


def run_key(name: str) -> Key:
    """What the known key or alias ``name`` accepts."""
    alias = ALIASES.get(name)
    return RUN_KEYS[alias.key if alias is not None else name]


def _meant(alias: Alias, raw: object) -> Any:
    for value, canonical in alias.values:
        if _spelled(raw) == _spelled(value):
            return canonical
    accepted = " or ".join(_spelled(value) for value, _ in alias.values)
    raise InvalidInputError(f"must be {accepted}, not {show(raw)}", f"or use {alias.key}")


def _spelled(value: object) -> str:
    """One spelling for a value and the text that says it: ``True`` and ``"true"``, ``None`` and ``"null"``."""
    return show(value.strip().lower() if isinstance(value, str) else value)


def _in_own_form(name: str, raw: object) -> object:
    """Other trainers' spellings of a value in this file's own form."""
    if name in _DATASETS:
        return _one_dataset(raw)
    spellings = VALUE_ALIASES.get(name)
    if spellings and isinstance(raw, str):
        return spellings.get(raw.strip(), raw)
    if spellings and isinstance(raw, list | tuple):
        return [spellings.get(item, item) if isinstance(item, str) else item for item in raw]
    return raw


def _one_dataset(raw: object) -> object:
    """LLaMA-Factory joins several with commas, ms-swift lists them; this version trains on one."""
    names = raw.split(",") if isinstance(raw, str) else list(raw) if isinstance(raw, list | tuple) else [raw]
    if len(names) > 1:
        raise InvalidInputError(
            f"{len(names)} data sets at once are not available in this version of gswarm", "put their rows into one file"
        )
    return names[0] if names else raw
