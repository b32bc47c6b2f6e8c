"""The generated code is what ``proto/`` says, and every message and field there is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "proto").rglob("*.proto"))


def test_the_generated_code_is_fresh() -> None:
    result = subprocess.run([sys.executable, str(ROOT / "scripts" / "proto.py"), "--check"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


DECLARATION = re.compile(
    r"\s*(?:message|service|oneof) \w+ \{|(?:enum \w+ \{)|\s+rpc |\s+(?:optional |repeated )?(?!returns)[\w.]+ [a-z]\w* = \d+;"
)


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: path.name)
def test_everything_is_explained(path: Path) -> None:
    lines = path.read_text().splitlines()
    declared = [index for index, line in enumerate(lines) if DECLARATION.match(line)]
    assert len(declared) > 5
    assert [lines[index] for index in declared if not lines[index - 1].strip().startswith("//")] == []
