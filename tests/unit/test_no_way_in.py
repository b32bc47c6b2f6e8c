"""House rules that keep files from running: what the source code may not say, and where it may say what is dangerous elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "gswarm"
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
NEVER = {
    "torch.load",
    "np.load",
    "numpy.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "asyncio.create_subprocess_shell",
    "jinja2.Template",
    "jinja2.Environment",
    "pd.read_pickle",
    "zipfile.ZipFile.extractall",
}
ONLY_IN = {
    "apply_chat_template": {"training/templates.py"},
    "extractall": set(),
    "importlib.import_module": set(),
    "runpy.run_module": {"client/job_process.py"},  # gswarm.training.jobs, by a constant
}
CALLS_THAT_MAY_RUN_CODE = {"from_pretrained", "from_config"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "_pb" not in path.parts:
            yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_unpickles_or_runs_text() -> None:
    found = []
    for name, tree in trees():
        for node in ast.walk(tree):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            found += [f"{name}: import {module}" for module in modules if module.partition(".")[0] in UNPICKLERS]
        found += [f"{name}: {called}" for called, _ in calls(tree) if called in NEVER]
    assert found == []


def test_what_is_dangerous_elsewhere_is_only_where_it_is_guarded() -> None:
    found = {
        (called, name)
        for name, tree in trees()
        for called, _ in calls(tree)
        for guarded, places in ONLY_IN.items()
        if (called == guarded or called.endswith(f".{guarded}")) and name not in places
    }
    assert found == set()


def test_every_model_and_tokenizer_is_loaded_with_a_decision_about_its_code() -> None:
    undecided, decided = [], 0
    for name, tree in trees():
        for called, node in calls(tree):
            if called.rpartition(".")[2] in CALLS_THAT_MAY_RUN_CODE:
                spread = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg is None]
                if any(keyword.arg == "trust_remote_code" for keyword in node.keywords) or spread == ["where"]:
                    decided += 1
                else:
                    undecided.append(f"{name}:{node.lineno} {called}")
    assert undecided == []
    assert decided >= 5


def test_no_shell_is_started() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees()
        for called, node in calls(tree)
        for keyword in node.keywords
        if called.startswith("subprocess.")
        and keyword.arg == "shell"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert found == []
