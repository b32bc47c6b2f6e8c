"""Loading experiment files: hostile ones are refused fast, wrong ones with a place, good ones with their paths."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gswarm.domain.errors import GswarmError, InvalidInputError, NotFoundError, StorageError
from gswarm.domain.parse import parse_experiment
from gswarm.domain.spec import Choice
from gswarm.search.expand import expand
from gswarm.search.yaml_file import load_experiment_file, load_yaml, name_from

ROOT = Path(__file__).parents[2]
LETTERS = "abcdefghijklmnop"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{LETTERS[i + 1]}: &{LETTERS[i + 1]} [{', '.join(['*' + LETTERS[i]] * 9)}]\n" for i in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(f"{LETTERS[i + 1]}: &{LETTERS[i + 1]}\n  <<: [{', '.join(['*' + LETTERS[i]] * 9)}]\n" for i in range(9))

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "billion laughs": (LAUGHS, "stands for more than 10,000 values"),
    "merged laughs": (MERGES, "stands for more than 10,000 values"),
    "many keys": ("\n".join(f"k{i}: 1" for i in range(9_000)), "stands for more than 10,000 values"),
    "many anchors": ("\n".join(f"k{i}: &a{i} 1" for i in range(9_000)), "stands for more than 10,000 values"),
    "flow in lines": ("{" + "\n".join("a," * 9000 for _ in range(50)), "stands for more than 10,000 values"),
    "itself": ("a: &a [*a]", "the alias *a stands for itself"),
    "python tag": (
        "a: !!python/object/apply:os.system ['true']",
        "line 1, column 4: the tag !!python/object/apply:os.system is not allowed",
    ),
    "python name": ("x: 1\na: !!python/name:os.system", "line 2, column 4: the tag"),
    "own tag": ("a: !secret 1", "the tag !secret is not allowed"),
    "binary": ("a: !!binary aGk=", "the tag !!binary is not allowed"),
    "set": ("a: !!set {x}", "the tag !!set is not allowed"),
    "key twice": ("base:\n  seed: 1\n  seed: 2", "line 3, column 3: the key seed is given twice"),
    "quoted key twice": ("seed: 1\n'seed': 2", "the key seed is given twice"),
    "key that is a list": ("? [a]\n: 1", "a key must be text"),
    "deep flow": ("[" * 10_000, "nested more than 32 levels deep"),
    "deep mappings": ("a: " + "{a: " * 4_000, "nested more than 32 levels deep"),
    "deep sequences": ("- " * 10_000, "nested more than 32 levels deep"),
    "deep keys": ("? " * 10_000, "nested more than 32 levels deep"),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: the file has more than one document"),
    "too large": ("#" * 1_000_001, "has 1,000,001 bytes, more than 1,000,000"),
    "many lines": ("x\n" * 400_000, "more than 10,000 lines"),
    "long line": ('a: "' + "\\n" * 200_000 + '"', "line 1 has more than 20,000 characters"),
    "utf-16": ("a: 1".encode("utf-16"), "not UTF-8"),
    "latin-1": ("x: 1\na: ü".encode("latin-1"), "not UTF-8: line 2 has the byte 0xfc"),
    "null byte": ("a: \x00", "special characters are not allowed"),
    "syntax": ("a: [1,\nb: }", "line 2, column 4: "),
    "tab": ("a:\n\tb: 1", "line 2, column 1: found character '\\t' that cannot start any token; indent with spaces"),
    "unknown alias": ("a: *b", "line 1, column 4: found undefined alias"),
    "endless number": ("a: " + "9" * 15_000, "a number with too many digits"),
    "wrong tag": ("a: !!int x", "a number with too many digits, or one that its tag does not allow"),
    "wrong tag on a list": ("a: !!float [1]", "line 1, column 4: "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_wrong_documents_are_refused_fast(name: str) -> None:
    text, says = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(InvalidInputError) as caught:
        load_yaml(text)
    assert time.process_time() - began < 1.0
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["a: 0x" + "f" * 15_000, "a: " + ":".join(["59"] * 5_000), "learning_rate: " + "9" * 15_000 + ".0"])
def test_huge_numbers_that_yaml_can_read_are_refused_by_the_parser(text: str) -> None:
    loaded = load_yaml(text)
    assert isinstance(loaded, dict)
    (number,) = loaded.values()
    with pytest.raises(InvalidInputError, match="lora_rank: must be"):
        parse_experiment({"model": "m", "dataset": "d", "lora_rank": number})


def test_what_is_plain_yaml_is_loaded() -> None:
    text = "\ufeffa: 1\nb: [x, 1.5, true, null, 2024-13-45, =, 1e-5]\nbase: &base {x: 1}\nother:\n  <<: *base\n  y: !!str 2\n"
    assert load_yaml(text.encode()) == {
        "a": 1,
        "b": ["x", 1.5, True, None, "2024-13-45", "=", "1e-5"],
        "base": {"x": 1},
        "other": {"x": 1, "y": "2"},
    }
    assert load_yaml("") is None


def test_merged_keys_may_be_overridden_at_any_depth() -> None:
    text = "n:\n  m:\n    b: &b {<<: &a {x: 1, y: 1}, x: 2}\nc: {<<: *b, x: 3}\n"
    loaded = load_yaml(text)
    assert isinstance(loaded, dict)
    assert loaded["c"] == {"x": 3, "y": 1}
    assert loaded["n"]["m"]["b"] == {"x": 2, "y": 1}


def test_the_size_limit_is_inclusive() -> None:
    assert load_yaml("a: 1", limit_bytes=4) == {"a": 1}
    with pytest.raises(InvalidInputError, match="has 5 bytes, more than 4"):
        load_yaml("a: 11", limit_bytes=4)


def write(folder: Path, text: str, name: str = "my run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_relative_models_and_data_that_exist_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    (tmp_path / "tiny").mkdir()
    parsed = load_experiment_file(
        write(
            tmp_path,
            "base: {model: ./tiny, dataset: path:data/train.jsonl, eval_dataset: data/eval.jsonl}\n"
            "search:\n  parameters:\n    dataset: {values: [data/train.jsonl, hub/id]}\n    _: [{model: tiny}, {model: Qwen/Qwen3-0.6B}]\n",
        )
    )
    base = parsed.spec.base
    assert base.model_name_or_path == str(tmp_path / "tiny")
    assert base.dataset == f"path:{tmp_path / 'data' / 'train.jsonl'}"
    assert base.eval_dataset == "data/eval.jsonl"
    assert parsed.spec.search.parameters == (("dataset", Choice((str(tmp_path / "data" / "train.jsonl"), "hub/id"))),)
    assert [run.spec.model_name_or_path for run in expand(parsed.spec)] == [str(tmp_path / "tiny"), "Qwen/Qwen3-0.6B"] * 2


def test_a_plain_file_is_named_after_itself(tmp_path: Path) -> None:
    assert load_experiment_file(write(tmp_path, "model: m\ndataset: d\n")).spec.name == "my-run"
    assert name_from("...") == "experiment"
    assert len(name_from("x" * 100)) == 63


def test_problems_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"my run\.yaml: lora_rnk: unknown key"):
        load_experiment_file(write(tmp_path, "model: m\ndataset: d\nlora_rnk: 8\n"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file .*nothing\.yaml"):
        load_experiment_file(tmp_path / "nothing.yaml")
    with pytest.raises(StorageError, match="cannot be read"):
        load_experiment_file(tmp_path)
    with pytest.raises(GswarmError, match="more than 1,000,000"):
        load_experiment_file(write(tmp_path, "#\n" * 600_000))


def test_the_quickstart_is_valid() -> None:
    parsed = load_experiment_file(ROOT / "examples" / "quickstart.yaml")
    assert len(expand(parsed.spec)) >= 6
    assert parsed.ignored == ()
    assert parsed.renamed == ()
