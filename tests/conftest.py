"""Being here makes the support modules of this folder importable from every folder of tests."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest
from hypothesis import HealthCheck, settings

# A machine that does other things at the same time is no finding.
settings.register_profile("gswarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gswarm")

# gRPC's poller ends with the last object that uses it, on whatever thread frees that one, and waits there for calls of loops that are
# long closed: a test's server then stood still for good. A process of gswarm has one host or one connection for as long as it lives.
grpc.aio.init_grpc_aio()


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model/`` (a tiny Llama with tokenizer and chat template) and ``chat.jsonl`` (120 conversations)."""
    from tiny import write_dataset, write_model

    folder = tmp_path_factory.mktemp("assets")
    write_model(folder / "model", "llama")
    write_dataset(folder / "chat.jsonl", 120)
    return folder
