"""What the documentation points to exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gswarm.host.api.app import ROUTES
from gswarm.host.api.gate import Role

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_lessons_name_exists() -> None:
    defined = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")))
    assert len(named) > 30
    assert named <= defined


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if not (document.parent / link).exists()
    ]
    assert broken == []


def test_the_table_of_the_rest_api_is_that_of_the_code() -> None:
    table = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8").partition("## Routes")[2].partition("## Events")[0]
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*)$", table, re.MULTILINE)]
    told = [(method, path, row[1]) for row in rows for method, path in _routes_of(row[0])]
    # Of the root, not of the API.
    told.remove(("GET", "/metrics", "viewer"))
    there = [(route.method, _plain(route.path), "-" if route.role is Role.ANYONE else route.role.name.lower()) for route in ROUTES]
    assert sorted(told) == sorted(there)


def _routes_of(cell: str) -> Iterator[tuple[str, str]]:
    """`POST runs/{r}/stop`, `resume`; `GET runs` are three: a word alone takes the place of the last one of the path before it."""
    method, path = "", ""
    for quoted in re.findall(r"`([^`]+)`", cell):
        first, _, rest = quoted.partition(" ")
        if rest:
            method, path = first, _plain("/" + rest.removeprefix("/"))
        else:
            path = f"{path.rpartition('/')[0]}/{first}"
        yield method, path


def _plain(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", re.sub(r"\[?\?.*", "", path))
