"""What ``make check`` finds of our own secrets: it is run as the Makefile runs it, over files as people leave them behind."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from gswarm.wire.certificates import CertificateAuthority
from gswarm.wire.token import ApiToken, JoinToken

REPOSITORY = Path(__file__).parents[2]


def options() -> list[str]:
    """``NO_SECRETS`` of the Makefile, as a shell gets it."""
    (line,) = re.findall(r"^NO_SECRETS := (.*)$", (REPOSITORY / "Makefile").read_text().replace("\\\n", ""), re.MULTILINE)
    return shlex.split(line.replace("$$", "$"))


def found(folder: Path, *names: str) -> str:
    """What is said about the files; empty when nothing was found."""
    hook = "import sys; from detect_secrets.pre_commit_hook import main; sys.exit(main())"
    command = [sys.executable, "-c", hook, "--no-verify", *options(), *(str(folder / name) for name in names)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout


def test_a_token_is_found_wherever_it_stands(tmp_path: Path) -> None:
    api, join = ApiToken.new().format(), JoinToken.new("ab" * 32, 8091).format()
    files = {
        "admin.token": api,
        "upper.token": join.upper() + "\n",
        "install.md": f"Run `gswarm client connect 10.0.0.1 --token {join}` there.\n",
        "log.txt": f"2026-01-01 GET /api/v1/runs?token={api} 200\n",
        "notebook.ipynb": f'{{"cells": ["host = Host(url, \\"{api}\\")"]}}\n',
        "values.yaml": f"admin:\n  token: {api}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    said = found(tmp_path, *files)
    assert {name for name in files if re.search(rf"gswarm token\s+Location:\s+\S*/{re.escape(name)}:\d", said)} == set(files), said
    assert api not in said
    assert join not in said


def test_a_key_of_the_cluster_is_found(tmp_path: Path) -> None:
    CertificateAuthority.create("c1").save(tmp_path)
    keys = [path.name for path in tmp_path.iterdir() if "PRIVATE KEY" in path.read_text()]
    assert keys
    said = found(tmp_path, *keys)
    assert said.count("Private Key") == len(keys), said


def test_what_only_looks_like_a_token_can_be_excepted_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(f'TOKEN = "{ApiToken.new().format()}"  # pragma: allowlist secret\n')
    (tmp_path / "words.md").write_text("An API token begins with `gswt-`, a join token with `gsw1-...`.\n")
    assert found(tmp_path, "made_up.py", "words.md") == ""
