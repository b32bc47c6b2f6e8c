"""``gswarm doctor``: what this machine can do for gswarm, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gswarm import __version__
from gswarm.cli.output import Format, Json, Output, column, print_json, show_rows, size
from gswarm.cli.reach import data_dir, open_host
from gswarm.domain.errors import GswarmError

TRAIN_PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")
DISK_FREE_BYTES_MIN = 10 * 1024**3
SHM_FREE_BYTES_MIN = 1024**3


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Something is missing that only some uses need."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def doctor(
    json_output: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False, output: Output = Format.TABLE
) -> None:
    """Check this machine. Exits 1 if something is broken."""
    findings = list(examine())
    rows: list[Json] = [asdict(finding) for finding in findings]
    if json_output or output is Format.JSON:
        print_json({"ok": all(finding.verdict is not Verdict.FAIL for finding in findings), "version": __version__, "findings": rows})
    else:
        columns = [column("", "verdict"), column("what", "name"), column("found", "found"), column("what to do", "advice")]
        show_rows(output, rows, columns, key="name")
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Every check in turn."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", Verdict.OK, version)
    yield Finding("platform", *_platform())
    yield Finding("data dir", *_data_dir(data_dir()))
    yield Finding("shared memory", *_shared_memory(Path("/dev/shm")))  # noqa: S108 - the kernel's own, snapshots go there
    yield Finding("training packages", *_train_packages())
    yield Finding("devices", *_devices())
    yield Finding("host", *_host())


def _platform() -> tuple[Verdict, str, str]:
    system = platform.system()
    found = f"{system} {platform.machine()}, {os.cpu_count()} cores"
    if system == "Linux":
        return Verdict.OK, found, ""
    return Verdict.NOTE, found, "clients that train are tested on Linux"


def _data_dir(folder: Path) -> tuple[Verdict, str, str]:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Verdict.FAIL, f"{folder} cannot be written", "set GSWARM_DATA_DIR or correct the owner and mode"
    free_bytes = shutil.disk_usage(existing).free
    found = f"{folder}, {size(free_bytes)} free"
    if free_bytes < DISK_FREE_BYTES_MIN:
        return Verdict.NOTE, found, f"models and checkpoints want {size(DISK_FREE_BYTES_MIN)} or more"
    return Verdict.OK, found, ""


def _shared_memory(folder: Path) -> tuple[Verdict, str, str]:
    if not folder.is_dir():
        return Verdict.NOTE, "none", "snapshots go to the disk, which is slower"
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < SHM_FREE_BYTES_MIN:
        return Verdict.NOTE, f"{size(free_bytes)} free", "snapshots go to the disk where they do not fit; containers take --shm-size"
    return Verdict.OK, f"{size(free_bytes)} free", ""


def _train_packages() -> tuple[Verdict, str, str]:
    import importlib.metadata

    versions, missing = [], []
    for name in TRAIN_PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Verdict.NOTE, f"missing: {', '.join(missing)}", "a machine that trains needs: pip install 'gswarm[train]'"
    return Verdict.OK, ", ".join(versions), ""


def _devices() -> tuple[Verdict, str, str]:
    """As a client would offer them; asked of the driver, not of torch, which takes seconds to import."""
    from gswarm.client.slots import this_machine

    gpus = this_machine().gpus
    if not gpus:
        return Verdict.NOTE, "no NVIDIA GPU", "runs train on the CPU here"
    return Verdict.OK, ", ".join(f"{gpu.name} ({size(gpu.memory_bytes)})" for gpu in gpus), ""


def _host() -> tuple[Verdict, str, str]:
    try:
        with open_host() as host:
            ready = host.ready()
            return Verdict.OK, f"{host.url}, version {ready['version']}, {ready['clients']} clients, {ready['slots']} slots", ""
    except GswarmError as error:
        return Verdict.NOTE, error.message, error.hint
