"""Loading an experiment file: YAML that cannot run code, cannot grow, and says where it is wrong."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from gswarm.domain.errors import InvalidInputError, NotFoundError, StorageError
from gswarm.domain.parse import DEFAULT_NAME, ParsedExperiment, parse_experiment_verbose, run_spec_with
from gswarm.domain.spec import Choice, Distribution, ExperimentSpec, RunSpec

LIMIT_BYTES = 1_000_000
MAX_NODES = 10_000
"""Values and keys, with every alias counted as what it stands for: this is what stops a file that multiplies itself."""
MAX_DEPTH = 32
MAX_LINES = 10_000
MAX_LINE_CHARS = 20_000
_TAG_PREFIX = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_TAG_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge"))
_PATH_KEYS = ("model_name_or_path", "dataset", "eval_dataset")


def load_yaml(text: str | bytes, limit_bytes: int = LIMIT_BYTES) -> object:
    """The value of a YAML document made of mappings, lists, text, numbers, booleans and null.

    Args:
        text: the document; bytes must be UTF-8.
        limit_bytes: a longer document is refused before it is looked at.

    Raises:
        InvalidInputError: too large, not UTF-8, wrong syntax, a tag, a key given twice, nested too deeply, more than one document,
            or aliases that stand for more than ``MAX_NODES`` values; with line and column where there is one.
    """
    size_bytes = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > limit_bytes:
        raise InvalidInputError(
            f"the file has {size_bytes:,} bytes, more than {limit_bytes:,}", "an experiment file is small; put data elsewhere"
        )
    document = _decode(text)
    _check_lines(document)
    try:
        loader = _StrictLoader(document)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _with_place(error) from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"the file is not YAML: {_one_line(str(error))}") from error
    except (ValueError, OverflowError) as error:
        raise InvalidInputError("the file has a number with too many digits, or one that its tag does not allow") from error


def load_experiment_file(path: Path | str) -> ParsedExperiment:
    """The experiment in a file. Models and data that exist relative to the file become absolute paths.

    Raises:
        NotFoundError: there is no such file.
        StorageError: it cannot be read.
        InvalidInputError: what is wrong with its content.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file}", "check the path") from error
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}", "give a readable YAML file") from error
    try:
        parsed = parse_experiment_verbose(load_yaml(content), name_from(file.stem))
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error.message}", error.hint) from error
    return dataclasses.replace(parsed, spec=_with_absolute_paths(parsed.spec, file.absolute().parent))


def name_from(text: str) -> str:
    """A valid experiment name made of ``text``, such as a file's name."""
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", text).strip("._-")[:63] or DEFAULT_NAME


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that counts what aliases stand for and refuses tags, deep nesting and keys that are given twice."""

    def __init__(self, document: str) -> None:
        super().__init__(document)
        self._depth = 0
        self._nodes = 0
        self._weights: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._weights:
                raise _refusal(f"the alias *{str(event.anchor)[:60]} stands for itself", event.start_mark)
            self._count(self._weights[id(node)], event.start_mark)
            return node
        tag = event.tag
        if tag is not None and tag != "!" and tag not in _PLAIN_TAGS:
            raise _refusal(f"the tag {tag.replace(_TAG_PREFIX, '!!')[:60]} is not allowed; remove it", event.start_mark)
        before = self._nodes
        self._count(1, event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._weights[id(node)] = self._nodes - before
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key must be text", key.start_mark)
            if key.value in seen:
                raise _refusal(f"the key {key.value[:60]} is given twice", key.start_mark)
            seen.add(key.value)
        return node

    def _count(self, nodes: int, mark: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _refusal(f"the file stands for more than {MAX_NODES:,} values, its aliases written out", mark)


# Dates and "=" have a meaning in YAML 1.1 that no key here has: they stay text.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_lines(document: str) -> None:
    """PyYAML reads a character at a time; these limits keep any file that passes them well under a second."""
    lines = document.split("\n")
    if len(lines) > MAX_LINES:
        raise InvalidInputError(f"the file has more than {MAX_LINES:,} lines", "an experiment file is small; put data elsewhere")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_CHARS:
            raise InvalidInputError(f"line {number} has more than {MAX_LINE_CHARS:,} characters", "break it into several lines")


def _decode(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"the file is not UTF-8: line {line} has the byte {text[error.start]:#04x}", "save it as UTF-8") from error


def _with_place(error: yaml.MarkedYAMLError) -> InvalidInputError:
    mark = error.problem_mark or error.context_mark
    problem = _one_line(error.problem or error.context or "wrong syntax")
    if "expected a single document" in (error.context or ""):
        return _refusal("the file has more than one document", mark, "remove everything from the second --- on")
    if "\\t" in problem:
        return _refusal(problem, mark, "indent with spaces, not tabs")
    return _refusal(problem, mark)


def _refusal(problem: str, mark: Any, hint: str = "") -> InvalidInputError:
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return InvalidInputError(f"{place}{problem}", hint)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _with_absolute_paths(spec: ExperimentSpec, folder: Path) -> ExperimentSpec:
    search = spec.search
    parameters = tuple((name, _absolute_choice(name, values, folder)) for name, values in search.parameters)
    together = tuple(tuple((name, _absolute(name, value, folder)) for name, value in entry) for entry in search.together)
    base = _absolute_base(spec.base, folder)
    return dataclasses.replace(spec, base=base, search=dataclasses.replace(search, parameters=parameters, together=together))


def _absolute_base(base: RunSpec, folder: Path) -> RunSpec:
    given = {name: getattr(base, name) for name in _PATH_KEYS}
    return run_spec_with(base, {name: _absolute(name, value, folder) for name, value in given.items()})


def _absolute_choice(name: str, values: Choice | Distribution, folder: Path) -> Choice | Distribution:
    if isinstance(values, Distribution):
        return values
    return Choice(tuple(_absolute(name, value, folder) for value in values.values))


def _absolute(name: str, value: Any, folder: Path) -> Any:
    """The value as an absolute path if it is one of a model or data set that is there, else as it is."""
    if name not in _PATH_KEYS or value is None:
        return value
    written = value.removeprefix("path:")
    try:
        found = bool(written) and not Path(written).is_absolute() and (folder / written).exists()
    except OSError:  # longer than a file name may be: certainly no path
        return value
    return f"{value[: len(value) - len(written)]}{(folder / written).resolve()}" if found else value
