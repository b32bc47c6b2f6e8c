"""The command line starts quickly: help imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "grpc", "fastapi", "httpx", "numpy", "uvicorn", "aiohttp", "cryptography", "sqlite3", "nvitop")
MODULES_MAX = 500
"""Of which Python, typer and rich are some 400. How long they take is measured by ``benchmarks/cli.py``."""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["host", "start", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gswarm", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "gswarm.cli.main" in imported or "gswarm.cli" in imported
    assert not {name for name in imported if name.partition(".")[0] in HEAVY}
    assert len(imported) <= MODULES_MAX
    assert done.stdout.strip()


def test_commands_that_ask_a_host_import_no_server_and_no_torch() -> None:
    code = "import sys; import gswarm.sdk; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {name.partition(".")[0] for name in modules} & {"torch", "transformers", "grpc", "fastapi", "uvicorn", "numpy"}
    assert not [name for name in modules if name.startswith(("gswarm.host", "gswarm.client"))]


def test_the_host_starts_without_torch() -> None:
    code = "import sys; import gswarm.host.daemon, gswarm.client.daemon; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {name.partition(".")[0] for name in modules} & {"torch", "transformers", "peft", "trl", "datasets"}
