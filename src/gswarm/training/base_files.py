"""What the folder of a base model may hold, and whether code in it may run. Looked at wherever one is made and wherever one is loaded.

A base reaches a trainer through the pool, and what a client has put there another client loads: so nothing is taken on trust.
Code that comes with a model (``auto_map``) runs only when an admin has consented to exactly these bytes: their digest, ``code_digest``,
is in ``host.trusted_code``, which travels with every order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from blake3 import blake3

from gswarm.datapool.layout import hash_file, open_regular
from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.training.headers import check_safetensors

WEIGHTS = ("model.safetensors", "model-*.safetensors")
INDEX_FILE = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SETTINGS = ("config.json", "generation_config.json", TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.json", INDEX_FILE)
"""Small JSON objects."""
WANTED = (
    *SETTINGS,
    "tokenizer.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    *WEIGHTS,
)
"""Files of a base model; everything else in a folder is left behind."""
CODE = "*.py"
SETTINGS_BYTES_MAX = 64 * 1024 * 1024
TEXT_BYTES_MAX = 512 * 1024 * 1024
CODE_FILES_MAX = 100
CODE_BYTES_MAX = 4 * 1024 * 1024

_KERNEL_KEYS = frozenset({"_attn_implementation", "attn_implementation", "_experts_implementation", "experts_implementation"})
"""A value with a slash there names a repository whose compiled code is loaded."""


def is_wanted(name: str, patterns: tuple[str, ...] = WANTED) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def check_base(folder: Path, trusted_code: Collection[str] = ()) -> bool:
    """Looks at every file of a base model before a library does. Reads headers and settings, no weights.

    Args:
        trusted_code: digests of code that an admin has consented to.

    Returns:
        Whether the model brings code, and that code is trusted: the value for ``trust_remote_code``.

    Raises:
        InvalidInputError: it needs code that is not trusted, or loads code from elsewhere.
        CorruptDataError: a file is none of a base model's, lies about its content or leads out of the folder.
    """
    if not folder.is_dir():
        raise CorruptDataError(f"there is no base model in {folder}", "prepare the model again")
    names = sorted(path.name for path in folder.iterdir())
    settings = {name: read_settings(folder / name) for name in names if name in SETTINGS}
    code = _code_references(settings)
    for name in names:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CorruptDataError(f"{name} of the base model is no regular file", "prepare the model again")
        if is_wanted(name, WEIGHTS):
            check_safetensors(path)
        elif not is_wanted(name) and not (code and fnmatch(name, CODE)):
            raise CorruptDataError(f"the base model has a file that none needs: {name}", "prepare the model again")
        elif path.stat().st_size > TEXT_BYTES_MAX:
            raise CorruptDataError(f"{name} of the base model is larger than {TEXT_BYTES_MAX >> 20} MiB", "use another model")
    _check_paths(settings, names)
    return bool(code) and _is_trusted(folder, code, trusted_code)


def brings_code(folder: Path) -> bool:
    """Whether a setting names code that came with the model. Raises like ``check_base``."""
    return bool(_code_references({name: read_settings(folder / name) for name in SETTINGS if (folder / name).exists()}))


def read_settings(path: Path) -> dict[str, Any]:
    """A small JSON object. Raises CorruptDataError, InvalidInputError (no regular file)."""
    with open_regular(path) as file:
        data = file.read(SETTINGS_BYTES_MAX + 1)
    try:
        document = json.loads(data) if len(data) <= SETTINGS_BYTES_MAX else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CorruptDataError(f"{path.name} is no JSON object of at most {SETTINGS_BYTES_MAX >> 20} MiB", "download the model again")
    return document


def file_keys(tokenizer_config: dict[str, Any]) -> list[str]:
    """Keys whose values are paths on the machine where the tokenizer was saved: some versions of transformers open them."""
    return [key for key, value in tokenizer_config.items() if key.endswith(("_file", "_files")) and value is not None]


def code_digest(folder: Path) -> str:
    """Names the Python files of a model's folder: equal names and bytes give equal digests, and nothing else does.

    Raises:
        InvalidInputError: they are too many or too large to be read by a person.
    """
    names = sorted(path.name for path in folder.glob(CODE))
    if len(names) > CODE_FILES_MAX or sum((folder / name).stat().st_size for name in names) > CODE_BYTES_MAX:
        raise InvalidInputError("the model brings more code than anybody could read", "use a model that transformers knows")
    files = []
    for name in names:
        with open_regular(folder / name) as file:
            files.append([name, hash_file(file)[0]])
    return blake3(json.dumps(files).encode()).hexdigest()


def _is_trusted(folder: Path, references: set[str], trusted_code: Collection[str]) -> bool:
    for reference in sorted(references):
        module = reference.rpartition(".")[0]
        if not module.isidentifier() or not (folder / f"{module}.py").is_file():
            raise InvalidInputError(
                f"the model needs code (auto_map) that is not in its folder: {reference[:200]!r}", "use a model that transformers knows"
            )
    digest = code_digest(folder)
    if digest not in trusted_code:
        raise InvalidInputError(
            f"the model needs code of its own (auto_map), and no admin has consented to it: {digest}",
            "use a model that transformers knows; or an admin who has read the code adds this digest to host.trusted_code",
        )
    return True


def _code_references(settings: dict[str, dict[str, Any]]) -> set[str]:
    """What any ``auto_map`` in them names. Raises InvalidInputError for a kernel from elsewhere."""
    references: set[str] = set()
    waiting: list[object] = [settings]
    while waiting:
        match waiting.pop():
            case dict() as found:
                if "auto_map" in found:
                    references.update(_texts(found["auto_map"]))
                for key in _KERNEL_KEYS & found.keys():
                    if "/" in str(found[key]):
                        raise InvalidInputError(f"the model loads a kernel from {str(found[key])[:200]!r}", "remove it from config.json")
                waiting += found.values()
            case list() as found:
                waiting += found
            case _:
                pass
    return references


def _texts(value: object) -> Iterator[str]:
    """The texts in an ``auto_map``; a form that is none of transformers' counts as one that leads nowhere."""
    items = [
        item for part in (value.values() if isinstance(value, dict) else [value]) for item in (part if isinstance(part, list) else [part])
    ]
    yield from (item if isinstance(item, str) else "" for item in items if item is not None)
    if not items:
        yield ""


def _check_paths(settings: dict[str, dict[str, Any]], names: list[str]) -> None:
    """Nothing that a setting names may lie outside the folder."""
    index = settings.get(INDEX_FILE, {"weight_map": {}}).get("weight_map")
    parts = set(index.values()) if isinstance(index, dict) and all(isinstance(name, str) for name in index.values()) else {""}
    odd = sorted(name for name in parts if name not in names or not is_wanted(name, WEIGHTS))
    if odd:
        raise CorruptDataError(f"{INDEX_FILE} names {odd[0][:200]!r}, no weights in its folder", "download the model again")
    if keys := file_keys(settings.get(TOKENIZER_CONFIG, {})):
        raise CorruptDataError(f"{TOKENIZER_CONFIG} names a file outside its folder: {keys[0]}", "prepare the model again")
