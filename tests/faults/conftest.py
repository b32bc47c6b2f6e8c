"""Tiny real models and data for the tests of faults, which do not keep the clusters they break."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model/`` (a tiny Llama with tokenizer and chat template) and ``chat.jsonl`` (120 conversations)."""
    from tiny import write_dataset, write_model

    folder = tmp_path_factory.mktemp("assets")
    write_model(folder / "model", "llama")
    write_dataset(folder / "chat.jsonl", 120)
    return folder
