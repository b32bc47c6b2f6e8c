"""How the dashboard is built: only where its sources changed, with any Node, and without one where that is allowed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path: Path) -> dict[str, Any]:
    """``scripts/web.py`` over a small page of the test's own."""
    module = runpy.run_path(str(ROOT / "scripts" / "web.py"))
    web = tmp_path / "web"
    (web / "src" / "api").mkdir(parents=True)
    (web / "node_modules").mkdir()
    for name in ("src/main.tsx", "src/main.test.ts", "src/api/schema.d.ts", "package-lock.json", "node_modules/made.js"):
        (web / name).write_text(name)
    names = module["main"].__globals__
    names.update(WEB=web, PACKAGES=web / "node_modules", BUILT=tmp_path / "built")
    (tmp_path / "built").mkdir()
    return names


def run(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["web.py", *args])
    status: int = script["main"]()
    return status


@pytest.fixture
def calls(script: dict[str, Any]) -> list[tuple[str, ...]]:
    """What npm is asked to do."""
    asked: list[tuple[str, ...]] = []

    class Recorder:
        def __init__(self, _npm: list[str]) -> None: ...

        def __call__(self, *args: str) -> None:
            asked.append(args)

    script.update(Runner=Recorder, npm_command=lambda: ["npm"])
    return asked


def test_a_build_of_the_same_sources_is_made_once(
    script: dict[str, Any], calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(script, monkeypatch, "build") == 0
    assert [call[0] for call in calls] == ["ci", "run", "run"]
    calls.clear()
    for unimportant in ("src/main.test.ts", "src/api/schema.d.ts", "node_modules/made.js"):
        (script["WEB"] / unimportant).write_text("changed")
    assert run(script, monkeypatch, "build") == 0
    assert calls == []
    (script["WEB"] / "src" / "main.tsx").write_text("changed")
    assert run(script, monkeypatch, "build") == 0
    assert [call[-1] for call in calls] == ["types", "build"]
    (script["WEB"] / "package-lock.json").write_text("changed")
    assert run(script, monkeypatch, "check") == 0
    assert [call[-1] for call in calls[2:]] == ["--loglevel=error", "types", "check"]


@pytest.mark.parametrize(("args", "status", "word"), [(("build", "--optional"), 0, "note"), (("build",), 1, "error")])
def test_without_node_it_says_so(
    script: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    status: int,
    word: str,
) -> None:
    def none() -> list[str]:
        raise script["NoNodeError"]("there is no Node here")

    script["npm_command"] = none
    assert run(script, monkeypatch, *args) == status
    assert capsys.readouterr().err == f"{word}: no dashboard: there is no Node here\n"


def test_an_old_node_is_not_taken(script: dict[str, Any], tmp_path: Path) -> None:
    node = tmp_path / "node"
    for says, wanted in (("v18.19.1", (18, 19)), ("v20.19.0", (20, 19)), ("what?", (0, 0))):
        node.write_text(f"#!/bin/sh\necho {says}\n")
        node.chmod(0o755)
        assert script["_version"](str(node)) == wanted
    assert (18, 19) < script["NODE_MIN"] <= (20, 19)
